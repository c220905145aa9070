/** Normalisation layers, with PyTorch's names, defaults and initial values: weights of 1, biases of 0. */
import { groupNorm, ones, variable, zeros } from '../engine/index.ts'
import type { Tensor, TensorLike, Variable } from '../engine/index.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'

export interface GroupNormLayerOptions extends LayerOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
  /** Whether there are weight and bias. Default true. */
  readonly affine?: boolean
  /** Whether SiLU follows, fused. Default false. */
  readonly silu?: boolean
}

/** Group normalisation (arXiv:1803.08494). x [N, C, …], weight and bias [C] → the same shape. */
export class GroupNorm extends Module<[TensorLike], Tensor> {
  readonly weight: Variable | undefined
  readonly bias: Variable | undefined
  readonly #groups: number
  readonly #rest: { readonly epsilon: number; readonly silu: boolean }

  constructor(groups: number, channels: number, { eps = 1e-5, affine = true, silu = false, generator: _, ...options }: GroupNormLayerOptions = {}) {
    super()
    this.weight = affine ? variable(ones([channels], options), { name: 'weight' }) : undefined
    this.bias = affine ? variable(zeros([channels], options), { name: 'bias' }) : undefined
    this.#groups = groups
    this.#rest = { epsilon: eps, silu }
  }

  forward(x: TensorLike): Tensor {
    return groupNorm(x, this.#groups, this.weight, this.bias, this.#rest)
  }
}
