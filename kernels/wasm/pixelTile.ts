/**
 * The register tile of a direct convolution: `rows` pixels × 4·`vectors` output channels in locals.
 * A pixel's channels under one tap are a run of memory that a pointer finds. The sum walks over
 * segments (a tap, some of its channels): for each it takes the pixels' pointers from a table, and
 * for each channel broadcasts an element a pixel and adds its products with a row of packed weights.
 */
import { type Code, f32, f32x4, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, set, v128, when } from './assembler.ts'

export interface PixelTileShape {
  readonly rows: number
  /** Of four channels each. */
  readonly vectors: number
}

/** Fields of a segment's record, in bytes: its tap's pointers after the first tap's, its first channel, its weights' size. */
const segmentFields = { pointers: 0, channel: 4, weights: 8 } as const
export const segmentBytes = 12

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
  /** Scratch memory for one tile. */
  readonly spill: Local
}

const advance = (pointer: Local, bytes: number): Code => set(pointer, i32.add(get(pointer), i32.const(bytes)))

export class PixelTile {
  private readonly f: FunctionBuilder
  private readonly vectors: number
  private readonly sums: readonly (readonly Local[])[]

  constructor(f: FunctionBuilder, { rows, vectors }: PixelTileShape) {
    this.f = f
    this.vectors = vectors
    this.sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => f.local('v128')))
  }

  /** The sums over segments `from` … `to`, whose weights begin at `weights`, which moves to their end; `pointers`: of the tile's pixels under the first tap. */
  sum(relaxed: boolean, from: Local, to: Local, pointers: Local, weights: Local): Code {
    const { f, sums, vectors } = this
    const [segment, at, channel, last, lastFour] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
    const pixels = sums.map(() => f.local('i32'))
    const row = Array.from({ length: vectors }, () => f.local('v128'))
    const element = f.local('v128')
    const rowBytes = 16 * vectors
    const multiplyAdd = (w: Code, sum: Code): Code => (relaxed ? f32x4.relaxedMadd(get(element), w, sum) : f32x4.add(f32x4.mul(get(element), w), sum))
    const channels = (count: number): Code => [
      Array.from({ length: count }, (_, c) => [
        row.map((w, v) => set(w, v128.load(get(weights), c * rowBytes + 16 * v))),
        pixels.map((pixel, r) => [
          set(element, v128.load32Splat(get(pixel), 4 * c)),
          (sums[r] ?? []).map((sum, v) => set(sum, multiplyAdd(get(row[v] ?? element), get(sum)))),
        ]),
      ]),
      pixels.map((pixel) => advance(pixel, 4 * count)),
      advance(weights, count * rowBytes),
    ]
    return [
      sums.flat().map((sum) => set(sum, v128.splatF32(0))),
      set(segment, get(from)),
      loopWhile(i32.ne(get(segment), get(to)), [
        set(at, i32.add(get(pointers), i32.load(get(segment), segmentFields.pointers))),
        set(channel, i32.load(get(segment), segmentFields.channel)),
        pixels.map((pixel, r) => set(pixel, i32.add(i32.load(get(at), 4 * r), get(channel)))),
        set(last, i32.add(get(weights), i32.load(get(segment), segmentFields.weights))),
        set(lastFour, i32.sub(get(last), i32.const(4 * rowBytes))),
        loopWhile(i32.leu(get(weights), get(lastFour)), channels(4)),
        loopWhile(i32.ne(get(weights), get(last)), channels(1)),
        advance(segment, segmentBytes),
      ]),
    ]
  }

  /** Writes the sums, or adds them to what is there. */
  write(target: PixelTarget): Code {
    const address = this.f.local('i32')
    const whole = this.sums.map((sums, r): Code => {
      const row = [
        set(address, target.pixel(i32.const(r))),
        when(target.later, sums.map((sum, v) => set(sum, f32x4.add(get(sum), v128.load(get(address), 16 * v))))),
        sums.map((sum, v) => v128.store(get(address), get(sum), 16 * v)),
      ]
      return r === 0 ? row : when(i32.gt(get(target.rows), i32.const(r)), row)
    })
    return target.adjacent ? when(i32.eq(get(target.columns), i32.const(4 * this.vectors)), whole, this.scatter(target)) : this.scatter(target)
  }

  /** Channel by channel, through a copy in scratch memory. */
  private scatter({ rows, columns, later, columnStep, pixel, spill }: PixelTarget): Code {
    const width = 16 * this.vectors
    const [r, c, source, address] = [this.f.local('i32'), this.f.local('i32'), this.f.local('i32'), this.f.local('i32')]
    return [
      this.sums.map((sums, row) => sums.map((sum, v) => v128.store(get(spill), get(sum), row * width + 16 * v))),
      loopRange(r, i32.const(0), get(rows), 1, [
        set(source, i32.add(get(spill), i32.mul(get(r), i32.const(width)))),
        set(address, pixel(get(r))),
        loopRange(c, i32.const(0), get(columns), 1, [
          when(later, f32.store(get(source), f32.add(f32.load(get(source)), f32.load(get(address))))),
          f32.store(get(address), f32.load(get(source))),
          set(address, i32.add(get(address), get(columnStep))),
          advance(source, 4),
        ]),
      ]),
    ]
  }
}
