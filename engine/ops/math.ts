/** Functions of one number, a row each: exponentials, trigonometry, roots, rounding. Integers are computed as f32 where the result is real. */
import { isFloat } from '../dtype.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import { add, cast, div, floating, literal, mul, neg, notEqual, sub, unaryRow, widen } from './elementwise.ts'
import type { UnaryRow } from './elementwise.ts'

export const expOp: UnaryRow = unaryRow('exp', (dy, _, y) => mul(dy, y))
export const expm1Op: UnaryRow = unaryRow('expm1', (dy, x) => mul(dy, exp(x)))
export const logOp: UnaryRow = unaryRow('log', (dy, x) => div(dy, x))
export const log2Op: UnaryRow = unaryRow('log2', (dy, x) => div(dy, mul(x, literal(Math.LN2))))
export const log1pOp: UnaryRow = unaryRow('log1p', (dy, x) => div(dy, add(x, literal(1))))
export const sqrtOp: UnaryRow = unaryRow('sqrt', (dy, _, y) => div(mul(dy, literal(0.5)), y))
export const sinOp: UnaryRow = unaryRow('sin', (dy, x) => mul(dy, cos(x)))
export const cosOp: UnaryRow = unaryRow('cos', (dy, x) => neg(mul(dy, sin(x))))
export const tanhOp: UnaryRow = unaryRow('tanh', (dy, _, y) => mul(dy, sub(literal(1), mul(y, y))))
// erf′(x) = 2/√π · exp(−x²)
export const erfOp: UnaryRow = unaryRow('erf', (dy, x) => mul(dy, mul(literal(2 / Math.sqrt(Math.PI)), exp(neg(mul(x, x))))))
export const sigmoidOp: UnaryRow = unaryRow('sigmoid', (dy, _, y) => mul(dy, mul(y, sub(literal(1), y))))
export const absOp: UnaryRow = unaryRow('abs', (dy, x) => mul(dy, sign(x)))

// Piecewise constant: no gradient flows.
export const signOp: UnaryRow = unaryRow('sign')
export const floorOp: UnaryRow = unaryRow('floor')
export const ceilOp: UnaryRow = unaryRow('ceil')
export const roundOp: UnaryRow = unaryRow('round')
export const truncOp: UnaryRow = unaryRow('trunc')

/** eˣ. */
export function exp(x: TensorLike): Tensor {
  return apply(expOp, [floating(x)])
}
/** eˣ − 1, exact for small x. */
export function expm1(x: TensorLike): Tensor {
  return apply(expm1Op, [floating(x)])
}
/** The natural logarithm; −∞ at 0, NaN below. */
export function log(x: TensorLike): Tensor {
  return apply(logOp, [floating(x)])
}
/** The logarithm to base 2, exact for powers of two, else within 2.2 units of the last place; −∞ at 0, NaN below. */
export function log2(x: TensorLike): Tensor {
  return apply(log2Op, [floating(x)])
}
/** ln(1 + x), exact for small x. */
export function log1p(x: TensorLike): Tensor {
  return apply(log1pOp, [floating(x)])
}
/** √x; NaN below 0. The gradient at 0 is infinite. */
export function sqrt(x: TensorLike): Tensor {
  return apply(sqrtOp, [floating(x)])
}
/** 1 / √x. */
export function rsqrt(x: TensorLike): Tensor {
  return div(literal(1), sqrt(x))
}
/** 1 / x. */
export function reciprocal(x: TensorLike): Tensor {
  return div(literal(1), x)
}
/** The sine of x radians. */
export function sin(x: TensorLike): Tensor {
  return apply(sinOp, [floating(x)])
}
/** The cosine of x radians. */
export function cos(x: TensorLike): Tensor {
  return apply(cosOp, [floating(x)])
}
/** The tangent of x radians, sin x / cos x. */
export function tan(x: TensorLike): Tensor {
  return div(sin(x), cos(x))
}
/** The hyperbolic tangent. */
export function tanh(x: TensorLike): Tensor {
  return apply(tanhOp, [floating(x)])
}
/** The error function 2/√π ∫₀ˣ exp(−t²) dt. */
export function erf(x: TensorLike): Tensor {
  return apply(erfOp, [floating(x)])
}
/** 1 / (1 + e⁻ˣ); never overflows. */
export function sigmoid(x: TensorLike): Tensor {
  return apply(sigmoidOp, [floating(x)])
}
/** |x|; the gradient at 0 is 0. */
export function abs(x: TensorLike): Tensor {
  const wide = widen(x)
  return wide.dtype === 'u32' ? wide : apply(absOp, [wide])
}
/** −1, 0 or 1; no gradient. */
export function sign(x: TensorLike): Tensor {
  const wide = widen(x)
  return wide.dtype === 'u32' ? cast(notEqual(wide, literal(0)), 'u32') : apply(signOp, [wide])
}

/** Integers are their own rounding. */
const rounded = (op: UnaryRow, x: TensorLike): Tensor => (isFloat(x.dtype) ? apply(op, [x]) : widen(x))

/** The greatest integer ≤ x, as a float; no gradient. */
export function floor(x: TensorLike): Tensor {
  return rounded(floorOp, x)
}
/** The least integer ≥ x, as a float; no gradient. */
export function ceil(x: TensorLike): Tensor {
  return rounded(ceilOp, x)
}
/** The nearest integer, halves to even, as a float; no gradient. */
export function round(x: TensorLike): Tensor {
  return rounded(roundOp, x)
}
/** The integer part, towards 0, as a float; no gradient. */
export function trunc(x: TensorLike): Tensor {
  return rounded(truncOp, x)
}
