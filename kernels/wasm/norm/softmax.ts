/**
 * Softmax of rows, y = exp(x − max) / Σ exp(x − max), and its gradient dx = y·(dy − Σ dy·y).
 * An item is one row. NaN makes its whole row NaN, as does an infinity.
 */
import { f32, f32x4, set } from '../core/assembler.ts'
import type { SoftmaxGradDescriptor, SoftmaxDescriptor } from '../../ir/descriptor.ts'
import { Arguments } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Uniform } from '../core/lanes.ts'
import { rowKernel } from './rows.ts'

/** Input x; output y. */
export function softmaxKernel({ rows, length, x, y }: SoftmaxDescriptor, target: WasmTarget): WasmKernel {
  return rowKernel(new Arguments(), { name: 'softmax', rows, length, operands: [[0, x], [1, y]], flops: 25 }, target, ({ f, lanes, fold, walk }) => {
    const [top, inverse] = [new Uniform(f), new Uniform(f)]
    const [largest, sum] = [fold('max'), fold('sum')]
    return [
      // The maximum passes NaN over; it shows in the sum.
      walk([0], [largest], (step) => step.values.map((_, u) => largest.add(step, u, step.load(0, u)))),
      top.set(largest.total),
      walk([0, 1], [sum], (step) => [
        step.values.map((value, u) => set(value, f32x4.sub(step.load(0, u), top.of(step.vectors)))),
        step.values.map((value) => set(value, lanes.exp(value))),
        step.values.map((value, u) => sum.add(step, u, value)),
        step.values.map((value, u) => step.store(1, u, value)),
      ]),
      inverse.set(f32.div(1, sum.total)),
      walk([1], [], (step) => [
        step.values.map((value, u) => set(value, f32x4.mul(step.load(0, u), inverse.of(step.vectors)))),
        step.values.map((value, u) => step.store(0, u, value)),
      ]),
    ]
  })
}

/** Inputs y, dy; output dx. */
export function softmaxGradKernel({ rows, length, y, dy, dx }: SoftmaxGradDescriptor, target: WasmTarget): WasmKernel {
  return rowKernel(new Arguments(), { name: 'softmaxGrad', rows, length, operands: [[0, y], [1, dy], [2, dx]], flops: 4 }, target, ({ f, fold, walk }) => {
    const dot = new Uniform(f)
    const sum = fold('sum')
    return [
      walk([0, 1], [sum], (step) => step.values.map((_, u) => sum.addProduct(step, u, step.load(0, u), step.load(1, u)))),
      dot.set(sum.total),
      walk([0, 1, 2], [], (step) => [
        step.values.map((value, u) => set(value, f32x4.mul(step.load(0, u), f32x4.sub(step.load(1, u), dot.of(step.vectors))))),
        step.values.map((value, u) => step.store(2, u, value)),
      ]),
    ]
  })
}
