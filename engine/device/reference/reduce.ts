/** Reductions on the reference device: one loop over the elements, in row-major order. */
import { isFloat } from '../../dtype.ts'
import { at, contiguousStrides, sizeOf } from '../../shape.ts'
import { indices } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { rounded } from './values.ts'

/** Folds the elements that share an output position; the reduced axes have size 1 in the output. */
function fold(start: number, join: (sum: number, x: number) => number): Kernel<{ axes: readonly number[] }> {
  return (inputs, { axes }, output) => {
    const { spec, values } = at(inputs, 0)
    const strides = contiguousStrides(output.shape).map((stride, axis) => (axes.includes(axis) ? 0 : stride))
    const sums = new Float64Array(sizeOf(output.shape)).fill(start)
    indices(spec.shape, strides).forEach((to, i) => (sums[to] = join(sums[to] ?? start, values[i] ?? start)))
    return rounded(sums, output)
  }
}

const sum = fold(0, (x, y) => x + y)
// Integers wrap at 32 bits at every step: their exact product may not fit in float64.
const prod: Kernel<{ axes: readonly number[] }> = (inputs, attributes, output) => (isFloat(output.dtype) ? fold(1, (x, y) => x * y) : fold(1, Math.imul))(inputs, attributes, output)
const max = fold(-Infinity, Math.max) // NaN if any is.
const min = fold(Infinity, Math.min)

export const reduceKernels: Readonly<Record<'sum' | 'max' | 'min' | 'prod', Kernel>> = { sum, max, min, prod }
