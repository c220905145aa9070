/**
 * The linear layer's map. It is one node, and its gradient another, since models are made of it and every node costs
 * time at each step; plans are made of the products and sums it decomposes into.
 */
import { ShapeError } from '../error.ts'
import type { Spec, Tensor, TensorLike } from '../graph.ts'
import { apply, applyMany } from '../op.ts'
import type { Fused } from '../op.ts'
import { at, formatShape, sameShape, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { add, cast } from './elementwise.ts'
import { matmulOp, transposeLast } from './matmul.ts'
import { reshape, sumKeep } from './movement.ts'
import { floatType, productType } from './operands.ts'

/** x [..., in], weight [out, in], bias [out] or absent → [..., out]. */
export const linearOp: Fused<readonly [x: Tensor, weight: Tensor, ...bias: Tensor[]]> = {
  kind: 'fused',
  name: 'linear',
  shape([x, weight, bias]) {
    checkOperands(x, weight, bias)
    return { shape: outputShape(x, weight), dtype: floatType('linear', { x, weight, bias }) }
  },
  decompose([x, weight, bias]) {
    const y = apply(matmulOp, [rows(x), transposeLast(weight)])
    return reshape(bias === undefined ? y : add(y, bias), outputShape(x, weight))
  },
  vjp: (dy, [x, weight]) => applyMany(linearGradOp, [dy, x, weight]),
}

/** dy [..., out], x [..., in], weight [out, in] → dx = dy · weight, dweight = dyᵀ · x and dbias = Σ dy over all but the last axis. */
export const linearGradOp: Fused<readonly [dy: Tensor, x: Tensor, weight: Tensor]> = {
  kind: 'fused',
  name: 'linearGrad',
  shape([dy, x, weight]) {
    checkOperands(x, weight)
    if (!sameShape(dy.shape, outputShape(x, weight))) throw new ShapeError(`linearGrad: dy ${formatShape(dy.shape)} does not belong to x ${formatShape(x.shape)} and weight ${formatShape(weight.shape)}; it must be ${formatShape(outputShape(x, weight))}`)
    return [x.shape, weight.shape, weight.shape.slice(0, 1)].map((shape) => ({ shape, dtype: dy.dtype }))
  },
  decompose([dy, x, weight]) {
    const [dRows, xRows] = [rows(dy), rows(x)]
    return [
      reshape(apply(matmulOp, [dRows, weight]), x.shape),
      apply(matmulOp, [transposeLast(dRows), xRows]),
      reshape(sumKeep(dRows, [0]), weight.shape.slice(0, 1)),
    ]
  },
}

const outputShape = (x: Spec, weight: Spec): Shape => [...x.shape.slice(0, -1), at(weight.shape, 0)]

/** [..., n] as [rows, n]. */
function rows(x: Tensor): Tensor {
  return reshape(x, [sizeOf(x.shape.slice(0, -1)), at(x.shape, x.rank - 1)])
}

function checkOperands(x: Spec, weight: Spec, bias?: Spec): void {
  const [out, size] = weight.shape
  if (weight.shape.length !== 2 || out === undefined) throw new ShapeError(`linear: weight is ${formatShape(weight.shape)}, but needs two axes [out,in]`)
  if (x.shape.at(-1) !== size) {
    throw new ShapeError(`linear: x has ${x.shape.at(-1) ?? 'no'} features but weight expects ${size} (x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)} = [out,in]); match the last axes`)
  }
  if (bias !== undefined && !sameShape(bias.shape, [out])) throw new ShapeError(`linear: bias is ${formatShape(bias.shape)} but weight ${formatShape(weight.shape)} has ${out} outputs; pass a bias of shape [${out}]`)
}

/**
 * y = x · weightᵀ + bias. x [..., in], weight [out, in], bias [out] → [..., out].
 * Throws ShapeError where sizes differ, DTypeError for integers.
 */
export function linear(x: TensorLike, weight: TensorLike, bias?: TensorLike): Tensor {
  const dtype = productType('linear', { x, weight, bias })
  const operands = bias === undefined ? [x, weight] : [x, weight, bias]
  return apply(linearOp, operands.map((t) => cast(t, dtype)))
}
