/**
 * The tile of a convolution to up to four channels. Source channels fill the vectors, eight at a time:
 * a sum has eight lanes, which are added up, in a fixed order, when it is finished.
 */
import { advance, type Code, doWhile, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, set, v128 } from '../core/assembler.ts'
import { multiplyAdd } from '../core/multiplyAdd.ts'
import { scatter, type TileTarget } from '../matmul/tile.ts'
import { type ConvTile, type ConvTileShape, eachSegment } from './tile.ts'

export class LaneTile implements ConvTile {
  private readonly f: FunctionBuilder
  private readonly relaxed: boolean
  private readonly width: number
  /** By pixel, then target channel: two vectors each. */
  private readonly sums: readonly (readonly (readonly Local[])[])[]

  constructor(f: FunctionBuilder, { rows, width }: ConvTileShape, relaxed: boolean) {
    this.f = f
    this.relaxed = relaxed
    this.width = width
    this.sums = Array.from({ length: rows }, () => Array.from({ length: width }, () => [f.local('v128'), f.local('v128')]))
  }

  sum(from: Local, to: Local, pointers: Local, weights: Local): Code {
    const { f, sums, width, relaxed } = this
    const pixels = sums.map(() => f.local('i32'))
    const sources = sums.map(() => [f.local('v128'), f.local('v128')])
    const row = [f.local('v128'), f.local('v128')]
    const eightChannels = [
      sources.map((vectors, r) => vectors.map((x, v) => set(x, v128.load(pixels[r] ?? weights, 16 * v)))),
      Array.from({ length: width }, (_, o) => [
        row.map((w, v) => set(w, v128.load(weights, 32 * o + 16 * v))),
        sources.map((vectors, r) => vectors.map((x, v) => {
          const sum = sums[r]?.[o]?.[v] ?? x
          return set(sum, multiplyAdd(relaxed, x, row[v] ?? x, sum))
        })),
      ]),
      pixels.map((pixel) => advance(pixel, 32)),
      advance(weights, 32 * width),
    ]
    return [
      sums.flat(2).map((sum) => set(sum, 0)),
      eachSegment(f, from, to, pointers, weights, pixels, (last) => doWhile(eightChannels, i32.ne(weights, last))),
    ]
  }

  write(target: TileTarget): Code {
    const { f, sums, width } = this
    const [i, from, to] = [f.local('i32'), f.local('i32'), f.local('i32')]
    const four = f.local('v128')
    const lane = (k: number): Code => f32x4.extract(four, k)
    return [
      sums.flat(2).map((sum, n) => v128.store(target.spill, sum, 16 * n)),
      set(from, target.spill),
      set(to, target.spill),
      loopRange(i, 0, sums.length * width, 1, [
        set(four, f32x4.add(v128.load(from), v128.load(from, 16))),
        f32.store(to, f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3)))),
        advance(from, 32),
        advance(to, 4),
      ]),
      scatter(f, width, target),
    ]
  }
}
