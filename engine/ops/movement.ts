/**
 * Movement: ops that only say where elements are read from, and `sum`, the adjoint of expanding.
 * All are linear, and each one's gradient is another of them. None copies: the compiler folds them into whoever reads.
 */
import { ShapeError } from '../error.ts'
import type { Spec, Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, checkShape, formatShape, resolveAxes, resolveAxis, sameShape, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'

export const reshapeOp: Primitive<readonly [Tensor], { shape: Shape }, 'reshape'> = {
  kind: 'primitive',
  name: 'reshape',
  role: ({ shape }) => ({ kind: 'movement', movement: { op: 'reshape', shape } }),
  shape: ([x], { shape }) => ({ shape, dtype: x.dtype }),
  vjp: (dy, [x]) => [reshape(dy, x.shape)],
}

/** The same elements in row-major order under another shape; one size may be −1 and is worked out. */
export function reshape(x: TensorLike, shape: Shape): Tensor {
  const unknown = shape.indexOf(-1)
  const known = shape.reduce((n, d, i) => (i === unknown ? n : n * d), 1)
  const size = sizeOf(x.shape)
  const full = unknown < 0 ? shape : shape.map((d, i) => (i === unknown ? size / known : d))
  if (unknown >= 0 && (known === 0 || !Number.isInteger(size / known))) {
    throw new ShapeError(`reshape: ${size} elements of ${formatShape(x.shape)} do not divide into ${formatShape(shape)}; choose sizes whose product divides ${size}`)
  }
  checkShape('reshape', full)
  if (sizeOf(full) !== size) throw new ShapeError(`reshape: ${formatShape(x.shape)} has ${size} elements but ${formatShape(shape)} has ${sizeOf(full)}; keep the number of elements`)
  return sameShape(full, x.shape) ? x.read() : apply(reshapeOp, [x], { shape: full })
}

export const permuteOp: Primitive<readonly [Tensor], { axes: readonly number[] }, 'permute'> = {
  kind: 'primitive',
  name: 'permute',
  role: ({ axes }) => ({ kind: 'movement', movement: { op: 'permute', axes } }),
  shape: ([x], { axes }) => ({ shape: axes.map((a) => at(x.shape, a)), dtype: x.dtype }),
  vjp: (dy, _, __, { axes }) => [permute(dy, axes.map((_, i) => axes.indexOf(i)))],
}

/** Axis i of the result is axis `axes[i]` of `x`. */
export function permute(x: TensorLike, axes: readonly number[]): Tensor {
  const order = axes.map((a) => resolveAxis('permute', a, x.shape))
  if (order.length !== x.shape.length || new Set(order).size !== order.length) {
    throw new ShapeError(`permute: axes ${formatShape(axes)} do not name each axis of ${formatShape(x.shape)} once`)
  }
  return order.every((a, i) => a === i) ? x.read() : apply(permuteOp, [x], { axes: order })
}

export const expandOp: Primitive<readonly [Tensor], { shape: Shape }, 'expand'> = {
  kind: 'primitive',
  name: 'expand',
  role: ({ shape }) => ({ kind: 'movement', movement: { op: 'expand', shape } }),
  shape: ([x], { shape }) => ({ shape, dtype: x.dtype }),
  vjp: (dy, [x]) => [sumKeep(dy, stretched(x.shape, dy.shape))],
}

const stretched = (from: Shape, to: Shape): number[] => to.flatMap((d, i) => (from[i] === d ? [] : [i]))

/** Repeats axes of size 1 without copying, adding axes in front where `shape` is longer (NumPy's broadcast_to). */
export function expand(x: TensorLike, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x.read()
  checkShape('expand', shape)
  const lead = shape.length - x.shape.length
  if (lead < 0 || x.shape.some((d, i) => d !== 1 && d !== shape[i + lead])) {
    throw new ShapeError(`expand: ${formatShape(x.shape)} does not stretch to ${formatShape(shape)}; only axes of size 1 stretch, and new axes go in front`)
  }
  const aligned = lead === 0 ? x.read() : reshape(x, [...new Array<number>(lead).fill(1), ...x.shape])
  return sameShape(aligned.shape, shape) ? aligned : apply(expandOp, [aligned], { shape })
}

export const sumOp: Primitive<readonly [Tensor], { axes: readonly number[] }, 'sum'> = {
  kind: 'primitive',
  name: 'sum',
  role: ({ axes }) => ({ kind: 'reduce', op: 'sum', axes }),
  shape: ([x], { axes }) => keepAxes(x, axes),
  vjp: (dy, [x]) => [expand(dy, x.shape)],
}

/** The result of reducing `axes` to size 1. */
export const keepAxes = (x: Spec, axes: readonly number[]): Spec => ({ shape: x.shape.map((d, i) => (axes.includes(i) ? 1 : d)), dtype: x.dtype })

/** Sum over `axes`, which stay with size 1. */
export function sumKeep(x: TensorLike, axes: readonly number[]): Tensor {
  return axes.length === 0 ? x.read() : apply(sumOp, [x], { axes })
}

export interface SliceAttributes {
  readonly start: readonly number[]
  readonly size: readonly number[]
  readonly step: readonly number[]
}

export const sliceOp: Primitive<readonly [Tensor], SliceAttributes, 'slice'> = {
  kind: 'primitive',
  name: 'slice',
  role: (attributes) => ({ kind: 'movement', movement: { op: 'slice', ...attributes } }),
  shape: ([x], { size }) => ({ shape: size, dtype: x.dtype }),
  // Elements go back to where they were read from, with zeros between and around.
  vjp(dy, [x], _, { start, size, step }) {
    const upright = flip(dy, step.flatMap((s, i) => (s < 0 ? [i] : [])))
    const low = start.map((s, i) => (at(size, i) === 0 ? at(x.shape, i) : s + Math.min(0, at(step, i)) * (at(size, i) - 1)))
    const reach = low.map((l, i) => (at(size, i) === 0 ? at(x.shape, i) : l + Math.abs(at(step, i)) * (at(size, i) - 1) + 1))
    return [zeroPad(upright, low, reach.map((r, i) => at(x.shape, i) - r), step.map((s) => Math.abs(s) - 1))]
  },
}

/** `x[start]`, `x[start + step]`, …, `size` elements on each axis; steps may be negative. Bounds are the caller's to check. */
export function strideSlice(x: TensorLike, { start, size, step }: SliceAttributes): Tensor {
  const whole = step.every((s) => s === 1) && start.every((s) => s === 0) && sameShape(size, x.shape)
  return whole ? x.read() : apply(sliceOp, [x], { start, size, step })
}

/** Reverses the order along `axes`. */
export function flip(x: TensorLike, axes: number | readonly number[]): Tensor {
  const turned = resolveAxes('flip', axes, x.shape).filter((a) => at(x.shape, a) > 1)
  return strideSlice(x, {
    start: x.shape.map((d, i) => (turned.includes(i) ? d - 1 : 0)),
    size: x.shape,
    step: x.shape.map((_, i) => (turned.includes(i) ? -1 : 1)),
  })
}

export interface PadAttributes {
  readonly low: readonly number[]
  readonly high: readonly number[]
  /** Zeros between neighbours. */
  readonly interior: readonly number[]
}

export const padOp: Primitive<readonly [Tensor], PadAttributes, 'pad'> = {
  kind: 'primitive',
  name: 'pad',
  // Zeros around are read from nowhere; zeros between neighbours have to be written.
  role(attributes, [x]) {
    const { low, high, interior } = attributes
    return interior.some((n) => n > 0) ? { kind: 'join', slices: [innerSlice(x, attributes)], gaps: true } : { kind: 'movement', movement: { op: 'pad', low, high } }
  },
  shape: ([x], { low, high, interior }) => ({ shape: x.shape.map((d, i) => at(low, i) + Math.max(0, d + (d - 1) * at(interior, i)) + at(high, i)), dtype: x.dtype }),
  vjp: (dy, [x], _, attributes) => [strideSlice(dy, innerSlice(x, attributes))],
}

/** Where x lies in its padding. */
const innerSlice = (x: Spec, { low, interior }: PadAttributes): SliceAttributes => ({ start: low, size: x.shape, step: interior.map((n) => n + 1) })

/** Surrounds with zeros: `low` before, `high` after, `interior` between elements of each axis. */
export function zeroPad(x: TensorLike, low: readonly number[], high: readonly number[], interior: readonly number[] = low.map(() => 0)): Tensor {
  const nothing = [low, high, interior].every((list) => list.every((n) => n === 0))
  return nothing ? x.read() : apply(padOp, [x], { low, high, interior })
}

export const concatOp: Primitive<readonly Tensor[], { axis: number }, 'concat'> = {
  kind: 'primitive',
  name: 'concat',
  role: ({ axis }, inputs) => ({ kind: 'join', slices: slicesAlong(axis, inputs) }),
  shape(inputs, { axis }) {
    const [first] = inputs
    if (first === undefined) throw new ShapeError('concat: the list of tensors is empty; pass at least one')
    return { shape: first.shape.map((d, i) => (i === axis ? inputs.reduce((n, x) => n + at(x.shape, i), 0) : d)), dtype: first.dtype }
  },
  vjp: (dy, inputs, _, { axis }) => slicesAlong(axis, inputs).map((slice) => strideSlice(dy, slice)),
}

/** Where inputs that are joined along an axis lie in the whole. */
function slicesAlong(axis: number, inputs: readonly Spec[]): SliceAttributes[] {
  let from = 0
  return inputs.map(({ shape }) => {
    const start = shape.map((_, i) => (i === axis ? from : 0))
    from += at(shape, axis)
    return { start, size: shape, step: shape.map(() => 1) }
  })
}
