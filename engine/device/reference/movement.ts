/** Movement on the reference device: the index an element is read from, or written to, is affine in its position. */
import { at, contiguousStrides, sizeOf } from '../../shape.ts'
import type { Shape } from '../../shape.ts'
import type { PadAttributes, SliceAttributes } from '../../ops/movement.ts'
import { element, indexIn, indices, positions, take } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { fill, zeros } from './values.ts'

const copy: Kernel = (inputs) => at(inputs, 0).values.slice()

const permute: Kernel<{ axes: readonly number[] }> = (inputs, { axes }, { shape }) => {
  const x = at(inputs, 0)
  const strides = contiguousStrides(x.spec.shape)
  return take(x, indices(shape, axes.map((axis) => at(strides, axis))))
}

const expand: Kernel<{ shape: Shape }> = (inputs, { shape }) => {
  const x = at(inputs, 0)
  const strides = contiguousStrides(x.spec.shape)
  return take(x, indices(shape, shape.map((_, axis) => (at(x.spec.shape, axis) === 1 ? 0 : at(strides, axis)))))
}

const slice: Kernel<SliceAttributes> = (inputs, { start, size, step }) => {
  const x = at(inputs, 0)
  const strides = contiguousStrides(x.spec.shape)
  const offset = strides.reduce((sum, stride, axis) => sum + stride * at(start, axis), 0)
  return take(x, indices(size, strides.map((stride, axis) => stride * at(step, axis)), offset))
}

const pad: Kernel<PadAttributes> = (inputs, { low, interior }, { shape, dtype }) => {
  const { spec, values } = at(inputs, 0)
  const out = zeros(dtype, sizeOf(shape))
  const to = indexIn(shape)
  let i = 0
  for (const position of positions(spec.shape)) {
    const target = position.map((p, axis) => at(low, axis) + p * (at(interior, axis) + 1))
    if (target.every((p, axis) => p >= 0 && p < at(shape, axis))) out[to(target)] = element(values, i)
    i++
  }
  return out
}

const concat: Kernel<{ axis: number }> = (inputs, { axis }, { shape, dtype }) => {
  const out = zeros(dtype, sizeOf(shape))
  const strides = contiguousStrides(shape)
  let from = 0
  for (const { spec, values } of inputs) {
    indices(spec.shape, strides, from * at(strides, axis)).forEach((to, i) => (out[to] = element(values, i)))
    from += at(spec.shape, axis)
  }
  return out
}

const iota: Kernel<{ size: number }> = (_, __, output) => fill(output, (i) => i)

export const movementKernels: Readonly<Record<'reshape' | 'barrier' | 'permute' | 'expand' | 'slice' | 'pad' | 'concat' | 'iota', Kernel>> = { reshape: copy, barrier: copy, permute, expand, slice, pad, concat, iota }
