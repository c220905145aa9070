/** Copies of matrices into a kernel's scratch memory: as they are, transposed, or in the panels that `scratchProduct.ts` reads. */
import { advance, type Code, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, v128 } from '../core/assembler.ts'
import type { Lanes, Uniform } from '../core/lanes.ts'
import { panelWidth } from './scratchProduct.ts'
const floats = (count: Code): Code => i32.shl(count, 2)

/** A matrix in memory: its address, and the steps of rows and of elements in bytes. */
export interface Matrix {
  readonly address: Code
  readonly row: Local
  readonly element: Local
  /** Elements are neighbours. */
  readonly contiguous: boolean
  readonly rows: Code
  readonly elements: Code
  /** What the copy is multiplied by. */
  readonly factor?: Uniform
}

export interface Run {
  readonly from: Local
  readonly to: Local
  readonly count: Local
  /** Bytes from one element to the next; neighbours if absent. */
  readonly fromStep?: Local | undefined
  readonly toStep?: Local | undefined
  readonly factor?: Uniform | undefined
}

/** Copies `count` elements; destroys its three locals. */
export function copyElements(lanes: Lanes, { from, to, count, fromStep, toStep, factor }: Run): Code {
  const next = (n: number): Code => [advance(from, fromStep ?? 4 * n), toStep === undefined ? advance(to, 4 * n) : [], advance(count, -n)]
  const vectors = (n: number): Code => {
    const values = lanes.temporaryList(n)
    const times = factor?.of(toStep === undefined ? n : 1) // lane by lane nothing is stored in pairs
    const write = (value: Local, v: number): Code => (toStep === undefined ? v128.store(to, value, 16 * v) : [0, 1, 2, 3].map((lane) => [v128.store32Lane(to, value, lane), advance(to, toStep)]))
    return loopWhile(i32.ge(count, 4 * n), [values.map((value, v) => set(value, scaled(v128.load(from, 16 * v), times))), values.map(write), next(4 * n), lanes.clear])
  }
  const one = factor === undefined ? f32.load(from) : f32.mul(f32.load(from), factor.number)
  return [
    fromStep === undefined ? [vectors(2), vectors(1)] : [],
    loopWhile(count, [f32.store(to, one), toStep === undefined ? [] : advance(to, toStep), next(1)]),
  ]
}

const scaled = (x: Code, factor: Code | undefined): Code => (factor === undefined ? x : f32x4.mul(x, factor))

const runOf = ({ contiguous, element, factor }: Matrix, from: Local, to: Local, count: Local, toStep?: Local): Run => ({ from, to, count, fromStep: contiguous ? undefined : element, toStep, factor })

/** Copies a matrix row by row; `to(row)` addresses a row of the copy. */
export function copyRows(f: FunctionBuilder, lanes: Lanes, matrix: Matrix, to: (row: Local) => Code): Code {
  const [row, from, into, count] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(row, 0, matrix.rows, 1, [
    set(from, i32.add(matrix.address, i32.mul(row, matrix.row))),
    set(into, to(row)),
    set(count, matrix.elements),
    copyElements(lanes, runOf(matrix, from, into, count)),
  ])
}

/** Lays a matrix b[row][element] out as panels over its elements, each with room for `depth` rows. */
export function packPanels(f: FunctionBuilder, lanes: Lanes, matrix: Matrix, to: Code, depth: Code): Code {
  const [row, from, into, rowStart, count, column] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  return loopRange(column, 0, matrix.elements, panelWidth, [
    set(rowStart, i32.add(to, floats(i32.mul(column, depth)))),
    loopRange(row, 0, matrix.rows, 1, [
      set(from, i32.add(matrix.address, i32.add(i32.mul(row, matrix.row), i32.mul(column, matrix.element)))),
      set(into, rowStart), advance(rowStart, 4 * panelWidth),
      set(count, minimum(i32.sub(matrix.elements, column), panelWidth)),
      copyElements(lanes, runOf(matrix, from, into, count)),
    ]),
  ])
}

/** Lays the transpose of a matrix out as panels over its rows, each with room for `depth` elements. */
export function packTransposed(f: FunctionBuilder, lanes: Lanes, matrix: Matrix, to: Code, depth: Code): Code {
  const [row, from, into, count, width] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  const column = i32.and(row, -panelWidth)
  return [
    set(width, 4 * panelWidth),
    loopRange(row, 0, matrix.rows, 1, [
      set(from, i32.add(matrix.address, i32.mul(row, matrix.row))),
      set(into, i32.add(to, floats(i32.add(i32.mul(column, depth), i32.and(row, panelWidth - 1))))),
      set(count, matrix.elements),
      copyElements(lanes, { ...runOf(matrix, from, into, count), toStep: width }),
    ]),
  ]
}

/** Writes zero to `bytes` bytes, a multiple of 16. */
export function zero(f: FunctionBuilder, address: Code, bytes: Code): Code {
  const [at, to] = [f.local('i32'), f.local('i32')]
  return [
    set(at, address), set(to, i32.add(at, bytes)),
    loopWhile(i32.ltu(at, to), [v128.store(at, v128.splatF32(0)), advance(at, 16)]),
  ]
}
