/**
 * A list of tensors cut into chunks of at most 8192 elements: the items of the kernels that work on
 * whole lists in one launch. The table has three i32 per chunk: tensor, first element, elements.
 */
import { type Code, type FunctionBuilder, i32, type Local, loopRange, set } from '../core/assembler.ts'
import { begin, end } from '../core/arguments.ts'

const chunkElements = 8192
/** Elements of a tensor that takes every path of such a kernel. */
export const smallSize = 1003

export function chunkTable(sizes: readonly number[]): Int32Array<ArrayBuffer> {
  const rows: number[] = []
  sizes.forEach((size, tensor) => {
    for (let first = 0; first < size; first += chunkElements) rows.push(tensor, first, Math.min(chunkElements, size - first))
  })
  return Int32Array.from(rows)
}

/** Runs `body` for each chunk of the launch; `locate(list, to)` sets `to` to the address of the chunk in the tensor of a list of pointers. */
export function eachChunk(f: FunctionBuilder, table: Local, body: (chunk: { item: Local; count: Local; locate: (list: Local, to: Local) => Code }) => Code): Code {
  const [item, row, tensor, first, count] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  const locate = (list: Local, to: Local): Code => set(to, i32.add(i32.load(i32.add(list, tensor)), first))
  return loopRange(item, begin, end, 1, [
    set(row, i32.add(table, i32.mul(item, 12))),
    set(tensor, i32.shl(i32.load(row), 2)),
    set(first, i32.shl(i32.load(row, 4), 2)),
    set(count, i32.load(row, 8)),
    body({ item, count, locate }),
  ])
}
