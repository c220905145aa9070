/** Layers, with PyTorch's names, defaults and initial values. */
import { conv2d, groupNorm, linear, tensor, variable } from '../engine/index.ts'
import type { Device, Generator, Padding, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { kaimingUniform, uniformBias } from './init.ts'
import { Module } from './module.ts'

export interface LayerOptions {
  readonly device: Device
  /** Draws the initial values. */
  readonly generator: Generator
}

/** y = x · weightᵀ + bias. x [..., in] → [..., out]. */
export class Linear extends Module<[TensorLike], Tensor> {
  /** [out, in]. */
  readonly weight: Variable
  /** [out]. */
  readonly bias: Variable

  constructor(inputs: number, outputs: number, options: LayerOptions) {
    super()
    this.weight = variable(kaimingUniform([outputs, inputs], options))
    this.bias = variable(uniformBias([outputs], inputs, options))
  }

  forward(x: TensorLike): Tensor {
    return linear(x, this.weight, this.bias)
  }
}

export interface Conv2dOptions extends LayerOptions {
  /** Default 1. */
  readonly stride?: number
  /** Zeros around the image. Default 0. */
  readonly padding?: Padding
  /** Default 1. */
  readonly groups?: number
}

/** Cross-correlation with a square kernel. x [N, in, H, W] → [N, out, H', W']. */
export class Conv2d extends Module<[TensorLike], Tensor> {
  /** [out, in/groups, K, K]. */
  readonly weight: Variable
  /** [out]. */
  readonly bias: Variable
  readonly #window: { readonly stride: number; readonly padding: Padding; readonly groups: number }

  constructor(inputs: number, outputs: number, size: number, { stride = 1, padding = 0, groups = 1, ...options }: Conv2dOptions) {
    super()
    const shape = [outputs, inputs / groups, size, size]
    this.weight = variable(kaimingUniform(shape, options))
    this.bias = variable(uniformBias([outputs], (inputs / groups) * size * size, options))
    this.#window = { stride, padding, groups }
  }

  forward(x: TensorLike): Tensor {
    return conv2d(x, this.weight, { bias: this.bias, ...this.#window })
  }
}

export interface GroupNormOptions {
  readonly device: Device
  /** Default 1e-5. */
  readonly epsilon?: number
  /** Whether SiLU follows, fused. Default false. */
  readonly silu?: boolean
}

/** Group normalisation. x [N, C, …] → the same shape. Starts as weight 1 and bias 0. */
export class GroupNorm extends Module<[TensorLike], Tensor> {
  /** [C]. */
  readonly weight: Variable
  /** [C]. */
  readonly bias: Variable
  readonly #groups: number
  readonly #rest: { readonly epsilon: number; readonly silu: boolean }

  constructor(groups: number, channels: number, { device, epsilon = 1e-5, silu = false }: GroupNormOptions) {
    super()
    this.weight = variable(tensor(new Float32Array(channels).fill(1), null, { device }))
    this.bias = variable(tensor(new Float32Array(channels), null, { device }))
    this.#groups = groups
    this.#rest = { epsilon, silu }
  }

  forward(x: TensorLike): Tensor {
    return groupNorm(x, this.#groups, this.weight, this.bias, this.#rest)
  }
}
