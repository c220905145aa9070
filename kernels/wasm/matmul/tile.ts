/**
 * The register tile of a matrix product: `rows` × 4·`vectors` accumulators in locals.
 * One step of k loads the vectors of a row of B, broadcasts one element of A for each row and adds
 * the outer product. The panels are packed, so both walk forward. A finished tile is added to the
 * output row by row; tiles that stick out to the right, or whose columns are not adjacent in the
 * output, go through a copy in scratch memory. Rows below the edge are computed and dropped.
 */
import { advance, type Code, doWhile, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, set, settled, v128, when } from '../core/assembler.ts'

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

/** x·y + z; one rounding with relaxed SIMD where the processor has it, else two. */
const multiplyAdd = (relaxed: boolean, x: Code, y: Code, z: Code): Code => (relaxed ? f32x4.relaxedMadd(x, y, z) : f32x4.add(f32x4.mul(x, y), z))

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
    const step = (k: number): Code => [
      row.map((vector, v) => set(vector, v128.load(b, 16 * (k * vectors + v)))),
      this.accumulators.map((accumulators, r) => [
        set(element, v128.load32Splat(a, k * depthStep + r * rowStep)),
        accumulators.map((sum, v) => set(sum, multiplyAdd(relaxed, element, row[v] ?? element, sum))),
      ]),
    ]
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
  write(t: TileTarget): Code {
    const address = this.f.local('i32')
    const paired = this.tile.vectors > 1
    const wide = this.accumulators.map((accumulators, r): Code => {
      const row: Code = [
        set(address, t.outRow(r)),
        paired ? [] : accumulators.map((sum) => set(sum, v128.load(t.spill, 16 * r))),
        when(t.later, accumulators.map((sum, v) => set(sum, f32x4.add(sum, v128.load(address, 16 * v))))),
        accumulators.map((sum, v) => v128.store(address, sum, 16 * v)),
      ]
      return r === 0 ? row : when(i32.gt(t.rows, r), row)
    })
    // Where a row is one vector, pairs are of two rows, which part here: each is read from the copy.
    return paired ? when(t.adjacent, wide, [this.spill(t), this.scatter(t)]) : [this.spill(t), when(t.adjacent, wide, this.scatter(t))]
  }

  private spill(t: TileTarget): Code {
    const { vectors } = this.tile
    return this.accumulators.map((accumulators, row) => accumulators.map((sum, v) => v128.store(t.spill, settled(sum), 16 * (row * vectors + v))))
  }

  private scatter(t: TileTarget): Code {
    const width = 16 * this.tile.vectors
    const [r, c, source, address] = [this.f.local('i32'), this.f.local('i32'), this.f.local('i32'), this.f.local('i32')]
    return [
      loopRange(r, 0, t.rows, 1, [
        set(source, i32.add(t.spill, i32.mul(r, width))),
        loopRange(c, 0, t.columns, 1, [
          set(address, t.outElement(r, c)),
          f32.store(address, [
            f32.load(source),
            // The branch leaves the number to add on the stack.
            t.later, 0x04, 0x7d, f32.load(address), 0x05, f32.const(0), 0x0b,
            0x92,
          ]),
          advance(source, 4),
        ]),
      ]),
    ]
  }
}

/** Where a tile goes. Rows and columns count from the tile's corner. */
export interface TileTarget {
  /** How many rows and columns of the tile exist. */
  readonly rows: Local
  readonly columns: Local
  /** 0 for the first block of k. */
  readonly later: Code
  /** Not 0 if all columns exist and are adjacent in the output. */
  readonly adjacent: Code
  outRow(row: number): Code
  outElement(row: Code, column: Code): Code
  /** Scratch memory for one tile. */
  readonly spill: Local
}
