/**
 * Initial values as PyTorch's `torch.nn.init` draws them: Kaiming (He et al., arXiv:1502.01852), Xavier (Glorot and
 * Bengio, AISTATS 2010), truncated normal. Each gives a tensor for `variable` or `assign`; `uniform`, `normal`, `zeros`,
 * `ones` and `full` of `langevin` are the others.
 */
import { ConfigError, ShapeError, add, cast, clamp, less, log, mul, neg, normal, sqrt, sub, uniform, where } from '../engine/index.ts'
import type { Shape, Tensor } from '../engine/index.ts'
import { checkWord } from '../engine/error.ts'
import { literal } from '../engine/ops/elementwise.ts'
import { formatShape, sizeOf } from '../engine/shape.ts'
import type { LayerOptions } from './module.ts'
import { checkPlace } from './options.ts'

export type Nonlinearity = 'linear' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu'

/**
 * What the standard deviation of weights is multiplied by so that that of activations stays: 1 for linear and sigmoid,
 * 5/3 for tanh, √2 for relu, √(2 / (1 + slope²)) for leakyRelu (slope 0.01 unless given), 3/4 for selu.
 */
export function calculateGain(nonlinearity: Nonlinearity, slope = 0.01): number {
  switch (nonlinearity) {
    case 'linear':
    case 'sigmoid':
      return 1
    case 'tanh':
      return 5 / 3
    case 'relu':
      return Math.SQRT2
    case 'leakyRelu':
      return Math.sqrt(2 / (1 + slope ** 2))
    case 'selu':
      return 3 / 4
    default:
      throw new ConfigError(`calculateGain: there is no gain for "${String(nonlinearity satisfies never)}"; use linear, sigmoid, tanh, relu, leakyRelu or selu`)
  }
}

/** Inputs of an output and outputs of an input, for a weight [out, in, …kernel]. */
export function fans(op: string, shape: Shape): { readonly fanIn: number; readonly fanOut: number } {
  const [outputs, inputs] = shape
  if (outputs === undefined || inputs === undefined) throw new ShapeError(`${op}: a weight of shape ${formatShape(shape)} has no inputs and outputs to count; use two axes [out,in] or more`)
  const positions = sizeOf(shape.slice(2))
  return { fanIn: inputs * positions, fanOut: outputs * positions }
}

export interface KaimingOptions extends LayerOptions {
  /** What is kept: the variance of activations (`fanIn`, default) or of gradients (`fanOut`). */
  readonly mode?: 'fanIn' | 'fanOut'
  /** Default `leakyRelu`. */
  readonly nonlinearity?: Nonlinearity
  /** Slope of the leaky ReLU for x < 0. Default 0, as relu. */
  readonly a?: number
}

/** The standard deviation gain / √fan, and what is left of the options. */
function kaiming(op: string, shape: Shape, { mode = 'fanIn', nonlinearity = 'leakyRelu', a = 0, ...options }: KaimingOptions): [std: number, options: LayerOptions] {
  checkPlace(op, options)
  checkWord(op, 'mode', mode, ['fanIn', 'fanOut'])
  return [calculateGain(nonlinearity, a) / Math.sqrt(Math.max(1, fans(op, shape)[mode])), options]
}

/** For a weight [out, in, …]: uniform in ±gain·√(3 / fan). Throws ShapeError for less than two axes, ConfigError for another mode. */
export function kaimingUniform(shape: Shape, init: KaimingOptions = {}): Tensor {
  const [std, options] = kaiming('kaimingUniform', shape, init)
  return symmetric(shape, Math.sqrt(3) * std, options)
}

/** For a weight [out, in, …]: normal with standard deviation gain / √fan. Throws ShapeError for less than two axes, ConfigError for another mode. */
export function kaimingNormal(shape: Shape, init: KaimingOptions = {}): Tensor {
  const [std, options] = kaiming('kaimingNormal', shape, init)
  return normal(shape, { std, ...options })
}

export interface XavierOptions extends LayerOptions {
  /** Default 1; see `calculateGain`. */
  readonly gain?: number
}

