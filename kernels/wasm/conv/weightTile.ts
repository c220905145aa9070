/** Spreading a finished tile over the weights, whose strides know nothing of tiles. */
import { advance, type Code, f32, type FunctionBuilder, i32, type Local, loopRange, set, v128, when } from '../core/assembler.ts'

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
  const next = advance(to, columnStep)
  const wholeRow = Array.from({ length: vectors }, (_, v) => [
    set(vector, v128.load(from, 16 * v)),
    [0, 1, 2, 3].map((lane) => [v128.store32Lane(to, vector, lane), next]),
  ])
  const partOfRow = loopRange(column, 0, columns, 1, [
    f32.store(to, f32.load(i32.add(from, i32.shl(column, 2)))),
    next,
  ])
  return [
    set(from, tile),
    loopRange(row, 0, rows, 1, [
      set(to, i32.add(out, i32.load(i32.add(offsets, i32.shl(row, 2))))),
      when(i32.eq(columns, 4 * vectors), wholeRow, partOfRow),
      advance(from, 16 * vectors),
    ]),
  ]
}
