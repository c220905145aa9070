/**
 * The register tile of a matrix product: `rows` × 4·`vectors` accumulators in locals.
 * One step of k loads the vectors of a row of B, broadcasts one element of A for each row and adds
 * the outer product. The panels are packed, so both walk forward. A finished tile is added to the
 * output row by row; tiles that stick out to the right, or whose columns are not adjacent in the
 * output, go through a copy in scratch memory. Rows below the edge are computed and dropped.
 */
import { advance, type Code, doWhile, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, set, settled, v128, when } from '../core/assembler.ts'
import { outerProduct } from '../core/multiplyAdd.ts'

export interface Tile {
  readonly rows: number
  /** Of four columns each. */
  readonly vectors: number
}

/** A panel of A holds `tile.rows` rows, either each in a piece ('rows') or k after k ('interleaved'). */
export type PanelLayout = 'rows' | 'interleaved'

/** Largest number of products summed before a tile is added to the output. */
export const maxDepth = 512
/** Bytes between rows of a panel; 32.25 cache lines, so that the rows of a tile fall in different sets. */
export const rowPitch: number = 4 * (maxDepth + 4)

/**
 * Steps of k in one round of the loop of a tile this wide. Beside its arithmetic a round moves the pointers and looks for
 * interrupts; that is hidden as long as the core is not shared with another hyperthread. Narrower tiles are what
 * compilers get that run out of registers if unrolled.
 */
const unrolled = 4
const wideVectors = 4

export class TileCode {
  private readonly tile: Tile
  private readonly accumulators: readonly (readonly Local[])[]
  private readonly f: FunctionBuilder

  constructor(f: FunctionBuilder, tile: Tile) {
    this.f = f
    this.tile = tile
    this.accumulators = Array.from({ length: tile.rows }, () => Array.from({ length: tile.vectors }, () => f.local('v128')))
  }

  /** Accumulators = product of a panel of A and a panel of B, which ends at `bEnd`. Moves both pointers. */
  multiply(layout: PanelLayout, relaxed: boolean, a: Local, b: Local, bEnd: Local): Code {
    const { rows, vectors } = this.tile
    const row = Array.from({ length: vectors }, () => this.f.local('v128'))
    const element = this.f.local('v128')
    const [rowStep, depthStep] = layout === 'rows' ? [rowPitch, 4] : [4, 4 * rows]
    const step = (k: number): Code =>
      outerProduct(relaxed, this.accumulators, row, element, (v) => v128.load(b, 16 * (k * vectors + v)), (r) => v128.load32Splat(a, k * depthStep + r * rowStep))
    const loop = (steps: number, last: Local): Code => when(i32.ne(b, last), doWhile([
      Array.from({ length: steps }, (_, k) => step(k)),
      advance(a, steps * depthStep),
      advance(b, steps * 16 * vectors),
    ], i32.ne(b, last)))
    const clear = this.accumulators.flat().map((sum) => set(sum, 0))
    if (vectors < wideVectors) return [clear, loop(1, bEnd)]
    const wholeRounds = this.f.local('i32')
    const rest = i32.and(i32.sub(bEnd, b), (unrolled - 1) * 16 * vectors)
    return [clear, set(wholeRounds, i32.sub(bEnd, rest)), loop(unrolled, wholeRounds), loop(1, bEnd)]
  }

  /** Adds the accumulators to the output, or on the first block of k writes them. */
  write(target: TileTarget): Code {
    return writeTile(this.f, this.accumulators, target)
  }
}

/** Where a finished tile goes. Rows and columns count from the tile's corner. */
export interface TileTarget {
  /** How many rows and columns of the tile exist. */
  readonly rows: Local
  readonly columns: Local
  /** 0 for the sum's first part; later ones are added to what is there. */
  readonly later: Code
  /** Columns are adjacent in the output. */
  readonly adjacent: boolean
  readonly columnStep: Local
  /** Address of the first column of a row. */
  readonly row: (row: Code) => Code
  /** Scratch memory for one tile. */
  readonly spill: Local
}

/** Writes a tile of rows of `sums`: as vectors if all its columns exist and are adjacent, else element by element out of a copy. */
export function writeTile(f: FunctionBuilder, sums: readonly (readonly Local[])[], target: TileTarget): Code {
  const vectors = sums[0]?.length ?? 0
  const address = f.local('i32')
  const paired = vectors > 1
  const whole = sums.map((row, r): Code => {
    const code = [
      set(address, target.row(i32.const(r))),
      paired ? [] : row.map((sum) => set(sum, v128.load(target.spill, 16 * r))),
      when(target.later, row.map((sum, v) => set(sum, f32x4.add(sum, v128.load(address, 16 * v))))),
      row.map((sum, v) => v128.store(address, sum, 16 * v)),
    ]
    return r === 0 ? code : when(i32.gt(target.rows, r), code)
  })
  const spill = sums.map((row, r) => row.map((sum, v) => v128.store(target.spill, settled(sum), 16 * (r * vectors + v))))
  if (!target.adjacent) return [spill, scatter(f, 4 * vectors, target)]
  const fits = i32.eq(target.columns, 4 * vectors)
  // Where a row is one vector, pairs are of two rows, which part here: each is read from the copy.
  return paired ? when(fits, whole, [spill, scatter(f, 4 * vectors, target)]) : [spill, when(fits, whole, scatter(f, 4 * vectors, target))]
}

/** Writes a tile from its rows of `width` floats in scratch memory. */
export function scatter(f: FunctionBuilder, width: number, { rows, columns, later, columnStep, row, spill }: TileTarget): Code {
  const [r, c, source, address] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(r, 0, rows, 1, [
    set(source, i32.add(spill, i32.mul(r, 4 * width))),
    set(address, row(r)),
    loopRange(c, 0, columns, 1, [
      when(later, f32.store(source, f32.add(f32.load(source), f32.load(address)))),
      f32.store(address, f32.load(source)),
      advance(address, columnStep),
      advance(source, 4),
    ]),
  ])
}
