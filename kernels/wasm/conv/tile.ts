/**
 * What the register tiles of a direct convolution share. A pixel's channels under one tap are a run of
 * memory that a pointer finds. A tile's sum walks over segments (a tap, some of its channels) and takes
 * the pointers of its pixels from a table. A finished tile is written, or added to what is there.
 */
import { advance, type Code, f32, type FunctionBuilder, i32, type Local, loopRange, loopWhile, set, when } from '../core/assembler.ts'

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
  write(target: PixelTarget): Code
}

/** Where a finished tile goes. */
export interface PixelTarget {
  /** How many pixels and channels of the tile exist. */
  readonly rows: Local
  readonly columns: Local
  /** 0 if this is the sum's first part. */
  readonly later: Code
  /** Channels are adjacent. */
  readonly adjacent: boolean
  readonly columnStep: Local
  /** Address of the first channel of a pixel of the tile. */
  readonly pixel: (row: Code) => Code
  /** Scratch memory for one tile: `spillBytes`. */
  readonly spill: Local
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

/** Writes a tile from its rows of `width` floats in scratch memory, channel by channel. */
export function scatter(f: FunctionBuilder, width: number, { rows, columns, later, columnStep, pixel, spill }: PixelTarget): Code {
  const [r, c, source, address] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(r, 0, rows, 1, [
    set(source, i32.add(spill, i32.mul(r, 4 * width))),
    set(address, pixel(r)),
    loopRange(c, 0, columns, 1, [
      when(later, f32.store(source, f32.add(f32.load(source), f32.load(address)))),
      f32.store(address, f32.load(source)),
      advance(address, columnStep),
      advance(source, 4),
    ]),
  ])
}
