/**
 * Sums of squares over a list of tensors, for the norm of a gradient. An item is a chunk of at most
 * 8192 elements and writes one partial sum, made from 32 running sums of at most 256 terms each and those
 * of the rest; the caller adds the partials with a reduction.
 */
import { type Code, f32, f32x4, i32, type Local, set, settled, v128 } from '../core/assembler.ts'
import { Arguments } from '../core/arguments.ts'
import { chunkTable, eachChunk, smallSize } from './chunks.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { Lanes, sumLanes } from '../core/lanes.ts'
import { rounds, type Step } from '../core/rounds.ts'

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
      const add = (into: readonly Local[]) => (step: Step): Code => {
        const terms = into.map((sum) => ({ sum, value: lanes.temporary() }))
        return [
          terms.map(({ value }, u) => set(value, step.load(0, u))),
          terms.map(({ sum, value }) => set(sum, f32x4.add(sum, f32x4.mul(value, value)))),
        ]
      }
      const code = eachChunk(f, table, ({ item, count, locate }) => [
        locate(list, at),
        [...sums, tail].map((sum) => set(sum, 0)),
        rounds(lanes, [at], count, sums.length, false, add(sums)),
        rounds(lanes, [at], count, 1, false, add([tail])),
        rounds(lanes, [at], count, 1, true, add([tail])),
        // As neighbours in memory, sums are added up two vectors at a time.
        sums.map((sum, u) => v128.store(room, settled(sum), 16 * u)),
        set(total, sums.reduce<Code>((sum, _, u) => f32x4.add(sum, v128.load(room, 16 * u)), tail)),
        f32.store(i32.add(partials, i32.shl(item, 2)), sumLanes(total)),
      ])
      f.emit(lanes.setup, code)
      return f
    },
  }
}
