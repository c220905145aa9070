/** Tensors side by side. The compiler lets their producers write straight into the result. */
import { promote } from '../dtype.ts'
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import { formatShape, resolveAxis, sameShape } from '../shape.ts'
import { cast } from './elementwise.ts'
import { concatOp, reshape } from './movement.ts'

function nonEmptyList(op: string, tensors: readonly TensorLike[]): TensorLike {
  const [first] = tensors
  if (first === undefined) throw new ShapeError(`${op}: the list of tensors is empty; pass at least one`)
  return first
}

/** Joins along `axis`; the other axes agree. Types meet in their common one. Throws ShapeError where shapes differ elsewhere. */
export function concat(tensors: readonly TensorLike[], axis = 0): Tensor {
  const first = nonEmptyList('concat', tensors)
  const along = resolveAxis('concat', axis, first.shape)
  tensors.forEach((x, i) => {
    if (x.shape.length !== first.shape.length || x.shape.some((d, k) => k !== along && d !== first.shape[k])) {
      throw new ShapeError(`concat: tensor 0 has shape ${formatShape(first.shape)} but tensor ${i} has ${formatShape(x.shape)}; make them equal on every axis but ${along}`)
    }
  })
  const dtype = tensors.map((x) => x.dtype).reduce((x, y) => promote('concat', x, y))
  return tensors.length === 1 ? first.read() : apply(concatOp, tensors.map((x) => cast(x, dtype)), { axis: along })
}

/** Joins tensors of one shape along a new axis, at place `axis` of the result. Throws ShapeError where shapes differ. */
export function stack(tensors: readonly TensorLike[], axis = 0): Tensor {
  const first = nonEmptyList('stack', tensors)
  const along = resolveAxis('stack', axis, [...first.shape, 1])
  tensors.forEach((x, i) => {
    if (!sameShape(x.shape, first.shape)) throw new ShapeError(`stack: tensor 0 has shape ${formatShape(first.shape)} but tensor ${i} has ${formatShape(x.shape)}; make their shapes equal, or use concat`)
  })
  return concat(tensors.map((x) => reshape(x, [...x.shape.slice(0, along), 1, ...x.shape.slice(along)])), along)
}
