/**
 * Stable argsort of rows: the indices that would sort each row, equal elements in their order. NaN is
 * greater than everything, −0 equals 0, as PyTorch has it.
 *
 * An item is one row. An element becomes one 64-bit integer in scratch, its order in the high word
 * (complemented if descending) and its index in the low one, so that a plain comparison is the
 * stable order; a bottom-up merge sort then goes back and forth between two halves of the scratch.
 */
import { advance, type Code, f32, i32, i64, type Local, loopRange, loopWhile, minimum, select, set } from '../core/assembler.ts'
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
      const bytes = (elements: Code): Code => i32.shl(elements, 3)

      // Signed integers in the order of the elements.
      const ordered: Code = dtype === 'i32' ? [] : dtype === 'u32' ? set(bits, i32.xor(bits, -0x80000000)) : [
        set(value, f32.add(f32.reinterpretI32(bits), 0)), // −0 becomes 0
        set(bits, i32.reinterpretF32(value)),
        set(bits, select(i32.const(0x7fffffff), i32.xor(bits, i32.and(i32.shr(bits, 31), 0x7fffffff)), f32.ne(value, value))),
      ]
      const load = [
        set(at, i32.add(input, i32.mul(item, xRow))),
        set(to, first),
        loopRange(n, 0, count, 1, [
          set(bits, i32.load(at)), ordered,
          i32.store(to, n),
          i32.store(to, descending ? i32.xor(bits, -1) : bits, 4),
          advance(at, xElement), advance(to, 8),
        ]),
      ]
      const drain = (from: Local, until: Local): Code => loopWhile(i32.ltu(from, until), [
        i64.store(to, i64.load(from)), advance(from, 8), advance(to, 8),
      ])
      const mergeRun = [
        set(left, i32.add(source, bytes(low))),
        set(right, i32.add(source, bytes(minimum(i32.add(low, width), count)))),
        set(leftEnd, right),
        set(rightEnd, i32.add(source, bytes(minimum(i32.add(low, i32.shl(width, 1)), count)))),
        set(to, i32.add(target, bytes(low))),
        loopWhile(i32.and(i32.ltu(left, leftEnd), i32.ltu(right, rightEnd)), [
          set(a, i64.load(left)), set(b, i64.load(right)),
          set(takeLeft, i64.lt(a, b)),
          i64.store(to, select(a, b, takeLeft)),
          advance(left, bytes(takeLeft)),
          advance(right, bytes(i32.xor(takeLeft, 1))),
          advance(to, 8),
        ]),
        drain(left, leftEnd), drain(right, rightEnd),
      ]
      f.emit(
        areas.prologue(),
        loopRange(item, begin, end, 1, [
          load,
          set(source, first), set(target, second),
          set(width, 1),
          loopWhile(i32.lt(width, count), [
            set(low, 0),
            loopWhile(i32.lt(low, count), [mergeRun, advance(low, i32.shl(width, 1))]),
            set(swap, source), set(source, target), set(target, swap),
            set(width, i32.shl(width, 1)),
          ]),
          set(at, i32.add(output, i32.mul(item, yRow))),
          loopRange(n, 0, count, 1, [i32.store(at, i32.load(source)), advance(source, 8), advance(at, yElement)]),
        ]),
      )
      return f
    },
  }
}
