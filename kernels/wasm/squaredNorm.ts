/**
 * Sums of squares over a list of tensors, for the norm of a gradient. An item is a chunk of at most
 * 8192 elements and writes one partial sum, made from 32 running sums of at most 256 terms each; the
 * caller adds the partials with a reduction.
 */
import { type Code, f32, f32x4, get, i32, loopWhile, set, v128 } from './assembler.ts'
import { Arguments } from './arguments.ts'
import { chunkTable, eachChunk } from './chunks.ts'
import type { WasmKernel } from './kernel.ts'
import { sumLanes } from './lanes.ts'

/** How many partial sums there are. */
export const squaredNormPartials = (sizes: readonly number[]): number => chunkTable(sizes).length / 3

/** Inputs: the tensors, contiguous; output: partial sums [squaredNormPartials(sizes)]. */
export function squaredNormKernel({ sizes }: { readonly sizes: readonly number[] }): WasmKernel {
  const args = new Arguments()
  const list = args.pointers(sizes.map((_, i) => i))
  const partials = args.buffer(sizes.length)
  const chunks = chunkTable(sizes)
  const table = args.table()
  const elements = sizes.reduce((a, b) => a + b, 0)
  return {
    key: 'squaredNorm',
    args: args.list,
    items: chunks.length / 3,
    table: chunks,
    flops: 2 * elements,
    bytes: 4 * elements + (4 * chunks.length) / 3,
    build() {
      const f = args.open()
      const at = f.local('i32')
      const sums = Array.from({ length: 8 }, () => f.local('v128'))
      const values = sums.map(() => f.local('v128'))
      const total = f.local('v128')
      const terms = (n: number, scalar: boolean): Code => values.slice(0, n).map((value, u) => {
        const sum = sums[u]
        return sum === undefined ? [] : [
          set(value, scalar ? v128.load32Zero(get(at)) : v128.load(get(at), 16 * u)),
          set(sum, f32x4.add(get(sum), f32x4.mul(get(value), get(value)))),
        ]
      })
      f.emit(eachChunk(f, table, ({ item, count, locate }) => {
        const run = (elementsAtOnce: number): Code => loopWhile(i32.ge(get(count), i32.const(elementsAtOnce)), [
          terms(Math.max(1, elementsAtOnce / 4), elementsAtOnce === 1),
          set(at, i32.add(get(at), i32.const(4 * elementsAtOnce))), set(count, i32.sub(get(count), i32.const(elementsAtOnce))),
        ])
        return [
          locate(list, at),
          sums.map((sum) => set(sum, v128.splatF32(0))),
          run(32), run(4), run(1),
          set(total, sums.slice(1).reduce((sum, next) => f32x4.add(sum, get(next)), sums[0] === undefined ? [] : get(sums[0]))),
          f32.store(i32.add(get(partials), i32.shl(get(item), i32.const(2))), sumLanes(total)),
        ]
      }))
      return f
    },
  }
}
