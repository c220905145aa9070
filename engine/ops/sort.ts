/** Sorting: an order is computed, values are gathered by it, so gradients go back to where values came from. */
import { ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, formatShape, resolveAxis } from '../shape.ts'
import { gatherOp } from './indexing.ts'
import { narrow } from './slice.ts'

export interface SortOptions {
  /** Largest first. Default false. */
  readonly descending?: boolean
}

export interface TopKOptions {
  /** The k largest (default), or the k smallest. */
  readonly largest?: boolean
}

export interface Sorted {
  readonly values: Tensor
  /** Where each value was along the axis, i32. */
  readonly indices: Tensor
}

/** Stable both ways; NaN counts as the largest. */
export const argsortOp: Primitive<readonly [Tensor], { axis: number; descending: boolean }, 'argsort'> = {
  kind: 'primitive',
  name: 'argsort',
  shape: ([x]) => ({ shape: x.shape, dtype: 'i32' }),
}

/** The places along `axis` in ascending order of their values: equals keep their order, NaN counts as the largest. i32, the shape of x. */
export function argsort(x: TensorLike, axis = -1, { descending = false, ...others }: SortOptions = {}): Tensor {
  refuseOthers('argsort', others)
  return apply(argsortOp, [x], { axis: resolveAxis('argsort', axis, x.shape), descending })
}

/** Values along `axis` in order, and where they were; as `argsort`. */
export function sort(x: TensorLike, axis = -1, { descending = false, ...others }: SortOptions = {}): Sorted {
  refuseOthers('sort', others)
  const indices = argsort(x, axis, { descending })
  return { values: apply(gatherOp, [x, indices], { axis: resolveAxis('sort', axis, x.shape) }), indices }
}

/** The k largest (or smallest) values along `axis`, in order, and where they were. NaN counts as the largest. */
export function topK(x: TensorLike, k: number, axis = -1, { largest = true, ...others }: TopKOptions = {}): Sorted {
  refuseOthers('topK', others)
  const along = resolveAxis('topK', axis, x.shape)
  const size = at(x.shape, along)
  if (!Number.isInteger(k) || k < 0 || k > size) throw new ShapeError(`topK: axis ${axis} of ${formatShape(x.shape)} has ${size} values, not ${k} to take; use an integer from 0 to ${size}`)
  const indices = narrow(argsort(x, along, { descending: largest }), along, 0, k)
  return { values: apply(gatherOp, [x, indices], { axis: along }), indices }
}
