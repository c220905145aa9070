/**
 * Small matrix products c = a·b inside a kernel, on operands that it has copied to its scratch memory.
 *
 * b lies in panels of 16 columns, each holding its terms one after another, 16 floats apiece; a and c are rows. A tile
 * of 6 rows stays in registers over a block of terms, whose piece of a panel stays in the first-level cache. With
 * 256-bit code the tile has 16 columns, else 8, half a panel. What a sum adds up, and in which order, is the same.
 */
import { advance, type Code, doWhile, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, settled, v128, when } from '../core/assembler.ts'
import type { Lanes } from '../core/lanes.ts'
import { outerProduct } from '../core/multiplyAdd.ts'

export const panelWidth = 16
/** Rows of memory that a tile may touch beyond the last row of a and of c. */
export const rowsBeyond = 3
const [tileRows, lastRows] = [6, 4]

export interface ScratchProduct {
  /** Address of the left operand, and the bytes from one row, or one term, to the next. */
  readonly a: Code
  readonly aStep: Code
  /** Address of the panels, and how many terms one has room for. */
  readonly b: Code
  readonly bDepth: Code
  readonly c: Code
  readonly cRow: Code
  readonly rows: Code
  /** A multiple of 8. */
  readonly columns: Code
  readonly depth: Code
}

export interface ProductOptions {
  /** Which elements of a are neighbours: the terms of a row, or the rows of a term. Terms must be a multiple of 4. */
  readonly adjacent: 'terms' | 'rows'
  /** Add to what c holds. */
  readonly add: boolean
  readonly wide: boolean
}

/** Computes each of `products`, one after the other, by the same code. */
export function multiply(f: FunctionBuilder, lanes: Lanes, options: ProductOptions, ...products: readonly ScratchProduct[]): Code {
  const i = (): Local => f.local('i32')
  const [a, aStep, b, panelBytes, c, cRow, rows, columns, depth] = [i(), i(), i(), i(), i(), i(), i(), i(), i()]
  const [which, term, terms, column, row, left, right, result] = [i(), i(), i(), i(), i(), i(), i(), i()]
  const byTerms = options.adjacent === 'terms'
  const take = (p: ScratchProduct): Code => [
    set(a, p.a), set(aStep, p.aStep), set(b, p.b), set(panelBytes, i32.mul(p.bDepth, 4 * panelWidth)),
    set(c, p.c), set(cRow, p.cRow), set(rows, p.rows), set(columns, p.columns), set(depth, p.depth),
  ]
  const [rowStep, termStep] = byTerms ? [aStep, i32.const(4)] : [i32.const(4), aStep]
  const tiles = (vectors: number): Code => {
    const tile = new RegisterTile(f, lanes, options, vectors, { left, aStep, right, terms, result, cRow, term })
    return [
      set(left, i32.add(a, i32.mul(term, termStep))),
      set(right, i32.add(i32.add(b, i32.mul(i32.shru(column, 4), panelBytes)), i32.add(i32.shl(i32.and(column, 8), 2), i32.shl(term, 6)))),
      set(result, i32.add(c, i32.shl(column, 2))),
      set(row, rows),
      loopWhile(i32.gt(row, lastRows), [
        tile.compute(tileRows),
        advance(left, i32.mul(rowStep, tileRows)), advance(result, i32.mul(cRow, tileRows)), advance(row, -tileRows),
      ]),
      when(i32.gt(row, 0), tile.compute(lastRows)),
    ]
  }
  const depthBlock = byTerms ? 256 : 128
  const product = [
    set(term, 0),
    loopWhile(i32.lt(term, depth), [
      set(terms, minimum(depthBlock, i32.sub(depth, term))),
      loopRange(column, 0, columns, options.wide ? panelWidth : 8,
        options.wide ? when(i32.gt(i32.sub(columns, column), 8), tiles(4), tiles(2)) : tiles(2)),
      advance(term, terms),
    ]),
  ]
  const [only] = products
  if (products.length === 1 && only !== undefined) return [take(only), product]
  return loopRange(which, 0, products.length, 1, [products.map((p, k) => when(i32.eq(which, k), take(p))), product])
}

type TileLocals = Readonly<Record<'left' | 'aStep' | 'right' | 'terms' | 'result' | 'cRow' | 'term', Local>>

class RegisterTile {
  private readonly f: FunctionBuilder
  private readonly lanes: Lanes
  private readonly options: ProductOptions
  private readonly vectors: number
  private readonly at: TileLocals
  private readonly sums: readonly (readonly Local[])[]
  private readonly lefts: readonly Local[]

  constructor(f: FunctionBuilder, lanes: Lanes, options: ProductOptions, vectors: number, at: TileLocals) {
    this.f = f
    this.lanes = lanes
    this.options = options
    this.vectors = vectors
    this.at = at
    this.sums = Array.from({ length: tileRows }, () => Array.from({ length: vectors }, () => f.local('v128')))
    this.lefts = Array.from({ length: options.adjacent === 'terms' ? tileRows : 1 }, () => f.local('i32'))
  }

  /** The tile of `rows` rows: all terms of the block, from `left` and `right` to `result`. */
  compute(rows: number): Code {
    const { f, lanes, options, at, vectors } = this
    const [right, left, end] = [f.local('i32'), f.local('i32'), f.local('i32')]
    const byTerms = options.adjacent === 'terms'
    const sums = this.sums.slice(0, rows)
    const lefts = byTerms ? this.lefts.slice(0, rows) : [left]
    const unrolled = byTerms ? 4 : 1
    const oneTerm = (u: number): Code => {
      const [vector, broadcast] = [(v: number): Code => v128.load(right, 4 * panelWidth * u + 16 * v), (r: number): Code => v128.load32Splat(lefts[byTerms ? r : 0] ?? left, byTerms ? 4 * u : 4 * r)]
      return outerProduct(lanes.relaxed, sums, lanes.temporaryList(vectors), lanes.temporary(), vector, broadcast)
    }
    const eachRow = (body: (line: readonly Local[]) => Code): Code => [
      set(left, at.result),
      sums.map((line, r) => [body(line), r === rows - 1 ? [] : advance(left, at.cRow)]),
    ]
    const load = eachRow((line) => line.map((sum, v) => set(sum, v128.load(left, 16 * v))))
    return [
      options.add ? load : when(at.term, load, sums.flat().map((sum) => set(sum, 0))),
      set(left, at.left),
      byTerms ? lefts.map((local, r) => set(local, r === 0 ? left : i32.add(lefts[r - 1] ?? left, at.aStep))) : [],
      set(right, at.right),
      set(end, i32.add(right, i32.shl(at.terms, 6))),
      doWhile([
        Array.from({ length: unrolled }, (_, u) => oneTerm(u)),
        lefts.map((local) => advance(local, byTerms ? 4 * unrolled : at.aStep)),
        advance(right, 4 * panelWidth * unrolled),
        lanes.clear,
      ], i32.ne(right, end)),
      eachRow((line) => line.map((sum, v) => v128.store(left, settled(sum), 16 * v))),
    ]
  }
}
