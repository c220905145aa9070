/**
 * How a direct convolution is cut. Nothing here depends on the number of threads, and the parts of the
 * sum not on the target either, so that neither changes a bit.
 */
import type { ConvTileShape } from './tile.ts'
import type { WasmTarget } from '../core/kernel.ts'
import { share } from '../core/share.ts'

export interface ConvSize {
  /** Pixels and taps of the largest problem. */
  readonly pixels: number
  readonly taps: number
  readonly sourceChannels: number
  readonly targetChannels: number
  /** Problems of about that size. */
  readonly problems: number
  /** Source pixels that a pixel of the target does not share with its neighbours: more than one with strides. */
  readonly sourcePixels: number
}

export interface ConvBlocking {
  readonly tile: ConvTileShape
  /** Channels of a segment of the sum, and segments summed before a tile is written. */
  readonly segmentChannels: number
  readonly segmentsPerBlock: number
  /** Blocks of pixels. */
  readonly pixelBlocks: number
  /** Target channels whose weights are packed at a time, a multiple of the tile's. */
  readonly groupChannels: number
}

/** Most products summed before a tile is written: so many rows of a panel stay in the L1 cache. */
const mostDepth = 320
/** What a block of pixels may read, for all of its panels, from the L2 cache; and what its table of pointers may take. */
const mostBlockBytes = 288 * 1024
const mostPointerBytes = 64 * 1024
const mostWeightBytes = 1024 * 1024
/** Equal parts that a launch is likely to be cut into, whatever the number of threads. */
const launchParts = 8
/** Nanoseconds, roughly: to pack a weight, and to find a pixel under a tap. */
const cost = { weight: 0.3, pointer: 0.7 } as const
/** Work in one item below which the hand-over would show. */
const flopsPerItem = 250_000

function chooseTile({ sourceChannels, targetChannels }: ConvSize, wide: boolean): ConvTileShape {
  // Sixteen vector registers hold the sums, a row of weights and an element; or sums and the pixels' vectors.
  if (targetChannels <= 4 && sourceChannels > 0 && sourceChannels % sourceLanes === 0) {
    return { vectors: 'sources', rows: Math.min(8, Math.floor((wide ? 9 : 6) / targetChannels)), width: targetChannels }
  }
  if (targetChannels <= 4) return { vectors: 'targets', rows: 8, width: 4 }
  if (targetChannels <= 8) return { vectors: 'targets', rows: wide ? 8 : 6, width: 8 }
  return { vectors: 'targets', rows: 6, width: wide ? 16 : 8 }
}

/** Source channels that fill the vectors of a tile, where they do. */
const sourceLanes = 8

const parts = (size: number, limit: number): number => Math.max(1, Math.ceil(size / limit))

/**
 * Panels in a group. A part of the launch packs the groups that it meets, and finds its pixels anew for each: of the
 * ways to divide the panels evenly, the one that costs least in all.
 */
function panelsOfGroup(panels: number, width: number, { pixels, taps, sourceChannels }: ConvSize): number {
  const depth = taps * sourceChannels
  const time = (groups: number): number => cost.weight * panels * width * depth * Math.max(1, launchParts / groups) + cost.pointer * groups * pixels * taps
  const fits = (n: number): boolean => n === 1 || 4 * width * depth * n <= mostWeightBytes
  const divisors = Array.from({ length: panels }, (_, i) => i + 1).filter((n) => panels % n === 0 && fits(n))
  return divisors.reduce((best, n) => (time(panels / n) < time(panels / best) ? n : best), 1)
}

export function convBlocking(size: ConvSize, target: WasmTarget): ConvBlocking {
  const { pixels, taps, sourceChannels, targetChannels, problems, sourcePixels } = size
  const tile = chooseTile(size, target.wide === true)
  const { width } = tile
  const depth = taps * sourceChannels

  const segmentChannels = share(sourceChannels, mostDepth, sourceLanes)
  const segments = taps * parts(sourceChannels, segmentChannels)
  const segmentsPerBlock = share(segments, Math.max(1, Math.floor(mostDepth / segmentChannels)))

  const panels = Math.ceil(targetChannels / width)
  const groupPanels = panelsOfGroup(panels, width, size)
  const groups = panels / groupPanels

  const pixelBytes = Math.max(4 * sourceChannels * Math.min(taps, sourcePixels), (4 * taps * mostBlockBytes) / mostPointerBytes)
  const fewest = parts(pixels * pixelBytes, mostBlockBytes)
  const work = 2 * pixels * depth * width * groupPanels
  const wanted = [1, 2, 4].find((n) => (n * groups * problems) % launchParts === 0) ?? launchParts
  const pixelBlocks = Math.max(fewest === 1 ? 1 : Math.ceil(fewest / wanted) * wanted, Math.min(wanted, Math.floor(work / flopsPerItem)))
  return { tile, segmentChannels, segmentsPerBlock, pixelBlocks, groupChannels: groupPanels * width }
}
