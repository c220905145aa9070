/**
 * Cumulative sum along an axis, from its start or, reversed, from its end: yᵢ = Σ_{j ≤ i} xⱼ or
 * Σ_{j ≥ i} xⱼ, added in that order, floats in f64, so that errors do not grow with the length. Lines along the axis
 * are independent; 16 neighbouring ones are an item, in vector lanes, where the layout allows, and one line is an item elsewhere.
 */
import { advance, type Code, f64x2, i32, i32x4, loopWhile, set, v128 } from '../core/assembler.ts'
import type { ScanDescriptor } from '../../ir/descriptor.ts'
import { Arguments } from '../core/arguments.ts'
import { Columns } from '../core/columns.ts'
import type { WasmKernel } from '../core/kernel.ts'

/** Elements of a line by itself that are read at once. */
const atOnce = 4

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
      const [sums, added] = [8, atOnce].map((n) => Array.from({ length: n }, () => f.local('v128')))
      if (from === undefined || to === undefined || sums === undefined || added === undefined) throw new RangeError('a scan has two operands')
      const add = integer ? i32x4.add : f64x2.add
      // A vector of integers, two floats as doubles, or lane 0 of either.
      const read = (u: number, scalar: boolean): Code => {
        if (integer) return scalar ? v128.load32Zero(from) : v128.load(from, 16 * u)
        return f64x2.promoteLow(scalar ? v128.load32Zero(from) : v128.load64Zero(from, 8 * u))
      }
      const write = (sum: Code, u: number, scalar: boolean): Code => {
        const value = integer ? sum : f64x2.demote(sum)
        if (scalar) return v128.store32Lane(to, value, 0)
        return integer ? v128.store(to, value, 16 * u) : v128.store64Lane(to, value, 0, 8 * u)
      }
      const next = pointers.map((p, k) => advance(p, operands[k]?.step ?? p))
      f.emit(columns.each(f, (at, vectors, scalar) => {
        const used = sums.slice(0, integer || scalar ? vectors : 2 * vectors)
        const line = [used.map((sum, u) => set(sum, add(sum, read(u, scalar)))), used.map((sum, u) => write(sum, u, scalar)), next]
        // One line waits for its sum only once for some elements, which are added up among themselves before.
        const [sum] = used
        const several = sum === undefined ? [] : [
          added.map((x, k) => [set(x, read(0, true)), next.slice(0, 1), k % 2 === 0 ? [] : set(x, add(x, added[k - 1] ?? x))]),
          added.map((x, k) => (k % 4 < 2 ? [] : set(x, add(x, added[k - 1 - (k % 2)] ?? x)))),
          added.map((x) => [write(add(sum, x), 0, true), next.slice(1)]),
          set(sum, add(sum, added.at(-1) ?? sum)),
        ]
        return [
          used.map((one) => set(one, 0)),
          pointers.map((p, k) => { const a = at[k]; return a === undefined ? [] : set(p, a) }),
          set(i, count),
          scalar ? loopWhile(i32.ge(i, atOnce), [several, set(i, i32.sub(i, atOnce))]) : [],
          loopWhile(i32.gt(i, 0), [line, set(i, i32.sub(i, 1))]),
        ]
      }))
      return f
    },
  }
}
