/**
 * What the register tiles of a direct convolution share. A pixel's channels under one tap are a run of
 * memory that a pointer finds. A tile's sum walks over segments (a tap, some of its channels) and takes
 * the pointers of its pixels from a table. A finished tile is written, or added to what is there.
 */
import { advance, type Code, type FunctionBuilder, i32, type Local, loopWhile, set } from '../core/assembler.ts'
import type { TileTarget } from '../matmul/tile.ts'

/** Either target channels fill vectors and pixels are broadcast, or source channels do, which few target channels share. */
export interface ConvTileShape {
  readonly vectors: 'targets' | 'sources'
  /** Pixels. */
  readonly rows: number
  /** Target channels. */
  readonly width: number
}

export interface ConvTile {
  /**
   * The sums over segments `from` … `to`, whose weights begin at `weights`, which moves to their end.
   * `pointers` has those of the tile's pixels under the first tap.
   */
  sum(from: Local, to: Local, pointers: Local, weights: Local): Code
  write(target: TileTarget): Code
}

/** Sums that fill vectors with source channels have eight lanes each. */
export const spillBytes = ({ vectors, rows, width }: ConvTileShape): number => rows * width * (vectors === 'targets' ? 4 : 32)

/** Fields of a segment's record, in bytes: its tap's pointers after the first tap's, its first channel, its weights' size. */
const segmentFields = { pointers: 0, channel: 4, weights: 8 } as const
export const segmentBytes = 12

/** Segments of the sum in order, tap by tap. */
export function segmentTable(taps: number, channels: number, perSegment: number, pointerRow: number, width: number): number[] {
  const firsts = Array.from({ length: Math.ceil(channels / perSegment) }, (_, i) => i * perSegment)
  return Array.from({ length: taps }, (_, t) => firsts.map((c) => [t * pointerRow, 4 * c, 4 * width * Math.min(perSegment, channels - c)])).flat(2)
}

/** Runs `body` for every segment, with `pixels` pointing to its first channel and `last` to the end of its weights. */
export function eachSegment(f: FunctionBuilder, from: Local, to: Local, pointers: Local, weights: Local, pixels: readonly Local[], body: (last: Local) => Code): Code {
  const [segment, at, channel, last] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return [
    set(segment, from),
    loopWhile(i32.ne(segment, to), [
      set(at, i32.add(pointers, i32.load(segment, segmentFields.pointers))),
      set(channel, i32.load(segment, segmentFields.channel)),
      pixels.map((pixel, r) => set(pixel, i32.add(i32.load(at, 4 * r), channel))),
      set(last, i32.add(weights, i32.load(segment, segmentFields.weights))),
      body(last),
      advance(segment, segmentBytes),
    ]),
  ]
}
