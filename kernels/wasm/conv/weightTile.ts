/** Spreading a finished tile over the weights, whose strides know nothing of tiles. */
import { type Code, f32, type FunctionBuilder, get, i32, type Local, loopRange, set, v128, when } from '../core/assembler.ts'

export interface SpreadTile {
  readonly tile: Local
  /** Address of the element in column 0, but for the row's offset. */
  readonly out: Local
  /** How many there are, and where the list of their offsets in bytes begins. */
  readonly rows: Local
  readonly offsets: Local
  readonly columns: Local
  readonly columnStep: Local
}

export function spreadTile(f: FunctionBuilder, vectors: number, { tile, out, rows, offsets, columns, columnStep }: SpreadTile): Code {
  const local = (): Local => f.local('i32')
  const [row, column, from, to, vector] = [local(), local(), local(), local(), f.local('v128')]
  const next = set(to, i32.add(get(to), get(columnStep)))
  const wholeRow = Array.from({ length: vectors }, (_, v) => [
    set(vector, v128.load(get(from), 16 * v)),
    [0, 1, 2, 3].map((lane) => [v128.store32Lane(get(to), get(vector), lane), next]),
  ])
  const partOfRow = loopRange(column, i32.const(0), get(columns), 1, [
    f32.store(get(to), f32.load(i32.add(get(from), i32.shl(get(column), i32.const(2))))),
    next,
  ])
  return [
    set(from, get(tile)),
    loopRange(row, i32.const(0), get(rows), 1, [
      set(to, i32.add(get(out), i32.load(i32.add(get(offsets), i32.shl(get(row), i32.const(2)))))),
      when(i32.eq(get(columns), i32.const(4 * vectors)), wholeRow, partOfRow),
      set(from, i32.add(get(from), i32.const(16 * vectors))),
    ]),
  ]
}
