/**
 * How a direct convolution is cut. Nothing here depends on the number of threads, and the parts of the
 * sum not on the target either, so that neither changes a bit.
 */
import type { PixelTileShape } from './pixelTile.ts'
import type { WasmTarget } from './kernel.ts'

export interface ConvSize {
  /** Pixels and taps of the largest problem. */
  readonly pixels: number
  readonly taps: number
  readonly sourceChannels: number
  readonly targetChannels: number
  /** Problems of about that size. */
  readonly problems: number
  /** Channels of a pixel are not adjacent: they are copied, for each tap. */
  readonly gathered: boolean
}

export interface ConvBlocking {
  readonly tile: PixelTileShape
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
/** Below so many pixels packing all weights in every thread would show: threads share panels instead. */
const manyPixels = 4096
/** Work in one item below which the hand-over would show. */
const flopsPerItem = 250_000

function chooseTile({ targetChannels }: ConvSize, wide: boolean): PixelTileShape {
  if (targetChannels <= 4) return { rows: 8, vectors: 1 }
  if (targetChannels <= 8) return { rows: wide ? 8 : 6, vectors: 2 }
  return { rows: 6, vectors: wide ? 4 : 2 }
}

const parts = (size: number, limit: number): number => Math.max(1, Math.ceil(size / limit))
const share = (size: number, count: number): number => Math.max(1, Math.ceil(size / count))

/** The largest divisor of `n` that is at most `limit`. */
function divisor(n: number, limit: number): number {
  for (let d = Math.min(n, Math.floor(limit)); d > 1; d--) if (n % d === 0) return d
  return 1
}

export function convBlocking(size: ConvSize, target: WasmTarget): ConvBlocking {
  const { pixels, taps, sourceChannels, targetChannels, problems, gathered } = size
  const tile = chooseTile(size, target.wide === true)
  const width = 4 * tile.vectors
  const depth = taps * sourceChannels

  const segmentChannels = share(sourceChannels, parts(sourceChannels, mostDepth))
  const segments = taps * parts(sourceChannels, segmentChannels)
  const fitting = Math.max(1, Math.floor(mostDepth / segmentChannels))
  const segmentsPerBlock = share(segments, parts(segments, fitting))

  const panels = Math.ceil(targetChannels / width)
  const groupPanels = divisor(panels, Math.min(mostWeightBytes / (4 * width * depth), pixels < manyPixels ? Math.ceil(panels / 4) : panels))
  const groups = panels / groupPanels

  const pixelBytes = Math.max(4 * sourceChannels * (gathered ? taps : 1), (4 * taps * mostBlockBytes) / mostPointerBytes)
  const fewest = parts(pixels * pixelBytes, mostBlockBytes)
  const work = 2 * pixels * depth * width * groupPanels
  // Halves and quarters of the items should be equal work.
  const wanted = [1, 2, 4].find((n) => (n * groups * problems) % 4 === 0) ?? 4
  const pixelBlocks = Math.max(fewest === 1 ? 1 : Math.ceil(fewest / wanted) * wanted, Math.min(wanted, Math.floor(work / flopsPerItem)))
  return { tile, segmentChannels, segmentsPerBlock, pixelBlocks, groupChannels: groupPanels * width }
}
