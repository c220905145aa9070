/**
 * The tile of a convolution to many channels: pixels × target channels in locals. For each source
 * channel it broadcasts an element a pixel and adds its products with a row of packed weights.
 */
import { advance, type Code, type FunctionBuilder, i32, type Local, loopWhile, set, v128 } from '../core/assembler.ts'
import { outerProduct } from '../core/multiplyAdd.ts'
import { type TileTarget, writeTile } from '../matmul/tile.ts'
import { type ConvTile, type ConvTileShape, eachSegment } from './tile.ts'

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
    const channels = (count: number): Code => [
      Array.from({ length: count }, (_, c) =>
        outerProduct(relaxed, sums, row, element, (v) => v128.load(weights, 4 * width * c + 16 * v), (r) => v128.load32Splat(pixels[r] ?? weights, 4 * c))),
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

  write(target: TileTarget): Code {
    return writeTile(this.f, this.sums, target)
  }
}
