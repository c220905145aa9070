/** Between the noise of two images. */
import { ShapeError, add, atan2, div, maximum, mul, norm, sin, sub, where } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { formatShape, sameShape } from '../engine/shape.ts'

/**
 * Spherical interpolation of each image, from x [B, …] at share 0 to y [B, …] at 1: sin((1 − s)·θ)/sin θ·x + sin(s·θ)/sin θ·y, with θ the angle between the two
 * (Shoemake, SIGGRAPH 1985). Between two draws of noise it stays as long as they are, which their mean does not (White, arXiv:1609.04468). `share` may be below 0 or
 * above 1. Between conditions take (1 − s)·x + s·y.
 */
export function slerp(x: TensorLike, y: TensorLike, share: number): Tensor {
  if (!sameShape(x.shape, y.shape) || x.shape.length < 2) throw new ShapeError(`slerp: ${formatShape(x.shape)} and ${formatShape(y.shape)}; pass two batches [B, …] of one shape`)
  const length = (v: Tensor): Tensor => maximum(norm(v, v.shape.slice(1).map((_, i) => i + 1), { keepDims: true }), 1e-30)
  const [a, b] = [x.read(), y.read()]
  const [one, two] = [div(a, length(a)), div(b, length(b))]
  const angle = mul(atan2(length(sub(one, two)), length(add(one, two))), 2) // of any size, to the last digits
  const flat = angle.less(1e-3)
  const weight = (s: number): Tensor => where(flat, s, div(sin(mul(angle, s)), where(flat, 1, sin(angle))))
  return add(mul(a, weight(1 - share)), mul(b, weight(share)))
}
