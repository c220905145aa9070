/** What a row of the reference device's table is, and how positions of a shape are counted. */
import type { Spec } from '../../graph.ts'
import { at, contiguousStrides, sizeOf } from '../../shape.ts'
import type { Shape } from '../../shape.ts'
import { zeros } from './values.ts'
import type { Held, Values } from './values.ts'

/** The values of a primitive's output, in row-major order. Method syntax lets each row name its own attributes. */
export type Kernel<A extends object = object> = {
  compute(inputs: readonly Held[], attributes: A, output: Spec): Values
}['compute']

/** The inputs of a primitive with two. */
export function pair(inputs: readonly Held[]): readonly [Held, Held] {
  return [at(inputs, 0), at(inputs, 1)]
}

/** The values of an operand of floats. */
export function floats({ spec, values }: Held): Float64Array {
  if (!(values instanceof Float64Array)) throw new TypeError(`an operand is ${spec.dtype}, not a float`)
  return values
}

/** Element `i`, which must exist. */
export function element(values: Values, i: number): number {
  const value = values[i]
  if (value === undefined) throw new RangeError(`element ${i} of ${values.length}`)
  return value
}

/** Every position of `shape` in row-major order. The array is the same each time. */
export function* positions(shape: Shape): Generator<readonly number[]> {
  const position = shape.map(() => 0)
  for (let n = sizeOf(shape); n > 0; n--) {
    yield position
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = at(position, axis) + 1
      position[axis] = next < at(shape, axis) ? next : 0
      if (next < at(shape, axis)) break
    }
  }
}

/** offset + Σ strides·position for every position of `shape` in row-major order, axis by axis. */
export function indices(shape: Shape, strides: readonly number[], offset = 0): Int32Array {
  let list = Int32Array.of(offset)
  shape.forEach((size, axis) => {
    const stride = at(strides, axis)
    const longer = new Int32Array(list.length * size)
    list.forEach((start, i) => {
      for (let p = 0; p < size; p++) longer[i * size + p] = start + p * stride
    })
    list = longer
  })
  return list
}

/** The elements at those indices. */
export function take({ spec, values }: Held, from: Int32Array): Values {
  const out = zeros(spec.dtype, from.length)
  for (let i = 0; i < out.length; i++) out[i] = element(values, from[i] ?? -1)
  return out
}

/** The row-major index of a position in `shape`. */
export function indexIn(shape: Shape): (position: readonly number[]) => number {
  const strides = contiguousStrides(shape)
  return (position) => strides.reduce((sum, stride, i) => sum + stride * at(position, i), 0)
}
