/** Activation functions, composed so that values and gradients stay finite wherever x is. */
import { ConfigError, checkWord, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { at } from '../shape.ts'
import { add, div, floating, greater, isTensor, less, lessEqual, literal, mul, neg, operandLike, unify, where } from '../ops/elementwise.ts'
import type { Operand } from '../ops/elementwise.ts'
import { maximum } from '../ops/arithmetic.ts'
import { abs, erf, exp, expm1, log1p, sigmoid, tanh } from '../ops/math.ts'

/** max(x, 0); NaN stays NaN; the gradient at 0 is 0. */
export function relu(x: TensorLike): Tensor {
  return where(lessEqual(x, literal(0)), literal(0), x)
}

export interface LeakyReluOptions {
  /** Default 0.01. */
  readonly negativeSlope?: Operand
}

/** x for x > 0, negativeSlope · x elsewhere. */
export function leakyRelu(x: TensorLike, { negativeSlope = 0.01, ...others }: LeakyReluOptions = {}): Tensor {
  refuseOthers('leakyRelu', others)
  const v = floating(x)
  return where(lessEqual(v, literal(0)), mul(v, negativeSlope), v)
}

/** x · σ(x) (Hendrycks and Gimpel, arXiv:1606.08415; Elfwing et al., arXiv:1702.03118). */
export function silu(x: TensorLike): Tensor {
  const v = floating(x)
  return mul(v, sigmoid(v))
}

/** x · tanh(log(1 + eˣ)) (Misra, arXiv:1908.08681). */
export function mish(x: TensorLike): Tensor {
  const v = floating(x)
  return mul(v, tanh(logOnePlusExp(v)))
}

export interface GeluOptions {
  /** `tanh`: the approximation of GPT-2 and many diffusion models. Default `none`, by the error function. */
  readonly approximate?: 'none' | 'tanh'
}

/** x · Φ(x), Φ the normal distribution function; or x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) (arXiv:1606.08415). */
export function gelu(x: TensorLike, { approximate = 'none', ...others }: GeluOptions = {}): Tensor {
  refuseOthers('gelu', others)
  checkWord('gelu', 'approximate', approximate, ['none', 'tanh'])
  const v = floating(x)
  const bend =
    approximate === 'tanh'
      ? tanh(mul(literal(Math.sqrt(2 / Math.PI)), mul(v, add(literal(1), mul(literal(0.044715), mul(v, v))))))
      : erf(mul(v, literal(Math.SQRT1_2)))
  return mul(mul(literal(0.5), v), add(literal(1), bend))
}

/** x · σ(1.702 x): GELU as CLIP's text encoder approximates it. */
export function quickGelu(x: TensorLike): Tensor {
  const v = floating(x)
  return mul(v, sigmoid(mul(literal(1.702), v)))
}

export interface SoftplusOptions {
  /** Default 1. */
  readonly beta?: Operand
  /** Where βx is above it, the result is x itself. Default 20, from which on f32 cannot tell the two apart. */
  readonly threshold?: Operand
}

/** log(1 + e^(βx)) / β; x where βx is above the threshold, as in PyTorch. */
export function softplus(x: TensorLike, { beta, threshold, ...others }: SoftplusOptions = {}): Tensor {
  refuseOthers('softplus', others)
  if (beta === 0) throw new ConfigError('softplus: beta is 0, by which log(1 + e^(βx)) is divided; use another number, for the limit of large ones relu')
  const v = floating(x)
  const scaled = beta === undefined ? v : mul(v, beta)
  const soft = logOnePlusExp(scaled)
  return where(greater(scaled, threshold ?? literal(20)), v, beta === undefined ? soft : div(soft, beta))
}

/** log(1 + eˣ) = max(x, 0) + log1p(e^−|x|). */
export function logOnePlusExp(x: TensorLike): Tensor {
  const v = floating(x)
  return add(maximum(v, literal(0)), log1p(exp(neg(abs(v)))))
}

/** log σ(x) = −log(1 + e⁻ˣ). */
export function logSigmoid(x: TensorLike): Tensor {
  return neg(logOnePlusExp(neg(floating(x))))
}

export interface EluOptions {
  /** Default 1. */
  readonly alpha?: Operand
}

/** x for x > 0, α(eˣ − 1) elsewhere (arXiv:1511.07289). */
export function elu(x: TensorLike, { alpha = 1, ...others }: EluOptions = {}): Tensor {
  refuseOthers('elu', others)
  const v = floating(x)
  const low = lessEqual(v, literal(0))
  // Where x is large its exponential overflows, so it is not taken there.
  return where(low, mul(alpha, expm1(where(low, v, literal(0)))), v)
}

/** x · min(max(x + 3, 0), 6) / 6 (arXiv:1905.02244). */
export function hardswish(x: TensorLike): Tensor {
  const v = floating(x)
  return mul(v, div(clamp(add(v, literal(3)), literal(0), literal(6)), literal(6)))
}

/**
 * x kept between `low` and `high`, numbers or tensors that broadcast; an absent or null one is no bound. Where x is outside,
 * the gradient goes to the bound. Where low > high the result is high. NaN stays NaN.
 */
export function clamp(x: TensorLike, low?: Operand | null, high?: Operand | null): Tensor {
  let y = x.read()
  if (low !== undefined && low !== null) y = bounded(y, low, less)
  if (high !== undefined && high !== null) y = bounded(y, high, greater)
  return y
}

function bounded(x: Tensor, bound: Operand, beyond: (x: Operand, y: Operand) => Tensor): Tensor {
  const pair = unify('clamp', [x, isTensor(bound) ? bound : operandLike('clamp', bound, x)])
  const [v, edge] = [at(pair, 0), at(pair, 1)]
  return where(beyond(v, edge), edge, v)
}
