/**
 * Reading and adding at places that data says. Indices are i32 (u32 and u8 are cast) and count from 0. They are checked by
 * the reference device only: on others a place outside the axis gives an unspecified value of the tensor, or 0.
 */
import { leafTensor } from '../create.ts'
import { promote } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { DTypeError, ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply, applyOn } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, broadcastShapes, formatShape, resolveAxis } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { cast, equal, literalOp, widen } from './elementwise.ts'
import { iota } from './iota.ts'
import { expand, reshape, strideSlice } from './movement.ts'

/** out[…, i, …] = x[…, index[…, i, …], …]; x and index agree on every axis but `axis`. */
export const gatherOp: Primitive<readonly [x: Tensor, index: Tensor], { axis: number }, 'gather'> = {
  kind: 'primitive',
  name: 'gather',
  shape: ([x, index]) => ({ shape: index.shape, dtype: x.dtype }),
  vjp: (dy, [x, index], _, { axis }) => [apply(scatterAddOp, [zerosOf(x), index, dy], { axis }), undefined],
}

/** x, with src[…, i, …] added at x[…, index[…, i, …], …]: the adjoint of gathering, summed in the order of i. */
export const scatterAddOp: Primitive<readonly [x: Tensor, index: Tensor, src: Tensor], { axis: number }, 'scatterAdd'> = {
  kind: 'primitive',
  name: 'scatterAdd',
  shape: ([x]) => x,
  vjp: (dy, [_, index], __, { axis }) => [dy, undefined, apply(gatherOp, [dy, index], { axis })],
}

const zerosOf = (x: Tensor): Tensor => expand(applyOn(x.device, literalOp, { value: 0, dtype: x.dtype }), x.shape)

/** Places as i32. Throws DTypeError for floats and bools. */
function asPlaces(op: string, index: TensorLike): Tensor {
  if (index.dtype !== 'i32' && index.dtype !== 'u32' && index.dtype !== 'u8') {
    throw new DTypeError(`${op}: index is ${index.dtype}, but places are integers; cast it to i32`)
  }
  return cast(index, 'i32')
}

/** Places on an axis of `size`. Throws ShapeError where host data lies outside it. */
function asIndex(op: string, index: TensorLike, size: number): Tensor {
  const { leaf } = index.read()
  const outside = leaf?.kind === 'data' ? leaf.data.find((i) => i < 0 || i >= size) : undefined
  if (outside !== undefined) throw new ShapeError(`${op}: index ${outside} is outside an axis of size ${size}; use integers from 0 to ${size - 1}`)
  return asPlaces(op, index)
}

const replaced = (shape: Shape, axis: number, size: number): number[] => shape.map((d, i) => (i === axis ? size : d))

/** `x` cut to the sizes of `index` on every axis but `axis`, as PyTorch's gather and scatter read it. */
function cutTo(op: string, x: Tensor, index: Shape, axis: number, what: string): Tensor {
  if (x.shape.length !== index.length || index.some((d, i) => i !== axis && d > at(x.shape, i))) {
    throw new ShapeError(`${op}: index ${formatShape(index)} does not fit ${what} ${formatShape(x.shape)} along axis ${axis}; give it the same rank, and no more elements on the other axes`)
  }
  return strideSlice(x, { start: index.map(() => 0), size: replaced(index, axis, at(x.shape, axis)), step: index.map(() => 1) })
}

/**
 * out[i, j, …] = x[index[i, j, …], j, …] for axis 0, and so on: PyTorch's gather. `index` has the rank of x and at most
 * its sizes on the other axes; the result has the shape of `index`. Throws ShapeError otherwise, DTypeError for an index that is not of integers.
 */
export function gather(x: TensorLike, index: TensorLike, axis: number): Tensor {
  const along = resolveAxis('gather', axis, x.shape)
  const places = asIndex('gather', index, at(x.shape, along))
  return apply(gatherOp, [cutTo('gather', x.read(), places.shape, along, 'x'), places], { axis: along })
}

