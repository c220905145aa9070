/**
 * Packing of strided matrices into panels, in which the tiles find what they read in reading order.
 * A panel of columns holds, k after k, `width` neighbouring columns (of B, or rows of A); a row panel
 * holds each row of A in one piece. Panels that stick out are filled up with zeros: what is computed
 * from them is dropped, but leftovers in scratch memory may be denormal numbers, which are slow.
 */
import { advance, type Code, doWhile, f32, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import { rowPitch } from './tile.ts'

export interface ColumnsSource {
  /** Address of the element at column 0, k 0. */
  readonly base: Local
  /** First column and how many. */
  readonly from: Local
  readonly count: Local
  /** How many k. */
  readonly depth: Local
  readonly columnStep: Local
  /** Columns are adjacent. */
  readonly adjacent: boolean
  /** Every column is in one piece. */
  readonly depthAdjacent?: boolean
  /** The first k, and bytes from one to the next. */
  readonly first: Local
  readonly depthStep: Local
}

/** Copies `width` neighbouring floats. */
export function copyWidth(width: number, to: Local, from: Local): Code {
  if (width < 4) return Array.from({ length: width }, (_, e) => f32.store(to, f32.load(from, 4 * e), 4 * e))
  // The last vector overlaps the one before it.
  const offsets = Array.from({ length: Math.ceil(width / 4) }, (_, v) => Math.min(16 * v, 4 * width - 16))
  return offsets.map((offset) => v128.store(to, v128.load(from, offset), offset))
}

export function zeroWidth(width: number, to: Local): Code {
  const vectors = width >> 2
  return [
    Array.from({ length: vectors }, (_, v) => v128.store(to, v128.splatF32(0), 16 * v)),
    Array.from({ length: width & 3 }, (_, e) => f32.store(to, 0, 16 * vectors + 4 * e)),
  ]
}

/** Collects `width` floats that lie `step` apart; moves `from` past them. */
export function gatherWidth(f: FunctionBuilder, width: number, to: Local, from: Local, step: Local): Code {
  const vector = f.local('v128')
  const next = advance(from, step)
  return [
    Array.from({ length: width >> 2 }, (_, v) => [
      set(vector, v128.load32Zero(from)),
      next,
      [1, 2, 3].map((lane) => [set(vector, v128.load32Lane(from, vector, lane)), next]),
      v128.store(to, vector, 16 * v),
    ]),
    Array.from({ length: width & 3 }, (_, e) => [f32.store(to, f32.load(from), 4 * ((width & ~3) + e)), next]),
  ]
}

/** How many k are packed before the next panel: neighbouring panels share cache lines and pages of the source. */
const slice = 16

/** Packs columns `from` … `from + count − 1` into panels of `width`. */
export function packColumns(f: FunctionBuilder, width: number, source: ColumnsSource, panels: Local): Code {
  const { depth, first, depthStep, columnStep } = source
  const local = (): Local => f.local('i32')
  const [k, rows, corner, start, left, row, at, to, last, lane] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const rowBytes = i32.const(4 * width)
  /** Runs `copy` for every k of the slice, `at` in the column at `corner` and `to` in the panel at `start`. */
  const everyRow = (copy: Code): Code => [
    set(to, start),
    set(last, i32.add(start, i32.mul(rows, rowBytes))),
    set(row, i32.add(corner, i32.mul(i32.add(first, k), depthStep))),
    doWhile([set(at, row), copy, advance(row, depthStep), advance(to, rowBytes)], i32.ne(to, last)),
  ]
  const wholePanel = (): Code => {
    if (source.adjacent) return everyRow(copyWidth(width, to, at))
    if (source.depthAdjacent !== true || width % 4 !== 0) return everyRow(gatherWidth(f, width, to, at, columnStep))
    return transpose(f, width, i32.add(corner, i32.shl(i32.add(first, k), 2)), columnStep, start, rows)
  }
  return loopRange(k, 0, depth, slice, [
    set(rows, minimum(i32.sub(depth, k), slice)),
    set(start, i32.add(panels, i32.mul(k, rowBytes))),
    set(corner, i32.add(source.base, i32.mul(source.from, columnStep))),
    set(left, source.count),
    loopWhile(i32.ge(left, width), [
      wholePanel(),
      advance(corner, i32.mul(width, columnStep)),
      advance(start, i32.mul(depth, rowBytes)),
      set(left, i32.sub(left, width)),
    ]),
    when(i32.gt(left, 0), [
      everyRow(zeroWidth(width, to)),
      loopRange(lane, 0, left, 1, [
        everyRow(f32.store(to, f32.load(at))),
        advance(corner, columnStep),
        advance(start, 4),
      ]),
    ]),
  ])
}

/** Fills `rows` rows of the panel at `start` with columns that begin at `corner`, each in one piece: four by four numbers at a time. */
function transpose(f: FunctionBuilder, width: number, corner: Code, columnStep: Local, start: Local, rows: Local): Code {
  const local = (): Local => f.local('i32')
  const [lane, to, last, first] = [local(), local(), local(), local()]
  const others = [local(), local(), local()]
  const vector = f.local('v128')
  const rowBytes = 4 * width
  const copy = (count: number): Code => loopWhile(i32.ne(to, last), [
    Array.from({ length: count }, (_, row) => [
      set(vector, v128.load32Zero(first, 4 * row)),
      others.map((other, i) => set(vector, v128.load32Lane(other, vector, 1 + i, 4 * row))),
      v128.store(to, vector, rowBytes * row),
    ]),
    [first, ...others].map((column) => advance(column, 4 * count)),
    advance(to, rowBytes * count),
  ])
  return loopRange(lane, 0, width, 4, [
    [first, ...others].map((column, i) => set(column, i32.add(corner, i32.mul(i32.add(lane, i), columnStep)))),
    set(to, i32.add(start, i32.shl(lane, 2))),
    set(last, i32.add(to, i32.mul(i32.and(rows, -4), rowBytes))),
    copy(4),
    advance(last, i32.mul(i32.and(rows, 3), rowBytes)),
    copy(1),
  ])
}

/** Copies `count` floats that lie `step` bytes apart, or next to each other if `step` is absent. Destroys `from`. */
export function copyRun(f: FunctionBuilder, to: Local, from: Local, count: Local, step?: Local): Code {
  const local = (): Local => f.local('i32')
  const [i, bytes, last] = [local(), local(), local()]
  const one = (move: Code): Code => loopRange(i, 0, bytes, 4, [f32.store(i32.add(to, i), f32.load(move))])
  const size = set(bytes, i32.shl(count, 2))
  if (step !== undefined) return [size, one([from, advance(from, step)])]
  const vector = (at: Code): Code => v128.store(i32.add(to, at), v128.load(i32.add(from, at)))
  return [
    size,
    when(i32.lt(count, 4),
      one(i32.add(from, i)),
      // The last vector overlaps the one before it instead of reading past the end.
      [set(last, i32.sub(bytes, 16)), loopRange(i, 0, last, 16, vector(i)), vector(last)],
    ),
  ]
}

export function zeroRun(f: FunctionBuilder, to: Local, count: Local): Code {
  const local = (): Local => f.local('i32')
  const [i, last] = [local(), local()]
  return [
    set(last, i32.shl(count, 2)),
    loopRange(i, 0, i32.sub(last, 15), 16, v128.store(i32.add(to, i), v128.splatF32(0))),
    loopRange(i, i, last, 4, f32.store(i32.add(to, i), 0)),
  ]
}

/** Fills the rows that a panel of `rows` rows lacks. */
function zeroMissingRows(f: FunctionBuilder, rows: number, count: Local, depth: Local, panels: Local): Code {
  const local = (): Local => f.local('i32')
  const [row, last, to] = [local(), local(), local()]
  return [
    set(last, i32.mul(i32.divu(i32.add(count, rows - 1), rows), rows)),
    loopRange(row, count, last, 1, [set(to, i32.add(panels, i32.mul(row, rowPitch))), zeroRun(f, to, depth)]),
  ]
}

export interface RowsSource {
  /** Address of the element at row 0, k 0; k is adjacent. */
  readonly base: Local
  readonly from: Local
  readonly count: Local
  readonly first: Local
  readonly depth: Local
  readonly rowStep: Local
}

/** Packs rows `from` … `from + count − 1`, each in one piece. */
export function packRows(f: FunctionBuilder, rows: number, source: RowsSource, panels: Local): Code {
  const local = (): Local => f.local('i32')
  const [row, at, from, to] = [local(), local(), local(), local()]
  return [
    set(at, i32.add(i32.add(source.base, i32.mul(source.from, source.rowStep)), i32.shl(source.first, 2))),
    set(to, panels),
    loopRange(row, 0, source.count, 1, [
      set(from, at),
      when(i32.gt(source.depth, 0), copyRun(f, to, from, source.depth)),
      advance(at, source.rowStep),
      advance(to, rowPitch),
    ]),
    zeroMissingRows(f, rows, source.count, source.depth, panels),
  ]
}

