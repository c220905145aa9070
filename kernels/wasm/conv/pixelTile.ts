/**
 * The tile of a convolution to many channels: pixels × target channels in locals. For each source
 * channel it broadcasts an element a pixel and adds its products with a row of packed weights.
 */
import { advance, type Code, f32x4, type FunctionBuilder, i32, type Local, loopWhile, set, settled, v128, when } from '../core/assembler.ts'
import { type ConvTile, type ConvTileShape, eachSegment, type PixelTarget, scatter } from './tile.ts'

export class PixelTile implements ConvTile {
  private readonly f: FunctionBuilder
  private readonly relaxed: boolean
  private readonly width: number
  private readonly sums: readonly (readonly Local[])[]

  constructor(f: FunctionBuilder, { rows, width }: ConvTileShape, relaxed: boolean) {
    this.f = f
    this.relaxed = relaxed
    this.width = width
    this.sums = Array.from({ length: rows }, () => Array.from({ length: width / 4 }, () => f.local('v128')))
  }

  sum(from: Local, to: Local, pointers: Local, weights: Local): Code {
    const { f, sums, width, relaxed } = this
    const lastFour = f.local('i32')
    const pixels = sums.map(() => f.local('i32'))
    const row = Array.from({ length: width / 4 }, () => f.local('v128'))
    const element = f.local('v128')
    const multiplyAdd = (w: Code, sum: Code): Code => (relaxed ? f32x4.relaxedMadd(element, w, sum) : f32x4.add(f32x4.mul(element, w), sum))
    const channels = (count: number): Code => [
      Array.from({ length: count }, (_, c) => [
        row.map((w, v) => set(w, v128.load(weights, 4 * width * c + 16 * v))),
        pixels.map((pixel, r) => [
          set(element, v128.load32Splat(pixel, 4 * c)),
          (sums[r] ?? []).map((sum, v) => set(sum, multiplyAdd(row[v] ?? element, sum))),
        ]),
      ]),
      pixels.map((pixel) => advance(pixel, 4 * count)),
      advance(weights, 4 * width * count),
    ]
    return [
      sums.flat().map((sum) => set(sum, 0)),
      eachSegment(f, from, to, pointers, weights, pixels, (last) => [
        set(lastFour, i32.sub(last, 16 * width)),
        loopWhile(i32.leu(weights, lastFour), channels(4)),
        loopWhile(i32.ne(weights, last), channels(1)),
      ]),
    ]
  }

  write(target: PixelTarget): Code {
    const { f, sums, width } = this
    const address = f.local('i32')
    const paired = width > 4
    const whole = sums.map((vectors, r): Code => {
      const row = [
        set(address, target.pixel(i32.const(r))),
        paired ? [] : vectors.map((sum) => set(sum, v128.load(target.spill, 16 * r))),
        when(target.later, vectors.map((sum, v) => set(sum, f32x4.add(sum, v128.load(address, 16 * v))))),
        vectors.map((sum, v) => v128.store(address, sum, 16 * v)),
      ]
      return r === 0 ? row : when(i32.gt(target.rows, r), row)
    })
    const spill = sums.map((vectors, r) => vectors.map((sum, v) => v128.store(target.spill, settled(sum), 4 * width * r + 16 * v)))
    if (!target.adjacent) return [spill, scatter(f, width, target)]
    const fits = i32.eq(target.columns, width)
    // Where a pixel is one vector, pairs are of two pixels, which part here: each is read from the copy.
    return paired ? when(fits, whole, [spill, scatter(f, width, target)]) : [spill, when(fits, whole, scatter(f, width, target))]
  }
}
