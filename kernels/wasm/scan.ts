/**
 * Cumulative sum along an axis, from its start or, reversed, from its end: yᵢ = Σ_{j ≤ i} xⱼ or
 * Σ_{j ≥ i} xⱼ, added in that order. Lines along the axis are independent; 16 neighbouring ones are
 * an item, in vector lanes, where the layout allows, and one line is an item elsewhere.
 */
import { type Code, f32x4, get, i32, i32x4, type Local, loopRange, set, v128 } from './assembler.ts'
import type { ScanDescriptor } from '../descriptor.ts'
import { Arguments } from './arguments.ts'
import { Columns } from './columns.ts'
import type { WasmKernel } from './kernel.ts'

/** Input x; output y. */
export function scanKernel({ shape, x, y, reverse, dtype }: ScanDescriptor): WasmKernel {
  const outer = shape.slice(0, -1)
  const length = shape.at(-1) ?? 1
  const args = new Arguments()
  const operands = [x, y].map(({ strides, offset }, buffer) => {
    const along = strides.at(-1) ?? 0
    return { address: args.buffer(buffer, 4 * (offset + (reverse ? (length - 1) * along : 0))), strides: strides.slice(0, -1), step: args.number(reverse ? -4 * along : 4 * along) }
  })
  const count = args.number(length)
  const columns = new Columns(args, outer, operands)
  const elements = shape.reduce((a, b) => a * b, 1)
  const integer = dtype !== 'f32'
  return {
    key: `scan ${integer ? 'int' : 'f32'} ${columns.key}`,
    args: args.list,
    items: elements === 0 ? 0 : columns.items,
    flops: elements,
    bytes: 8 * elements,
    build() {
      const f = args.open()
      const i = f.local('i32')
      const pointers = operands.map(() => f.local('i32'))
      const [from, to] = pointers
      const sums = [0, 1, 2, 3].map(() => f.local('v128'))
      f.emit(columns.each(f, (at, vectors, scalar) => {
        const used = sums.slice(0, vectors)
        const read = (u: number): Code => (from === undefined ? [] : scalar ? v128.load32Zero(get(from)) : v128.load(get(from), 16 * u))
        const write = (sum: Local, u: number): Code => (to === undefined ? [] : scalar ? v128.store32Lane(get(to), get(sum), 0) : v128.store(get(to), get(sum), 16 * u))
        const line = [
          used.map((sum, u) => set(sum, integer ? i32x4.add(get(sum), read(u)) : f32x4.add(get(sum), read(u)))),
          used.map(write),
          pointers.map((p, k) => { const operand = operands[k]; return operand === undefined ? [] : set(p, i32.add(get(p), get(operand.step))) }),
        ]
        return [
          used.map((sum) => set(sum, v128.splatF32(0))),
          pointers.map((p, k) => { const a = at[k]; return a === undefined ? [] : set(p, get(a)) }),
          loopRange(i, i32.const(0), get(count), 1, line),
        ]
      }))
      return f
    },
  }
}
