/**
 * Stable argsort of rows: the indices that would sort each row, equal elements in their order. NaN is
 * greater than everything, −0 equals 0, as PyTorch has it.
 *
 * An item is one row. An element becomes one 64-bit integer in scratch, its order in the high word
 * (complemented if descending) and its index in the low one, so that a plain comparison is the
 * stable order; a bottom-up merge sort then goes back and forth between two halves of the scratch.
 */
import { type Code, f32, get, i32, i64, type Local, loopRange, loopWhile, minimum, select, set } from '../core/assembler.ts'
import type { ArgsortDescriptor } from '../../ir/descriptor.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** Input x; output y, i32 indices. */
export function argsortKernel({ rows, length, dtype, descending, x, y }: ArgsortDescriptor): WasmKernel {
  const args = new Arguments()
  const [input, output] = [args.buffer(0, 4 * x.offset), args.buffer(1, 4 * y.offset)]
  const [xRow, xElement, yRow, yElement] = [x.strides[0], x.strides[1], y.strides[0], y.strides[1]].map((s = 0) => args.number(4 * s))
  const count = args.number(length)
  const areas = new ScratchAreas(args)
  const halves = [areas.area(8 * length), areas.area(8 * length)]
  const passes = Math.ceil(Math.log2(Math.max(1, length)))
  return {
    key: `argsort ${dtype}${descending ? ' descending' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: rows * length * (passes + 1),
    bytes: 8 * rows * length,
    build() {
      const f = args.open()
      const i = (): Local => f.local('i32')
      const [item, at, to, n, bits, width, source, target, swap, left, right, leftEnd, rightEnd, low, takeLeft, value] = [i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), i(), f.local('f32')]
      const [a, b] = [f.local('i64'), f.local('i64')]
      const [first, second] = halves
      if (first === undefined || second === undefined || xRow === undefined || xElement === undefined || yRow === undefined || yElement === undefined) throw new Error('argsort: arguments')
      const bytes = (elements: Code): Code => i32.shl(elements, i32.const(3))
      const step = (local: Local, by: Code): Code => set(local, i32.add(get(local), by))

      // Signed integers in the order of the elements.
      const ordered: Code = dtype === 'i32' ? [] : dtype === 'u32' ? set(bits, i32.xor(get(bits), i32.const(-0x80000000))) : [
        set(value, f32.add(f32.reinterpretI32(get(bits)), f32.const(0))), // −0 becomes 0
        set(bits, i32.reinterpretF32(get(value))),
        set(bits, select(i32.const(0x7fffffff), i32.xor(get(bits), i32.and(i32.shr(get(bits), i32.const(31)), i32.const(0x7fffffff))), f32.ne(get(value), get(value)))),
      ]
      const load = [
        set(at, i32.add(get(input), i32.mul(get(item), get(xRow)))),
        set(to, get(first)),
        loopRange(n, i32.const(0), get(count), 1, [
          set(bits, i32.load(get(at))), ordered,
          i32.store(get(to), get(n)),
          i32.store(get(to), descending ? i32.xor(get(bits), i32.const(-1)) : get(bits), 4),
          step(at, get(xElement)), step(to, i32.const(8)),
        ]),
      ]
      const drain = (from: Local, until: Local): Code => loopWhile(i32.ltu(get(from), get(until)), [
        i64.store(get(to), i64.load(get(from))), step(from, i32.const(8)), step(to, i32.const(8)),
      ])
      const mergeRun = [
        set(left, i32.add(get(source), bytes(get(low)))),
        set(right, i32.add(get(source), bytes(minimum(i32.add(get(low), get(width)), get(count))))),
        set(leftEnd, get(right)),
        set(rightEnd, i32.add(get(source), bytes(minimum(i32.add(get(low), i32.shl(get(width), i32.const(1))), get(count))))),
        set(to, i32.add(get(target), bytes(get(low)))),
        loopWhile(i32.and(i32.ltu(get(left), get(leftEnd)), i32.ltu(get(right), get(rightEnd))), [
          set(a, i64.load(get(left))), set(b, i64.load(get(right))),
          set(takeLeft, i64.lt(get(a), get(b))),
          i64.store(get(to), select(get(a), get(b), get(takeLeft))),
          step(left, bytes(get(takeLeft))),
          step(right, bytes(i32.xor(get(takeLeft), i32.const(1)))),
          step(to, i32.const(8)),
        ]),
        drain(left, leftEnd), drain(right, rightEnd),
      ]
      f.emit(
        areas.prologue(),
        loopRange(item, get(begin), get(end), 1, [
          load,
          set(source, get(first)), set(target, get(second)),
          set(width, i32.const(1)),
          loopWhile(i32.lt(get(width), get(count)), [
            set(low, i32.const(0)),
            loopWhile(i32.lt(get(low), get(count)), [mergeRun, step(low, i32.shl(get(width), i32.const(1)))]),
            set(swap, get(source)), set(source, get(target)), set(target, get(swap)),
            set(width, i32.shl(get(width), i32.const(1))),
          ]),
          set(at, i32.add(get(output), i32.mul(get(item), get(yRow)))),
          loopRange(n, i32.const(0), get(count), 1, [i32.store(get(at), i32.load(get(source))), step(source, i32.const(8)), step(at, get(yElement))]),
        ]),
      )
      return f
    },
  }
}
