/** Tables of vectors, and fixed functions of times and positions: sinusoids, Gaussian Fourier features, rotations. */
import { ConfigError, ShapeError, add, arange, cast, concat, cos, embedding, equal, mul, normal, pad, reshape, sin, split, stack, stopGradient, sub, tensor, variable, where } from '../engine/index.ts'
import type { Tensor, TensorLike, Variable } from '../engine/index.ts'
import { checkWord, refuseOthers } from '../engine/error.ts'
import { literal } from '../engine/ops/elementwise.ts'
import { formatShape } from '../engine/shape.ts'
import { Buffer, Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { checkPlace } from './options.ts'

export interface EmbeddingOptions extends LayerOptions {
  /** A row that starts as zeros and is not trained; negative ones count from the back. Default: none. */
  readonly paddingIdx?: number
}

/** Rows of a table. index [...] of integers, weight [count, width] → [..., width]. Starts normal(0, 1). */
export class Embedding extends Module<[TensorLike], Tensor> {
  weight: Variable
  readonly #padding: number | undefined

  constructor(count: number, width: number, { paddingIdx, ...options }: EmbeddingOptions = {}) {
    super()
    checkPlace('Embedding', options)
    if (paddingIdx !== undefined && (!Number.isInteger(paddingIdx) || paddingIdx < -count || paddingIdx >= count)) {
      throw new ConfigError(`Embedding: paddingIdx ${paddingIdx} is not a row of a table of ${count}; use an integer from ${-count} to ${count - 1}`)
    }
    this.#padding = paddingIdx !== undefined && paddingIdx < 0 ? paddingIdx + count : paddingIdx
    const drawn = normal([count, width], options)
    const rows = reshape(arange(count, undefined, { device: drawn.device }), [count, 1])
    this.weight = variable(this.#padding === undefined ? drawn : where(equal(rows, this.#padding), 0, drawn), { name: 'weight' })
  }

  forward(index: TensorLike): Tensor {
    const y = embedding(this.weight, index)
    if (this.#padding === undefined) return y
    return where(reshape(equal(index, this.#padding), [...index.shape, 1]), stopGradient(y), y)
  }
}

export interface SinusoidalOptions {
  /** What the longest wavelength is 2π times of. Default 10000. */
  readonly maxPeriod?: number
  /** Which half comes first. Default `sinCos`; diffusion UNets take `cosSin`. */
  readonly order?: 'sinCos' | 'cosSin'
  /** Frequency j is maxPeriod^(−j / (half − shift)). Default 0; 1 makes the last one exactly 1 / maxPeriod. */
  readonly shift?: number
  /** Multiplies x. Default 1. */
  readonly scale?: number
}

/**
 * Sinusoids of times or positions (Vaswani et al., arXiv:1706.03762, section 3.5; diffusers' get_timestep_embedding).
 * x [...] → [..., size]; an odd size ends in a zero. Throws ConfigError for a size without frequencies or another order.
 */
export function sinusoidalEmbedding(x: TensorLike, size: number, { maxPeriod = 10000, order = 'sinCos', shift = 0, scale = 1, ...others }: SinusoidalOptions = {}): Tensor {
  refuseOthers('sinusoidalEmbedding', others)
  checkWord('sinusoidalEmbedding', 'order', order, orders)
  const half = Math.floor(size / 2)
  if (!Number.isInteger(size) || half - shift <= 0) throw new ConfigError(`sinusoidalEmbedding: size ${size} with a shift of ${shift} leaves no frequencies; use an integer of at least ${2 * (Math.floor(shift) + 1)}`)
  const frequencies = Float64Array.from({ length: half }, (_, j) => scale * maxPeriod ** (-j / (half - shift)))
  const y = waves(x, constantRow(x, frequencies), order)
  return size % 2 === 0 ? y : pad(y, [[0, 1]])
}

const orders = ['sinCos', 'cosSin']
const constantRow = (x: TensorLike, values: Float64Array<ArrayBuffer>): Tensor => tensor(values, null, { dtype: x.dtype === 'f64' ? 'f64' : 'f32', device: x.device })

/** Sines and cosines of x · frequencies: [...] and [n] → [..., 2n]. */
function waves(x: TensorLike, frequencies: TensorLike, order: 'sinCos' | 'cosSin'): Tensor {
  const angles = mul(reshape(x, [...x.shape, 1]), frequencies)
  return concat(order === 'sinCos' ? [sin(angles), cos(angles)] : [cos(angles), sin(angles)], x.shape.length)
}

export interface FourierOptions extends LayerOptions {
  /** Standard deviation of the frequencies. Default 1. */
  readonly scale?: number
  /** Which half comes first. Default `sinCos`. */
  readonly order?: 'sinCos' | 'cosSin'
}

/**
 * sin and cos of 2π·x·w for fixed random frequencies w ~ N(0, scale²) (Tancik et al., arXiv:2006.10739; Song et al.,
 * arXiv:2011.13456). x [...] → [..., 2·count]. The frequencies are saved as `weight` [count].
 */
export class GaussianFourierProjection extends Module<[TensorLike], Tensor> {
  readonly weight: Buffer
  readonly #order: 'sinCos' | 'cosSin'

  constructor(count: number, { scale = 1, order = 'sinCos', ...options }: FourierOptions = {}) {
    super()
    checkPlace('GaussianFourierProjection', options)
    checkWord('GaussianFourierProjection', 'order', order, orders)
    this.weight = new Buffer(normal([count], { std: scale, ...options }), { name: 'weight' })
    this.#order = order
  }

  forward(x: TensorLike): Tensor {
    return waves(x, mul(this.weight, literal(2 * Math.PI)), this.#order)
  }
}

export interface RotaryOptions {
  /** [T], one for each row of x. Default 0, 1, …. */
  readonly positions?: TensorLike
  /** Pair i turns by base^(−2i/D) a position. Default 10000. */
  readonly base?: number
  /**
   * Which elements are a pair: `interleaved`, 2i and 2i + 1, as in the paper and GPT-J; or `halves`, i and i + D/2, as in
   * GPT-NeoX and Llama. Default `interleaved`.
   */
  readonly pairs?: 'interleaved' | 'halves'
}

/**
 * Rotary position embedding (Su et al., arXiv:2104.09864, eq. 15 and 34): each pair of elements turned by an angle that
 * grows with the position, so that products of queries and keys depend on their distance. x [..., T, D] → the same shape.
 * Throws ShapeError for an odd D or for positions that are not one for each row, ConfigError for other pairs.
 */
export function rotaryEmbedding(x: TensorLike, { positions, base = 10000, pairs = 'interleaved', ...others }: RotaryOptions = {}): Tensor {
  refuseOthers('rotaryEmbedding', others)
  checkWord('rotaryEmbedding', 'pairs', pairs, ['interleaved', 'halves'])
  const [rows, size] = x.shape.slice(-2)
  if (rows === undefined || size === undefined || size % 2 !== 0) throw new ShapeError(`rotaryEmbedding: x is ${formatShape(x.shape)}, but needs axes [...,T,D] with an even D; reshape it`)
  const places = positions ?? arange(rows, undefined, { device: x.device })
  if (formatShape(places.shape) !== formatShape([rows])) throw new ShapeError(`rotaryEmbedding: positions are ${formatShape(places.shape)} but x ${formatShape(x.shape)} has ${rows} rows; pass one for each, [${rows}]`)
  const half = size / 2
  const frequencies = constantRow(x, Float64Array.from({ length: half }, (_, i) => base ** (-i / half)))
  const angles = mul(reshape(places, [rows, 1]), frequencies) // [T, D/2]
  const [c, s] = [cos(angles), sin(angles)]
  const [first, second] = pairs === 'halves' ? split(x, 2, -1) : split(reshape(x, [...x.shape.slice(0, -1), half, 2]), 2, -1).map((t) => reshape(t, [...x.shape.slice(0, -1), half]))
  if (first === undefined || second === undefined) throw new RangeError('rotaryEmbedding: two halves')
  const turned = [sub(mul(first, c), mul(second, s)), add(mul(second, c), mul(first, s))]
  return cast(pairs === 'halves' ? concat(turned, -1) : reshape(stack(turned, -1), x.shape), x.dtype)
}