/** For a weight [out, in, …]: uniform in ±gain·√(6 / (fanIn + fanOut)). Throws ShapeError for less than two axes. */
export function xavierUniform(shape: Shape, { gain = 1, ...options }: XavierOptions = {}): Tensor {
  checkPlace('xavierUniform', options)
  const { fanIn, fanOut } = fans('xavierUniform', shape)
  return symmetric(shape, gain * Math.sqrt(6 / (fanIn + fanOut)), options)
}

/** For a weight [out, in, …]: normal with standard deviation gain·√(2 / (fanIn + fanOut)). Throws ShapeError for less than two axes. */
export function xavierNormal(shape: Shape, { gain = 1, ...options }: XavierOptions = {}): Tensor {
  checkPlace('xavierNormal', options)
  const { fanIn, fanOut } = fans('xavierNormal', shape)
  return normal(shape, { std: gain * Math.sqrt(2 / (fanIn + fanOut)), ...options })
}

const symmetric = (shape: Shape, bound: number, options: LayerOptions): Tensor => uniform(shape, { low: -bound, high: bound, ...options })

/** What PyTorch's linear and convolution layers start with: weight and bias uniform in ±1/√fanIn of the weight. */
export function fanInUniform(shape: Shape, fanIn: number, options: LayerOptions): Tensor {
  return symmetric(shape, 1 / Math.sqrt(Math.max(1, fanIn)), options)
}

export interface TruncNormalOptions extends LayerOptions {
  /** Default 0. */
  readonly mean?: number
  /** Of the normal that is truncated. Default 1. */
  readonly std?: number
  /** The least value. Default −2, whatever mean and std are. */
  readonly a?: number
  /** The greatest value. Default 2. */
  readonly b?: number
}

/** Where the normal distribution, in deviations, has less than what 24 random bits resolve. */
const furthest = 4

/**
 * The normal distribution between a and b, by its inverse distribution function of a uniform draw. Throws ConfigError
 * unless a < b, and where [a, b] begins further than 4 standard deviations from the mean.
 */
export function truncNormal(shape: Shape, { mean = 0, std = 1, a = -2, b = 2, ...options }: TruncNormalOptions = {}): Tensor {
  checkPlace('truncNormal', options)
  const [from, to] = [(a - mean) / std, (b - mean) / std]
  if (!(std > 0 && from < to)) throw new ConfigError(`truncNormal: there is nothing between ${a} and ${b} with a standard deviation of ${std}; use a < b and a positive std`)
  if (from > furthest || to < -furthest) throw new ConfigError(`truncNormal: [${a}, ${b}] lies more than ${furthest} standard deviations of ${std} from the mean ${mean}; move it closer`)
  const { dtype = 'f32', ...rest } = options
  // 2Φ − 1 = erf(·/√2), short of ±1, where its inverse is infinite.
  const u = uniform(shape, { low: erf(from / Math.SQRT2), high: erf(to / Math.SQRT2), ...rest })
  const z = mul(erfinv(clamp(u, literal(2 ** -24 - 1), literal(1 - 2 ** -24))), literal(Math.SQRT2))
  return cast(clamp(add(mul(z, std), mean), a, b), dtype)
}

/** The error function of a number: 2/√π e^(−x²) Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n + 1)), whose terms have one sign. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x) // But for 10⁻¹⁶.
  let [term, sum] = [x, x]
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

/** Coefficients of Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011), for single precision. */
const central = [2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6, 0.00021858087, -0.00125372503, -0.00417768164, 0.246640727, 1.50140941]
const tail = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682]

/** Σ cᵢ xⁿ⁻ⁱ, by Horner's rule. */
function polynomial(x: Tensor, [highest = 0, next = 0, ...rest]: readonly number[]): Tensor {
  return rest.reduce((p, c) => add(mul(p, x), literal(c)), add(mul(x, literal(highest)), literal(next)))
}

/** The inverse of the error function for |x| < 1, to a few ulp of f32. */
function erfinv(x: Tensor): Tensor {
  const w = neg(log(mul(sub(literal(1), x), add(x, literal(1)))))
  const near = polynomial(sub(w, literal(2.5)), central)
  const far = polynomial(sub(sqrt(w), literal(3)), tail)
  return mul(x, where(less(w, literal(5)), near, far))
}
