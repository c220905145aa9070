/**
 * Sums of squares over a list of tensors, for the norm of a gradient. An item is a chunk of at most
 * 8192 elements and writes one partial sum, made from 32 running sums of at most 256 terms each and those
 * of the rest; the caller adds the partials with a reduction.
 */
import { advance, type Code, f32, f32x4, i32, type Local, loopWhile, set, settled, v128 } from '../core/assembler.ts'
import { Arguments } from '../core/arguments.ts'
import { chunkTable, eachChunk, smallSize } from './chunks.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { Lanes, sumLanes } from '../core/lanes.ts'

/** How many partial sums there are. */
export const squaredNormPartials = (sizes: readonly number[]): number => chunkTable(sizes).length / 3

/** Inputs: the tensors, contiguous; output: partial sums [squaredNormPartials(sizes)]. */
export function squaredNormKernel({ sizes }: { readonly sizes: readonly number[] }): WasmKernel {
  const args = new Arguments()
  const list = args.pointers(sizes.map((_, i) => i))
  const partials = args.buffer(sizes.length)
  const room = args.scratch()
  const chunks = chunkTable(sizes)
  const table = args.table()
  const elements = sizes.reduce((a, b) => a + b, 0)
  return {
    key: 'squaredNorm',
    args: args.list,
    items: chunks.length / 3,
    table: chunks,
    scratchBytes: 128,
    flops: 2 * elements,
    bytes: 4 * elements + (4 * chunks.length) / 3,
    small: () => {
      const largest = sizes.indexOf(Math.max(...sizes))
      return { kernel: squaredNormKernel({ sizes: [Math.min(smallSize, sizes[largest] ?? 0)] }), operands: [largest, sizes.length] }
    },
    build() {
      const f = args.open()
      const lanes = new Lanes(f, false)
      const at = f.local('i32')
      const sums = Array.from({ length: 8 }, () => f.local('v128'))
      const [tail, total] = [f.local('v128'), f.local('v128')]
      const add = (into: readonly Local[], load: (offset: number) => Code): Code => {
        const terms = into.map((sum) => ({ sum, value: lanes.temporary() }))
        return [
          terms.map(({ value }, u) => set(value, load(16 * u))),
          terms.map(({ sum, value }) => set(sum, f32x4.add(sum, f32x4.mul(value, value)))),
        ]
      }
      const code = eachChunk(f, table, ({ item, count, locate }) => {
        const run = (elements: number, body: Code): Code => loopWhile(i32.ge(count, elements), [
          body, advance(at, 4 * elements), set(count, i32.sub(count, elements)), lanes.clear,
        ])
        return [
          locate(list, at),
          [...sums, tail].map((sum) => set(sum, 0)),
          run(32, add(sums, (offset) => v128.load(at, offset))),
          run(4, add([tail], () => v128.load(at))),
          run(1, add([tail], () => v128.load32Zero(at))),
          // As neighbours in memory, sums are added up two vectors at a time.
          sums.map((sum, u) => v128.store(room, settled(sum), 16 * u)),
          set(total, sums.reduce<Code>((sum, _, u) => f32x4.add(sum, v128.load(room, 16 * u)), tail)),
          f32.store(i32.add(partials, i32.shl(item, 2)), sumLanes(total)),
        ]
      })
      f.emit(lanes.setup, code)
      return f
    },
  }
}
