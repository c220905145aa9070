/** Movement on the reference device: each output position names the input position it reads. */
import { at, sizeOf } from '../../shape.ts'
import type { Shape } from '../../shape.ts'
import type { PadAttributes, SliceAttributes } from '../../ops/movement.ts'
import { element, indexIn, positions } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { fill, zeros } from './values.ts'
import type { Held, Values } from './values.ts'

/** Reads `x` at `source(position)` for each position of `shape`. */
function read({ spec, values }: Held, shape: Shape, source: (position: readonly number[]) => readonly number[]): Values {
  const from = indexIn(spec.shape)
  const out = zeros(spec.dtype, sizeOf(shape))
  let i = 0
  for (const position of positions(shape)) out[i++] = element(values, from(source(position)))
  return out
}

const copy: Kernel = (inputs) => at(inputs, 0).values.slice()

const permute: Kernel<{ axes: readonly number[] }> = (inputs, { axes }, { shape }) =>
  read(at(inputs, 0), shape, (position) => axes.map((_, axis) => at(position, axes.indexOf(axis))))

const expand: Kernel<{ shape: Shape }> = (inputs, { shape }) => {
  const x = at(inputs, 0)
  return read(x, shape, (position) => position.map((p, axis) => (at(x.spec.shape, axis) === 1 ? 0 : p)))
}

const slice: Kernel<SliceAttributes> = (inputs, { start, size, step }) =>
  read(at(inputs, 0), size, (position) => position.map((p, axis) => at(start, axis) + p * at(step, axis)))

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
  const to = indexIn(shape)
  let from = 0
  for (const { spec, values } of inputs) {
    let i = 0
    for (const position of positions(spec.shape)) out[to(position.map((p, a) => (a === axis ? p + from : p)))] = element(values, i++)
    from += at(spec.shape, axis)
  }
  return out
}

const iota: Kernel<{ size: number }> = (_, __, output) => fill(output, (i) => i)

export const movementKernels: Readonly<Record<'reshape' | 'barrier' | 'permute' | 'expand' | 'slice' | 'pad' | 'concat' | 'iota', Kernel>> = { reshape: copy, barrier: copy, permute, expand, slice, pad, concat, iota }
