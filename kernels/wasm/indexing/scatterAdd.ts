/**
 * Scatter by addition: y = x, then y[…, index[…, i, …], …] += src[…, i, …] along an axis, in the order
 * of i: the gradient of gather.
 *
 * Lines along the axis are independent, so that sums have one order whatever the threads. Where
 * neighbouring lines share their indices (the gradient of an embedding), 16 of them fill vector lanes
 * and are an item; otherwise one line is. A source whose index lies outside the axis is dropped, and
 * marks its line: element 0 becomes NaN (floats only).
 */
import { advance, type Code, f32x4, i32, i32x4, loopRange, set, type Value, when } from '../core/assembler.ts'
import type { ScatterAddDescriptor } from '../../ir/descriptor.ts'
import { Arguments } from '../core/arguments.ts'
import { Columns } from '../core/columns.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { stepAt } from '../core/rounds.ts'

/** Inputs x, index (i32), src; output y, which may be x. */
export function scatterAddKernel(options: ScatterAddDescriptor): WasmKernel {
  const { shape, axis, extent, dtype } = options
  const without = <T>(values: readonly T[]): T[] => values.filter((_, k) => k !== axis)
  const args = new Arguments()
  const operands = [options.x, options.index, options.src, options.y].map(({ strides, offset }, buffer) => ({
    address: args.buffer(buffer, 4 * offset), strides: without(strides), step: args.number(4 * (strides[axis] ?? 0)), shared: buffer === 1,
  }))
  // Only lines that share their indices may share a vector.
  const columns = new Columns(args, without(shape), operands)
  const [extentArg, count] = [args.number(extent), args.number(shape[axis] ?? 1)]
  const lines = without(shape).reduce((a, b) => a * b, 1)
  const sources = lines * (shape[axis] ?? 1)
  const integer = dtype !== 'f32'
  return {
    key: `scatterAdd ${integer ? 'int' : 'f32'} ${columns.key}`,
    args: args.list,
    items: lines * extent === 0 ? 0 : columns.items,
    flops: sources,
    bytes: 8 * lines * extent + 16 * sources,
    build() {
      const f = args.open()
      const [i, chosen] = [f.local('i32'), f.local('i32')]
      const at = operands.map(() => f.local('i32'))
      const [, index, , y] = at
      const values = [0, 1, 2, 3].map(() => f.local('v128'))
      if (index === undefined || y === undefined) throw new Error('scatterAdd: operands')
      const move = (k: number): Code => {
        const [address, operand] = [at[k], operands[k]]
        return address === undefined || operand === undefined ? [] : advance(address, operand.step)
      }
      const add = integer ? i32x4.add : f32x4.add
      f.emit(columns.each(f, (first, vectors, scalar) => {
        const used = values.slice(0, vectors)
        const { load, store } = stepAt(at, vectors, scalar)
        const [base, yStep] = [first[3], operands[3]?.step]
        if (base === undefined || yStep === undefined) return []
        const target = (offset: Value): Code => set(y, i32.add(base, offset))
        return [
          at.map((a, k) => set(a, first[k] ?? a)),
          loopRange(i, 0, extentArg, 1, [used.map((v, u) => set(v, load(0, u))), used.map((v, u) => store(3, u, v)), move(0), move(3)]),
          loopRange(i, 0, count, 1, [
            set(chosen, i32.load(index)),
            when(
              i32.ltu(chosen, extentArg),
              [target(i32.mul(chosen, yStep)), used.map((v, u) => set(v, add(load(3, u), load(2, u)))), used.map((v, u) => store(3, u, v))],
              integer ? [] : [target(0), used.map((v) => set(v, Number.NaN)), used.map((v, u) => store(3, u, v))],
            ),
            move(1), move(2),
          ]),
        ]
      }))
      return f
    },
  }
}
