/**
 * Gather along an axis: out[…, i, …] = x[…, index[…, i, …], …], for elements of 1, 2 or 4 bytes.
 *
 * Where the innermost axes are contiguous in x and out and share an index (rows of an embedding), an
 * item is one such row, copied in vectors; otherwise it is 256 neighbouring elements of the innermost
 * axis. An index outside the axis reads nothing: its elements become NaN, or 0 in integer types.
 */
import { mergeStrides } from '../../ir/axes.ts'
import { memoryType } from '../core/access.ts'
import { advance, type Code, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import type { GatherDescriptor } from '../../ir/descriptor.ts'
import { Arguments, begin, end, Nest } from '../core/arguments.ts'
import type { WasmKernel } from '../core/kernel.ts'

const widths = { f32: 4, i32: 4, u32: 4, bf16: 2, u8: 1, bool: 1 } as const
const invalid = { f32: 0x7fc00000, bf16: 0x7fc0, i32: 0, u32: 0, u8: 0, bool: 0 } as const
const loads = { 4: i32.load, 2: i32.load16u, 1: i32.load8u } as const
const stores = { 4: i32.store, 2: i32.store16, 1: i32.store8 } as const
const blockElements = 256

/** Inputs x, index (i32); output out. */
export function gatherKernel({ shape, axis, extent, x, index, out, ...d }: GatherDescriptor): WasmKernel {
  const dtype = memoryType(d.dtype)
  const width = widths[dtype]
  const args = new Arguments()
  const [xAddress, indexAddress, outAddress] = [args.buffer(0, width * x.offset), args.buffer(1, 4 * index.offset), args.buffer(2, width * out.offset)]
  const bytes = (strides: readonly number[], by: number): number[] => shape.map((_, k) => by * (strides[k] ?? 0))
  // Along the axis x moves by the index, not by the position.
  const merged = mergeStrides(shape, [bytes(x.strides, width).map((s, k) => (k === axis ? 0 : s)), bytes(index.strides, 4), bytes(out.strides, width)])
  const inner = merged.sizes.at(-1) ?? 1
  const [xStep = 0, indexStep = 0, outStep = 0] = merged.strides.map((s) => s.at(-1))
  const rows = indexStep === 0 && xStep === width && outStep === width
  const nest = new Nest(args, merged.sizes.slice(0, -1), merged.strides.map((s) => s.slice(0, -1)))
  const blocks = rows ? 1 : Math.ceil(inner / blockElements)
  const n = { axisStep: args.number(width * (x.strides[axis] ?? 0)), extent: args.number(extent), inner: args.number(rows ? inner * width : inner), blocks: args.number(blocks) }
  const steps = [args.number(xStep), args.number(indexStep), args.number(outStep)]
  const elements = shape.reduce((a, b) => a * b, 1)
  const operands = [xAddress, indexAddress, outAddress]

  /** One row of `inner` bytes. */
  const rowBody = (f: FunctionBuilder, [from, indexAt, to]: readonly Local[]): Code => {
    const [chosen, left] = [f.local('i32'), f.local('i32')]
    if (from === undefined || indexAt === undefined || to === undefined) return []
    const move = (count: number, copy: Code, also: Code = []): Code => loopWhile(i32.geu(left, count), [
      copy, also, advance(to, count), set(left, i32.sub(left, count)),
    ])
    const copied = (count: number, copy: Code): Code => move(count, copy, advance(from, count))
    return [
      set(chosen, i32.load(indexAt)), set(left, n.inner),
      when(i32.ltu(chosen, n.extent), [
        advance(from, i32.mul(chosen, n.axisStep)),
        copied(16, v128.store(to, v128.load(from))),
        copied(width, stores[width](to, loads[width](from))),
      ], move(width, stores[width](to, i32.const(invalid[dtype])))),
    ]
  }
  /** Up to `blockElements` elements. */
  const elementBody = (f: FunctionBuilder, at: readonly Local[], block: Local): Code => {
    const [chosen, left] = [f.local('i32'), f.local('i32')]
    const [from, indexAt, to] = at
    if (from === undefined || indexAt === undefined || to === undefined) return []
    return [
      set(block, i32.mul(block, blockElements)),
      at.map((a, k) => { const step = steps[k]; return step === undefined ? [] : advance(a, i32.mul(block, step)) }),
      set(left, minimum(i32.sub(n.inner, block), blockElements)),
      loopWhile(left, [
        set(chosen, i32.load(indexAt)),
        when(
          i32.ltu(chosen, n.extent),
          stores[width](to, loads[width](i32.add(from, i32.mul(chosen, n.axisStep)))),
          stores[width](to, i32.const(invalid[dtype])),
        ),
        at.map((a, k) => { const step = steps[k]; return step === undefined ? [] : advance(a, step) }),
        set(left, i32.sub(left, 1)),
      ]),
    ]
  }
  return {
    key: `gather ${dtype} ${rows ? 'rows' : 'elements'} ${nest.key}`,
    args: args.list,
    items: elements === 0 ? 0 : nest.size * blocks,
    flops: 0,
    bytes: elements * (2 * width) + 4 * (rows ? elements / inner : elements),
    build() {
      const f = args.open()
      const [item, position, block] = [f.local('i32'), f.local('i32'), f.local('i32')]
      const at = operands.map(() => f.local('i32'))
      f.emit(loopRange(item, begin, end, 1, [
        set(position, rows ? item : i32.divu(item, n.blocks)),
        rows ? [] : set(block, i32.remu(item, n.blocks)),
        nest.place(f, position, at, operands),
        rows ? rowBody(f, at) : elementBody(f, at, block),
      ]))
      return f
    },
  }
}
