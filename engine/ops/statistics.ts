/** Means, variances, norms and log-sums: reductions composed of others. Arguments as in `reduce.ts`. */
import { stopGradient } from '../recompute.ts'
import { isFloat } from '../dtype.ts'
import { ConfigError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { at, resolveAxes } from '../shape.ts'
import { add, cast, div, equal, floating, literal, mul, notEqual, sub, where } from './elementwise.ts'
import { pow } from './arithmetic.ts'
import { isFinite } from './logic.ts'
import { abs, exp, log, sqrt } from './math.ts'
import { sumKeep } from './movement.ts'
import { finish, max, maxKeep, min, nonEmpty, sum } from './reduce.ts'
import type { Axes, ReduceOptions } from './reduce.ts'

export interface VarianceOptions extends ReduceOptions {
  /** Subtracted from the count in the divisor. Default 1, the unbiased estimate; 0 is the maximum-likelihood one. */
  readonly correction?: number
}

export interface NormOptions extends ReduceOptions {
  /** 1, 2 (default), ±Infinity, 0 (how many are not 0), or any other p. */
  readonly order?: number
}

const count = (x: TensorLike, axes: readonly number[]): number => axes.reduce((n, i) => n * at(x.shape, i), 1)

/** Integers and storage types as f32, in which a sum of many does not overflow. */
export const working = (x: TensorLike): Tensor => (x.dtype === 'f16' || x.dtype === 'bf16' ? cast(x, 'f32') : floating(x))
const resultType = (x: TensorLike): Tensor['dtype'] => (isFloat(x.dtype) ? x.dtype : 'f32')

/** Σ x / n over `axes`, n values each; NaN over none. The mean of integers is f32. */
export function mean(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('mean', others)
  const over = resolveAxes('mean', axes, x.shape)
  const kept = div(sumKeep(working(x), over), literal(count(x, over)))
  return cast(finish(kept, over, keepDims), resultType(x))
}

/**
 * The mean of x over `axes`, and x less it. Of large values a mean is off by its rounding, which differences would keep: the mean
 * of these makes up for it. In exact numbers that is 0, as its gradient is.
 */
export function centre(x: Tensor, axes: readonly number[]): { readonly average: Tensor; readonly centred: Tensor } {
  const averageOf = (t: Tensor): Tensor => div(sumKeep(t, axes), literal(count(t, axes)))
  const rough = averageOf(x)
  const rest = sub(x, rough)
  const off = stopGradient(averageOf(rest))
  return { average: add(rough, off), centred: sub(rest, off) }
}

function varianceKeep(op: string, x: TensorLike, axes: readonly number[], correction: number): Tensor {
  if (!Number.isFinite(correction)) throw new ConfigError(`${op}: correction ${correction} is not a number to subtract from the count; use 1 (unbiased) or 0`)
  const { centred } = centre(working(x), axes)
  return div(sumKeep(mul(centred, centred), axes), literal(Math.max(0, count(x, axes) - correction)))
}

/** Σ (x − mean)² / (n − correction) over `axes`; NaN where n ≤ correction. The variance of integers is f32. */
export function variance(x: TensorLike, axes?: Axes, { correction = 1, keepDims = false, ...others }: VarianceOptions = {}): Tensor {
  refuseOthers('variance', others)
  const over = resolveAxes('variance', axes, x.shape)
  return cast(finish(varianceKeep('variance', x, over, correction), over, keepDims), resultType(x))
}

/** √variance over `axes`; where it is 0 the gradient is 0. */
export function std(x: TensorLike, axes?: Axes, { correction = 1, keepDims = false, ...others }: VarianceOptions = {}): Tensor {
  refuseOthers('std', others)
  const over = resolveAxes('std', axes, x.shape)
  return cast(finish(rootOrZero(varianceKeep('std', x, over, correction)), over, keepDims), resultType(x))
}

/** √s for s ≥ 0, whose gradient at 0 is 0. */
function rootOrZero(s: Tensor): Tensor {
  const zero = equal(s, literal(0))
  return where(zero, literal(0), sqrt(where(zero, literal(1), s)))
}

/** sᵖ for s ≥ 0, p ≠ 0, whose gradient at 0 is 0. */
function powerOrZero(s: Tensor, p: number): Tensor {
  const zero = equal(s, literal(0))
  return where(zero, p > 0 ? literal(0) : pow(s, literal(p)), pow(where(zero, literal(1), s), literal(p)))
}

/** (Σ |x|ᵖ)^(1/p) over `axes`, p the `order`; the largest |x| for Infinity. Where the norm is 0 the gradient is 0. */
export function norm(x: TensorLike, axes?: Axes, { order = 2, keepDims = false, ...others }: NormOptions = {}): Tensor {
  refuseOthers('norm', others)
  if (Number.isNaN(order)) throw new ConfigError('norm: order is NaN; use 1, 2, Infinity, or another number')
  const over = resolveAxes('norm', axes, x.shape)
  const wide = working(x)
  const size = abs(wide)
  const value = (): Tensor => {
    if (order === Infinity) return max(size, over, { keepDims })
    if (order === -Infinity) return min(size, over, { keepDims })
    if (order === 0) return cast(sum(notEqual(wide, literal(0)), over, { keepDims }), wide.dtype)
    if (order === 1) return sum(size, over, { keepDims })
    if (order === 2) return rootOrZero(sum(mul(wide, wide), over, { keepDims }))
    return powerOrZero(sum(powerOrZero(size, order), over, { keepDims }), 1 / order)
  }
  return cast(value(), resultType(x))
}

/** log Σ exp(x) over `axes`, without overflow. Throws ShapeError for an empty axis. */
export function logsumexp(x: TensorLike, axes?: Axes, { keepDims = false, ...others }: ReduceOptions = {}): Tensor {
  refuseOthers('logsumexp', others)
  const over = resolveAxes('logsumexp', axes, x.shape)
  const wide = working(x)
  nonEmpty('logsumexp', x, over)
  const top = stopGradient(maxKeep(wide, over))
  const shift = where(isFinite(top), top, literal(0)) // −∞ − −∞ would be NaN.
  const kept = add(log(sumKeep(exp(sub(wide, shift)), over)), shift)
  return cast(finish(kept, over, keepDims), resultType(x))
}
