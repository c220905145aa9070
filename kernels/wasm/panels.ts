/**
 * Small matrix products inside a kernel, on operands it has copied to its scratch memory.
 *
 * The right operand b[k][j] lies in panels of 16 columns (the last may have 8), each holding its
 * rows one after another; the left one and the result are row-major. A tile of 4 rows × 16 columns
 * stays in registers over a block of `depthBlock` terms, so that one panel of that depth stays in
 * the first-level cache. Scratch is padded: rows and depth to 4, columns to 8, and the padded terms are zeros.
 */
import { type Code, doWhile, f32, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from './assembler.ts'
import type { Lanes } from './lanes.ts'

const tileRows = 4
const depthBlock = 256
const step = (local: Local, by: Code): Code => set(local, i32.add(get(local), by))
const floats = (count: Code): Code => i32.shl(count, i32.const(2))

export interface Product {
  /** Address of the left operand, and the step of a row and of a term in bytes. Exactly one of them is the constant 4. */
  readonly a: Code
  readonly aRow: Local | 'contiguous'
  readonly aTerm: Local | 'contiguous'
  /** Address of the panels, and their depth in memory (rows in a panel). */
  readonly b: Code
  readonly bDepth: Code
  /** Address of the result and the step of its rows in bytes. */
  readonly c: Code
  readonly cRow: Local
  readonly rows: Code
  /** A multiple of 8. */
  readonly columns: Code
  /** How many terms, a multiple of 4. */
  readonly depth: Code
  /** Add to what the result holds. */
  readonly add: boolean
}

/** c[i][j] = Σₖ a[i][k]·b[k][j], or added to c. There is at least one row, column and term. */
export function multiply(f: FunctionBuilder, lanes: Lanes, product: Product): Code {
  const i = (): Local => f.local('i32')
  const [term, terms, column, row, rows, columns, depth] = [i(), i(), i(), i(), i(), i(), i()]
  const [panel, left, result, leftStep, resultStep] = [i(), i(), i(), i(), i()]
  const tileLoop = (vectors: number): Code => [
    set(panel, i32.add(product.b, i32.add(floats(i32.mul(get(column), product.bDepth)), i32.mul(get(term), i32.const(16 * vectors))))),
    set(left, i32.add(product.a, i32.mul(get(term), strideOf(product.aTerm)))),
    set(result, i32.add(product.c, floats(get(column)))),
    loopRange(row, i32.const(0), get(rows), tileRows, [
      microTile(f, lanes, product, vectors, { term, terms, panel, left, result }),
      step(left, get(leftStep)),
      step(result, get(resultStep)),
    ]),
  ]
  return [
    set(rows, product.rows), set(columns, product.columns), set(depth, product.depth),
    set(leftStep, i32.mul(strideOf(product.aRow), i32.const(tileRows))),
    set(resultStep, i32.mul(get(product.cRow), i32.const(tileRows))),
    set(term, i32.const(0)),
    loopWhile(i32.lt(get(term), get(depth)), [
      set(terms, minimum(i32.const(depthBlock), i32.sub(get(depth), get(term)))),
      set(column, i32.const(0)),
      loopWhile(i32.le(i32.add(get(column), i32.const(16)), get(columns)), [tileLoop(4), step(column, i32.const(16))]),
      when(i32.lt(get(column), get(columns)), tileLoop(2)),
      step(term, get(terms)),
    ]),
  ]
}

const strideOf = (stride: Local | 'contiguous'): Code => (stride === 'contiguous' ? i32.const(4) : get(stride))

interface TileLocals { readonly term: Local; readonly terms: Local; readonly panel: Local; readonly left: Local; readonly result: Local }

/** One tile of 4 rows: `terms` terms of the panel, from `left`, to `result`. */
function microTile(f: FunctionBuilder, lanes: Lanes, { aRow, aTerm, cRow, add }: Product, vectors: number, { term, terms, panel, left, result }: TileLocals): Code {
  const byRows = aTerm === 'contiguous'
  const sums = Array.from({ length: tileRows }, () => Array.from({ length: vectors }, () => f.local('v128')))
  const lefts = Array.from({ length: byRows ? tileRows : 1 }, () => f.local('i32'))
  const results = sums.map(() => f.local('i32'))
  const [right, k] = [f.local('i32'), f.local('i32')]
  const each = (code: (sum: Local, address: Code, v: number) => Code): Code => sums.map((line, r) => {
    const address = results[r]
    return address === undefined ? [] : line.map((sum, v) => code(sum, get(address), v))
  })
  /** Locals at `start`, `start` + `stride`, … */
  const ladder = (locals: readonly Local[], start: Local, stride: Code): Code => locals.map((local, r) => {
    const before = locals[r - 1]
    return set(local, before === undefined ? get(start) : i32.add(get(before), stride))
  })
  const fourTerms = [0, 1, 2, 3].map((u) => {
    const b = lanes.temporaryList(vectors)
    return [
      b.map((local, v) => set(local, v128.load(get(right), 16 * (u * vectors + v)))),
      sums.map((line, r) => {
        const [a, source] = [lanes.temporary(), lefts[byRows ? r : 0]]
        if (source === undefined) return []
        return [
          set(a, v128.load32Splat(get(source), byRows ? 4 * u : 4 * r)),
          line.map((sum, v) => { const factor = b[v]; return factor === undefined ? [] : set(sum, lanes.madd(get(a), get(factor), get(sum))) }),
        ]
      }),
      byRows ? [] : lefts.map((local) => step(local, strideOf(aTerm))),
    ]
  })
  return [
    ladder(results, result, get(cRow)),
    ladder(lefts, left, strideOf(aRow)),
    when(
      add ? i32.const(1) : get(term),
      each((sum, address, v) => set(sum, v128.load(address, 16 * v))),
      each((sum) => set(sum, v128.splatF32(0))),
    ),
    set(right, get(panel)),
    set(k, get(terms)),
    doWhile([
      fourTerms,
      step(right, i32.const(64 * vectors)),
      byRows ? lefts.map((local) => step(local, i32.const(16))) : [],
      step(k, i32.const(-4)),
      lanes.clear,
    ], get(k)),
    each((sum, address, v) => v128.store(address, get(sum), 16 * v)),
  ]
}

/** A matrix in memory: its address, and the steps of rows and of elements in bytes. */
export interface Matrix {
  readonly address: Code
  readonly row: Local
  readonly element: Local
  /** Elements are neighbours. */
  readonly contiguous: boolean
  readonly rows: Code
  readonly elements: Code
}

/** Copies `count` elements from `from` to `to`, both destroyed; `toStep` is the step in bytes there, absent if 4. */
export function copyElements(f: FunctionBuilder, lanes: Lanes, matrix: Pick<Matrix, 'element' | 'contiguous'>, from: Local, to: Local, count: Local, toStep?: Local): Code {
  const i = f.local('i32')
  const value = lanes.temporary()
  const one = toStep === undefined ? i32.const(4) : get(toStep)
  const single = [f32.store(get(to), f32.load(get(from))), step(from, matrix.contiguous ? i32.const(4) : get(matrix.element)), step(to, one)]
  const four = [
    set(value, v128.load(get(from))),
    toStep === undefined
      ? [v128.store(get(to), get(value)), step(to, i32.const(16))]
      : [0, 1, 2, 3].map((lane) => [v128.store32Lane(get(to), get(value), lane), step(to, one)]),
    step(from, i32.const(16)),
  ]
  return [
    set(i, get(count)),
    matrix.contiguous ? loopWhile(i32.ge(get(i), i32.const(4)), [four, step(i, i32.const(-4))]) : [],
    loopWhile(i32.gt(get(i), i32.const(0)), [single, step(i, i32.const(-1))]),
  ]
}

/** Copies a matrix row by row; `to(row)` addresses a row of the copy. */
export function copyRows(f: FunctionBuilder, lanes: Lanes, matrix: Matrix, to: (row: Local) => Code): Code {
  const [row, from, into, count] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(row, i32.const(0), matrix.rows, 1, [
    set(from, i32.add(matrix.address, i32.mul(get(row), get(matrix.row)))),
    set(into, to(row)),
    set(count, matrix.elements),
    copyElements(f, lanes, matrix, from, into, count),
  ])
}

/** Lays a matrix b[row][element] out as panels over its elements, `columns` of them (padded), each of depth `depth`. */
export function packPanels(f: FunctionBuilder, lanes: Lanes, matrix: Matrix, to: Code, columns: Code, depth: Code): Code {
  const [row, from, into, count, column, width] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(column, i32.const(0), matrix.elements, 16, [
    set(width, minimum(i32.sub(columns, get(column)), i32.const(16))),
    loopRange(row, i32.const(0), matrix.rows, 1, [
      set(from, i32.add(matrix.address, i32.add(i32.mul(get(row), get(matrix.row)), i32.mul(get(column), get(matrix.element))))),
      set(into, i32.add(to, floats(i32.add(i32.mul(get(column), depth), i32.mul(get(row), get(width)))))),
      set(count, minimum(i32.sub(matrix.elements, get(column)), get(width))),
      copyElements(f, lanes, matrix, from, into, count),
    ]),
  ])
}

/** Lays the transpose of a matrix out as panels over its rows: b[element][row]. */
export function packTransposed(f: FunctionBuilder, lanes: Lanes, matrix: Matrix, to: Code, columns: Code, depth: Code): Code {
  const [row, from, into, count, column, width] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(row, i32.const(0), matrix.rows, 1, [
    set(column, i32.and(get(row), i32.const(-16))),
    set(width, floats(minimum(i32.sub(columns, get(column)), i32.const(16)))),
    set(from, i32.add(matrix.address, i32.mul(get(row), get(matrix.row)))),
    set(into, i32.add(to, floats(i32.add(i32.mul(get(column), depth), i32.sub(get(row), get(column)))))),
    set(count, matrix.elements),
    copyElements(f, lanes, matrix, from, into, count, width),
  ])
}

/** Writes zero to `bytes` bytes, a multiple of 16. */
export function zero(f: FunctionBuilder, address: Code, bytes: Code): Code {
  const [at, to] = [f.local('i32'), f.local('i32')]
  return [
    set(at, address), set(to, i32.add(get(at), bytes)),
    loopWhile(i32.ltu(get(at), get(to)), [v128.store(get(at), v128.splatF32(0)), step(at, i32.const(16))]),
  ]
}
