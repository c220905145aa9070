/** Normalisation layers, with PyTorch's names, defaults and initial values: weights of 1, biases of 0. */
import { ShapeError, cast, groupNorm, layerNorm, ones, rmsNorm, variable, zeros } from '../engine/index.ts'
import type { Shape, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { formatShape } from '../engine/shape.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { checkPlace, share } from './options.ts'

/** A weight of ones, or none. */
export function onesParameter(shape: Shape, wanted: boolean, { generator: _, ...options }: LayerOptions): Variable | undefined {
  return wanted ? variable(ones(shape, options), { name: 'weight' }) : undefined
}

/** A bias of zeros, or none. */
export function zerosParameter(shape: Shape, wanted: boolean, { generator: _, ...options }: LayerOptions): Variable | undefined {
  return wanted ? variable(zeros(shape, options), { name: 'bias' }) : undefined
}

/** Throws ShapeError unless x is [N, C, …] with C channels. */
export function checkChannels(op: string, x: TensorLike, channels: number): void {
  if (x.shape[1] !== channels) throw new ShapeError(`${op}: input ${formatShape(x.shape)} is not [N,${channels},…]; reshape it, or make the layer for its channels`)
}

/** Throws ShapeError unless x is [N, C, H, W] with C channels. */
export function checkImage(op: string, x: TensorLike, channels: number): void {
  if (x.shape.length !== 4 || x.shape[1] !== channels) throw new ShapeError(`${op}: input ${formatShape(x.shape)} is not [N,${channels},H,W]; reshape it, or make the layer for its channels`)
}

export interface GroupNormLayerOptions extends LayerOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
  /** Whether there are weight and bias. Default true. */
  readonly affine?: boolean
  /** Whether SiLU follows, fused. Default false. */
  readonly silu?: boolean
}

/** Group normalisation (arXiv:1803.08494). x [N, C, …], weight and bias [C] → the same shape. Throws ConfigError for groups that do not divide C. */
export class GroupNorm extends Module<[TensorLike], Tensor> {
  weight: Variable | undefined
  bias: Variable | undefined
  readonly #channels: number
  readonly #groups: number
  readonly #rest: { readonly eps: number; readonly silu: boolean }

  constructor(groups: number, channels: number, { eps = 1e-5, affine = true, silu = false, ...options }: GroupNormLayerOptions = {}) {
    super()
    checkPlace('GroupNorm', options)
    share('GroupNorm', 'channels', channels, groups)
    this.weight = onesParameter([channels], affine, options)
    this.bias = zerosParameter([channels], affine, options)
    this.#channels = channels
    this.#groups = groups
    this.#rest = { eps, silu }
  }

  forward(x: TensorLike): Tensor {
    checkChannels('GroupNorm', x, this.#channels)
    return cast(groupNorm(x, this.#groups, this.weight, this.bias, this.#rest), x.dtype)
  }
}

export interface InstanceNormOptions extends LayerOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
  /** Whether there are weight and bias. Default false. */
  readonly affine?: boolean
}

/** Instance normalisation (arXiv:1607.08022): each channel of each image by itself. x [N, C, H, W] → the same shape. */
export class InstanceNorm2d extends Module<[TensorLike], Tensor> {
  weight: Variable | undefined
  bias: Variable | undefined
  readonly #channels: number
  readonly #eps: number

  constructor(channels: number, { eps = 1e-5, affine = false, ...options }: InstanceNormOptions = {}) {
    super()
    checkPlace('InstanceNorm2d', options)
    this.weight = onesParameter([channels], affine, options)
    this.bias = zerosParameter([channels], affine, options)
    this.#channels = channels
    this.#eps = eps
  }

  forward(x: TensorLike): Tensor {
    checkImage('InstanceNorm2d', x, this.#channels)
    return cast(groupNorm(x, this.#channels, this.weight, this.bias, { eps: this.#eps }), x.dtype)
  }
}

export interface LayerNormLayerOptions extends LayerOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
  /** Whether there is a weight, and a bias unless `bias` says otherwise. Default true. */
  readonly elementwiseAffine?: boolean
  /** Default true. */
  readonly bias?: boolean
}

/** Layer normalisation over the last axes, whose sizes are `shape` (arXiv:1607.06450). x [..., …shape] → the same shape. */
export class LayerNorm extends Module<[TensorLike], Tensor> {
  weight: Variable | undefined
  bias: Variable | undefined
  readonly #shape: Shape
  readonly #eps: number

  constructor(shape: number | Shape, { eps = 1e-5, elementwiseAffine = true, bias = true, ...options }: LayerNormLayerOptions = {}) {
    super()
    checkPlace('LayerNorm', options)
    this.#shape = typeof shape === 'number' ? [shape] : shape
    this.#eps = eps
    this.weight = onesParameter(this.#shape, elementwiseAffine, options)
    this.bias = zerosParameter(this.#shape, elementwiseAffine && bias, options)
  }

  forward(x: TensorLike): Tensor {
    return cast(layerNorm(x, this.#shape, this.weight, this.bias, { eps: this.#eps }), x.dtype)
  }
}

export interface RMSNormOptions extends LayerOptions {
  /** Added to the mean square. Default: the distance from 1 to the next f32, or f64 for such an input. */
  readonly eps?: number
  /** Whether there is a weight. Default true. */
  readonly elementwiseAffine?: boolean
}

/** Root-mean-square normalisation over the last axes, whose sizes are `shape` (arXiv:1910.07467). x [..., …shape] → the same shape. */
export class RMSNorm extends Module<[TensorLike], Tensor> {
  weight: Variable | undefined
  readonly #shape: Shape
  readonly #eps: number | undefined

  constructor(shape: number | Shape, { eps, elementwiseAffine = true, ...options }: RMSNormOptions = {}) {
    super()
    checkPlace('RMSNorm', options)
    this.#shape = typeof shape === 'number' ? [shape] : shape
    this.#eps = eps
    this.weight = onesParameter(this.#shape, elementwiseAffine, options)
  }

  forward(x: TensorLike): Tensor {
    return cast(rmsNorm(x, this.#shape, this.weight, { eps: this.#eps ?? (x.dtype === 'f64' ? 2 ** -52 : 2 ** -23) }), x.dtype)
  }
}
