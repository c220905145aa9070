/**
 * A register tile that sums outer products: rows × 4·`vectors` accumulators in locals. Every entry of a list of
 * offsets adds `rows` neighbouring floats, each broadcast, times a row of vectors. Sums over parts of a list are added
 * to the tile in memory, so that rounding errors grow with the number of parts.
 */
import { advance, type Code, doWhile, f32x4, type FunctionBuilder, i32, type Local, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import { outerProduct } from '../core/multiplyAdd.ts'
import { entryBytes } from './tapLists.ts'

/** Most entries in a part. */
const mostTerms = 256

export interface OuterProductOptions {
  /** Most rows of a tile. */
  readonly rows: number
  readonly vectors: number
  readonly relaxed: boolean
  /** Fields of an entry: the offsets of what is broadcast, and of the vectors. */
  readonly fields: { readonly rows: number; readonly columns: number }
}

/** Addresses of offset 0, of a list's first entry and its end, and of the tile. */
export type OuterProductOperands = Readonly<Record<'rows' | 'columns' | 'first' | 'end' | 'tile', Local>>

export class OuterProduct {
  private readonly options: OuterProductOptions
  private readonly accumulators: readonly (readonly Local[])[]
  private readonly vectors: readonly Local[]
  private readonly element: Local
  private readonly entry: Local
  private readonly elements: Local
  private readonly row: Local
  private readonly stop: Local

  constructor(f: FunctionBuilder, options: OuterProductOptions) {
    this.options = options
    this.accumulators = Array.from({ length: options.rows }, () => Array.from({ length: options.vectors }, () => f.local('v128')))
    this.vectors = Array.from({ length: options.vectors }, () => f.local('v128'))
    this.element = f.local('v128')
    ;[this.entry, this.elements, this.row, this.stop] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  }

  /** Adds a list's products to the tile's first `rows` rows. */
  accumulate(rows: number, operands: OuterProductOperands): Code {
    const { entry, elements, row, stop, element, vectors } = this
    const { relaxed, fields } = this.options
    const accumulators = this.accumulators.slice(0, rows)
    const product = (at: number): Code => [
      set(elements, i32.add(operands.rows, i32.load(entry, at + fields.rows))),
      set(row, i32.add(operands.columns, i32.load(entry, at + fields.columns))),
      outerProduct(relaxed, accumulators, vectors, element, (v) => v128.load(row, 16 * v), (r) => v128.load32Splat(elements, 4 * r)),
    ]
    const next = (bytes: number): Code => advance(entry, bytes)
    const more = i32.ne(entry, stop)
    return [
      set(entry, operands.first),
      loopWhile(i32.ne(entry, operands.end), [
        accumulators.flat().map((sum) => set(sum, 0)),
        set(stop, minimum(operands.end, i32.add(entry, mostTerms * entryBytes))),
        // Two entries a round: V8 then computes the addresses of the elements once for both.
        when(i32.and(i32.sub(stop, entry), entryBytes), [product(0), next(entryBytes)]),
        when(more, doWhile([product(0), product(entryBytes), next(2 * entryBytes)], more)),
        accumulators.map((sums, r) => {
          const at = (v: number): number => 16 * (r * vectors.length + v)
          return [
            sums.map((sum, v) => set(sum, f32x4.add(sum, v128.load(operands.tile, at(v))))),
            sums.map((sum, v) => v128.store(operands.tile, sum, at(v))),
          ]
        }),
      ]),
    ]
  }
}
