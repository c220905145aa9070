/**
 * Reductions: sum, product, extremes, and what is made of them. All take `(x, axes?, { keepDims })`: one axis, a list, or
 * all of them; negative axes count from the back. Without `keepDims` reduced axes go; with it they stay with size 1.
 */
import type { ReduceOp } from '../../kernels/ir/descriptor.ts'
import { ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, formatShape, resolveAxes, sizeOf } from '../shape.ts'
import { cast, div, equal, greater, literal, mul, where, widen } from './elementwise.ts'
import { iota } from './iota.ts'
import { isNaN, logicalNot, or } from './logic.ts'
import { keepAxes, permute, reshape, sumKeep } from './movement.ts'
import { productOfOthers } from './scan.ts'

export type Axes = number | readonly number[]

export interface ReduceOptions {
  /** Keep reduced axes, with size 1. Default false. */
  readonly keepDims?: boolean
}

type ReducePrimitive<P extends ReduceOp> = Primitive<readonly [Tensor], { axes: readonly number[] }, P>

/** dy to the places that hold the extreme, in equal parts. */
function toTheExtreme(dy: Tensor, x: Tensor, y: Tensor, axes: readonly number[]): Tensor {
  const hit = equal(x, y)
  return where(hit, div(dy, sumKeep(cast(hit, dy.dtype), axes)), literal(0))
}

const extremeRow = <P extends 'max' | 'min'>(op: P): ReducePrimitive<P> => ({
  kind: 'primitive',
  name: op,
  role: ({ axes }) => ({ kind: 'reduce', op, axes }),
  shape: ([x], { axes }) => keepAxes(x, axes),
  vjp: (dy, [x], y, { axes }) => [toTheExtreme(dy, x, y, axes)],
})

export const maxOp: ReducePrimitive<'max'> = extremeRow('max')
export const minOp: ReducePrimitive<'min'> = extremeRow('min')

export const prodOp: ReducePrimitive<'prod'> = {
  kind: 'primitive',
  name: 'prod',
  role: ({ axes }) => ({ kind: 'reduce', op: 'prod', axes }),
  shape: ([x], { axes }) => keepAxes(x, axes),
  // Zeros rule out dividing the product by each factor.
  vjp(dy, [x], _, { axes }) {
    const order = [...x.shape.keys()].filter((i) => !axes.includes(i)).concat(axes)
    const moved = permute(x, order)
    const kept = moved.shape.slice(0, x.shape.length - axes.length)
    const others = reshape(productOfOthers(reshape(moved, [...kept, sizeOf(axes.map((i) => at(x.shape, i)))]), kept.length), moved.shape)
    return [mul(dy, permute(others, x.shape.map((__, i) => order.indexOf(i))))]
  },
}

/** Maximum over `axes`, which stay with size 1; NaN if any is. */
export function maxKeep(x: TensorLike, axes: readonly number[]): Tensor {
  return axes.length === 0 ? x.read() : apply(maxOp, [x], { axes })
}

/** Minimum over `axes`, which stay with size 1; NaN if any is. */
export function minKeep(x: TensorLike, axes: readonly number[]): Tensor {
  return axes.length === 0 ? x.read() : apply(minOp, [x], { axes })
}

/** Drops the axes of size 1 that a reduction left, unless they are to be kept. */
export function finish(kept: Tensor, axes: readonly number[], keepDims: boolean): Tensor {
  return keepDims ? kept : reshape(kept, kept.shape.filter((_, i) => !axes.includes(i)))
}

/** Σ x over `axes`; 0 over none. Bools and u8 sum to i32. */
export function sum(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('sum', others)
  const over = resolveAxes('sum', axes, x.shape)
  return finish(sumKeep(widen(x), over), over, keepDims)
}

/** Π x over `axes`; 1 over none. Bools and u8 give i32. The gradient is exact where x has zeros. */
export function prod(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('prod', others)
  const over = resolveAxes('prod', axes, x.shape)
  const wide = widen(x)
  return finish(over.length === 0 ? wide : apply(prodOp, [wide], { axes: over }), over, keepDims)
}

/** Throws ShapeError if one of the axes is empty. */
export function nonEmpty(op: string, x: TensorLike, axes: readonly number[]): void {
  const empty = axes.find((i) => x.shape[i] === 0)
  if (empty !== undefined) throw new ShapeError(`${op}: axis ${empty} of ${formatShape(x.shape)} is empty, and nothing has no ${op}; reduce axes that have elements`)
}

function extreme(op: 'max' | 'min', x: TensorLike, axes: Axes | undefined, keepDims: boolean): Tensor {
  const over = resolveAxes(op, axes, x.shape)
  nonEmpty(op, x, over)
  const kept = (op === 'max' ? maxKeep : minKeep)(widen(x), over)
  return finish(cast(kept, x.dtype), over, keepDims)
}

/** The largest value over `axes`, in the type of x; NaN if any is. The gradient is split evenly among equals. Throws ShapeError for an empty axis. */
export function max(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('max', others)
  return extreme('max', x, axes, keepDims)
}

/** The smallest value over `axes`, in the type of x; NaN if any is. The gradient is split evenly among equals. Throws ShapeError for an empty axis. */
export function min(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('min', others)
  return extreme('min', x, axes, keepDims)
}

function argExtreme(op: 'argmax' | 'argmin', x: TensorLike, axis: number | undefined, keepDims: boolean): Tensor {
  if (axis === undefined && keepDims) throw new ShapeError(`${op}: keepDims needs an axis, since without one ${formatShape(x.shape)} is searched as a flat list; pass an axis`)
  const list = axis === undefined ? reshape(x, [-1]) : x
  const over = resolveAxes(op, axis, list.shape)
  nonEmpty(op, list, over)
  const [along] = over
  if (along === undefined) throw new ShapeError(`${op}: a tensor of shape ${formatShape(x.shape)} has no axis ${axis}`)
  const wide = widen(list)
  const top = (op === 'argmax' ? maxKeep : minKeep)(wide, over)
  const n = at(list.shape, along)
  const place = reshape(iota(x.device, n), list.shape.map((_, i) => (i === along ? n : 1)))
  // If there is a NaN the extreme is NaN, and then only NaNs are hits.
  return finish(minKeep(where(or(equal(wide, top), isNaN(wide)), place, literal(n)), over), over, keepDims)
}

/** The index of the largest value along `axis`, or in the flat list; the first among equals; the first NaN if there is one. i32. */
export function argmax(x: TensorLike, axis?: number, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('argmax', others)
  return argExtreme('argmax', x, axis, keepDims)
}

/** The index of the smallest value along `axis`, or in the flat list; the first among equals; the first NaN if there is one. i32. */
export function argmin(x: TensorLike, axis?: number, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('argmin', others)
  return argExtreme('argmin', x, axis, keepDims)
}

/** Whether any value over `axes` is not 0; false over none. bool. */
export function any(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('any', others)
  return greater(sum(cast(x, 'bool'), axes, { keepDims }), literal(0))
}

/** Whether every value over `axes` is not 0; true over none. bool. */
export function all(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('all', others)
  return logicalNot(any(logicalNot(x), axes, { keepDims }))
}

/** How many values over `axes` are not 0. i32. */
export function countNonzero(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('countNonzero', others)
  return sum(cast(x, 'bool'), axes, { keepDims })
}