/** `gather` whose operands broadcast on the axes other than `axis`: NumPy's take_along_axis. */
export function takeAlongAxis(x: TensorLike, index: TensorLike, axis: number): Tensor {
  const along = resolveAxis('takeAlongAxis', axis, x.shape)
  const places = asIndex('takeAlongAxis', index, at(x.shape, along))
  if (places.shape.length !== x.shape.length) throw new ShapeError(`takeAlongAxis: index ${formatShape(places.shape)} and x ${formatShape(x.shape)} differ in rank; reshape the index to ${x.shape.length} axes`)
  const others = broadcastShapes('takeAlongAxis', replaced(x.shape, along, 1), replaced(places.shape, along, 1))
  const over = (t: TensorLike): Tensor => expand(t, replaced(others, along, at(t.shape, along)))
  return apply(gatherOp, [over(x), over(places)], { axis: along })
}

/**
 * `x` with src[i, j, …] added at [index[i, j, …], j, …] for axis 0, and so on; equal places add up, in a fixed order.
 * `index` and `src` have equal shapes and the sizes of x on the other axes. The result has the shape of x.
 */
export function scatterAdd(x: TensorLike, index: TensorLike, src: TensorLike, axis: number): Tensor {
  const along = resolveAxis('scatterAdd', axis, x.shape)
  const places = asIndex('scatterAdd', index, at(x.shape, along))
  const fits = places.shape.length === x.shape.length && places.shape.every((d, i) => d === src.shape[i] && (i === along || d === x.shape[i]))
  if (!fits || src.shape.length !== places.shape.length) {
    throw new ShapeError(`scatterAdd: index ${formatShape(places.shape)} and src ${formatShape(src.shape)} must have one shape, that of x ${formatShape(x.shape)} but for axis ${along}; expand or slice them`)
  }
  const [into, from] = [widen(x), widen(src)]
  const dtype = promote('scatterAdd', into.dtype, from.dtype)
  return apply(scatterAddOp, [cast(into, dtype), places, cast(from, dtype)], { axis: along })
}

/**
 * The slices of `x` along `axis` that the list `index` [k] names; the axis has size k in the result. A list on the host
 * may count from the back with negative numbers, and is checked: throws ShapeError for places outside the axis.
 */
export function indexSelect(x: TensorLike, index: TensorLike | readonly number[], axis: number): Tensor {
  const along = resolveAxis('indexSelect', axis, x.shape)
  const places = 'dtype' in index ? asIndex('indexSelect', index, at(x.shape, along)) : hostIndex(index, x, along)
  if (places.shape.length !== 1) throw new ShapeError(`indexSelect: index has shape ${formatShape(places.shape)}, but is a list; reshape it to [${places.size}], or use gather`)
  const list = reshape(places, replaced(x.shape.map(() => 1), along, places.size))
  return apply(gatherOp, [x, expand(list, replaced(x.shape, along, places.size))], { axis: along })
}

function hostIndex(index: readonly number[], x: TensorLike, axis: number): Tensor {
  const n = at(x.shape, axis)
  const data = Int32Array.from(index, (i) => {
    if (!Number.isInteger(i) || i < -n || i >= n) throw new ShapeError(`indexSelect: index ${i} is outside axis ${axis} of ${formatShape(x.shape)}; use integers from ${-n} to ${n - 1}`)
    return i < 0 ? i + n : i
  })
  return leafTensor(x.device, { kind: 'data', data }, [index.length], 'i32')
}

/** Rows of `weight` [V, …] that `index` (any shape) names: [...index.shape, …]. */
export function embedding(weight: TensorLike, index: TensorLike): Tensor {
  if (weight.shape.length === 0) throw new ShapeError('embedding: weight is a scalar, but is a table [entries, width]; pass one row an entry')
  const places = asIndex('embedding', index, at(weight.shape, 0))
  return reshape(indexSelect(weight, reshape(places, [places.size]), 0), [...places.shape, ...weight.shape.slice(1)])
}

export interface OneHotOptions {
  /** Default f32. */
  readonly dtype?: DType
}

/** 1 where the class is, 0 elsewhere: [..., classes]. An index outside 0 … classes − 1 gives zeros. */
export function oneHot(index: TensorLike, classes: number, { dtype = 'f32', ...others }: OneHotOptions = {}): Tensor {
  refuseOthers('oneHot', others)
  const places = asPlaces('oneHot', index)
  if (!Number.isInteger(classes) || classes < 0) throw new ShapeError(`oneHot: ${classes} is not a number of classes; use an integer of at least 0`)
  return cast(equal(reshape(places, [...places.shape, 1]), iota(places.device, classes)), dtype)
}
