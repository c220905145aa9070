/** Softmax and its logarithm along an axis. */
import { stopGradient } from '../recompute.ts'
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Fused } from '../op.ts'
import { formatShape, resolveAxis, sameShape } from '../shape.ts'
import { cast, div, mul, sub } from './elementwise.ts'
import { exp, log } from './math.ts'
import { sumKeep } from './movement.ts'
import { floatType, statisticsType } from './operands.ts'
import { maxKeep } from './reduce.ts'

export const softmaxOp: Fused<readonly [x: Tensor], { axis: number }> = {
  kind: 'fused',
  name: 'softmax',
  shape: ([x]) => x,
  // Shifting by the maximum changes nothing but the range of exp.
  decompose([x], { axis }) {
    const e = exp(sub(x, stopGradient(maxKeep(x, [axis]))))
    return div(e, sumKeep(e, [axis]))
  },
  vjp: (dy, _, y, { axis }) => [apply(softmaxGradOp, [y, dy], { axis })],
}

/** dx = y · (dy − Σ dy·y) */
export const softmaxGradOp: Fused<readonly [y: Tensor, dy: Tensor], { axis: number }> = {
  kind: 'fused',
  name: 'softmaxGrad',
  shape([y, dy]) {
    if (!sameShape(y.shape, dy.shape)) throw new ShapeError(`softmaxGrad: y ${formatShape(y.shape)} and dy ${formatShape(dy.shape)} differ; they must be equal`)
    return y
  },
  decompose: ([y, dy], { axis }) => mul(y, sub(dy, sumKeep(mul(dy, y), [axis]))),
}

/** softmax(x)ᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) along `axis`; the shape of x. Throws ShapeError for an axis x has not, DTypeError for integers. */
export function softmax(x: TensorLike, axis = -1): Tensor {
  const working = statisticsType(floatType('softmax', { x }))
  return cast(apply(softmaxOp, [cast(x, working)], { axis: resolveAxis('softmax', axis, x.shape) }), x.dtype)
}

/** log softmax(x)ᵢ = xᵢ − log Σⱼ exp(xⱼ) along `axis`, without overflow; the shape of x. Errors as softmax. */
export function logSoftmax(x: TensorLike, axis = -1): Tensor {
  const wide = cast(x, statisticsType(floatType('logSoftmax', { x })))
  const along = resolveAxis('logSoftmax', axis, x.shape)
  const shifted = sub(wide, stopGradient(maxKeep(wide, [along])))
  return cast(sub(shifted, log(sumKeep(exp(shifted), [along]))), x.dtype)
}
