/**
 * Softmax of rows, y = exp(x − max) / Σ exp(x − max), and its gradient dx = y·(dy − Σ dy·y).
 * An item is one row. NaN makes its whole row NaN, as does an infinity.
 */
import { f32, f32x4, type Local, loopRange, set } from '../core/assembler.ts'
import type { SoftmaxGradDescriptor, SoftmaxDescriptor } from '../../ir/descriptor.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes, Uniform } from '../core/lanes.ts'
import { RowFold, Rows, walkRow } from './rows.ts'
import { ScratchAreas } from '../core/scratch.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Input x; output y. */
export function softmaxKernel({ rows, length, x, y }: SoftmaxDescriptor, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const areas = new ScratchAreas(args)
  const [input, output] = [new Rows(args, areas, 0, x, length), new Rows(args, areas, 1, y, length)]
  const [largestSpill, sumSpill] = [areas.area(RowFold.spillBytes), areas.area(RowFold.spillBytes)]
  const count = args.number(length)
  return {
    key: `softmax ${input.contiguous}${output.contiguous}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: 25 * rows * length,
    bytes: 8 * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const [item, from, to] = [f.local('i32'), f.local('i32'), f.local('i32')]
      const [top, inverse] = [new Uniform(f), new Uniform(f)]
      const [largest, sum] = [new RowFold(f, largestSpill, 'max'), new RowFold(f, sumSpill, 'sum')]
      const code = [
        areas.prologue(),
        loopRange(item, begin, end, 1, [
          input.room(item, from), output.room(item, to), input.read(f, item, count),
          // The maximum passes NaN over; it shows in the sum.
          walkRow(f, lanes, [from], count, [largest], (step) => range(step.vectors).map((u) => largest.add(step, u, step.load(0, u)))),
          top.set(largest.total),
          walkRow(f, lanes, [from, to], count, [sum], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [
              values.map((value, u) => set(value, f32x4.sub(step.load(0, u), top.of(step.vectors)))),
              values.map((value) => set(value, lanes.exp(value))),
              values.map((value, u) => sum.add(step, u, value)),
              values.map((value, u) => step.store(1, u, value)),
            ]
          }),
          inverse.set(f32.div(1, sum.total)),
          walkRow(f, lanes, [to], count, [], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [values.map((value, u) => set(value, f32x4.mul(step.load(0, u), inverse.of(step.vectors)))), values.map((value, u) => step.store(0, u, value))]
          }),
          output.write(f, item, count),
        ]),
      ]
      f.emit(lanes.setup, code)
      return f
    },
  }
}

/** Inputs y, dy; output dx. */
export function softmaxGradKernel({ rows, length, y, dy, dx }: SoftmaxGradDescriptor, target: WasmTarget): WasmKernel {
  const args = new Arguments()
  const areas = new ScratchAreas(args)
  const operands = [y, dy, dx].map((strided, buffer) => new Rows(args, areas, buffer, strided, length))
  const spill = areas.area(RowFold.spillBytes)
  const count = args.number(length)
  return {
    key: `softmaxGrad ${operands.map((o) => o.contiguous).join('')}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: 4 * rows * length,
    bytes: 12 * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const item = f.local('i32')
      const bases = operands.map((operand) => ({ operand, base: f.local('i32') }))
      const dot = new Uniform(f)
      const sum = new RowFold(f, spill, 'sum')
      const addresses: readonly Local[] = bases.map(({ base }) => base)
      const code = [
        areas.prologue(),
        loopRange(item, begin, end, 1, [
          bases.map(({ operand, base }, k) => [operand.room(item, base), k < 2 ? operand.read(f, item, count) : []]),
          walkRow(f, lanes, addresses.slice(0, 2), count, [sum], (step) => range(step.vectors).map((u) => {
            const local = sum.accumulator(step, u)
            return set(local, lanes.madd(step.load(0, u), step.load(1, u), local))
          })),
          dot.set(sum.total),
          walkRow(f, lanes, addresses, count, [], (step) => {
            const values = lanes.temporaryList(step.vectors)
            return [
              values.map((value, u) => set(value, f32x4.mul(step.load(0, u), f32x4.sub(step.load(1, u), dot.of(step.vectors))))),
              values.map((value, u) => step.store(2, u, value)),
            ]
          }),
          operands.slice(2).map((o) => o.write(f, item, count)),
        ]),
      ]
      f.emit(lanes.setup, code)
      return f
    },
  }
}
