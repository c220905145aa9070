/** How a network is told the time: sinusoids of the timestep (Vaswani et al., arXiv:1706.03762, section 3.5), then an MLP. */
import { silu } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { sinusoidalEmbedding } from '../nn/embedding.ts'
import { Linear } from '../nn/linear.ts'
import { Module } from '../nn/module.ts'
import type { LayerOptions } from '../nn/module.ts'
import { checkPlace } from '../nn/options.ts'

/** [cos(t·f), sin(t·f)] with fⱼ = 10000^(−j/half), as diffusers' Timesteps with flip_sin_to_cos. t [B] → [B, size]. */
export function timestepEmbedding(t: TensorLike, size: number): Tensor {
  return sinusoidalEmbedding(t, size, { order: 'cosSin' })
}

/** Linear, SiLU, Linear. [B, in] → [B, out]. */
export class TimestepEmbedding extends Module<[TensorLike], Tensor> {
  readonly linear_1: Linear
  readonly linear_2: Linear

  constructor(inputs: number, outputs: number, options: LayerOptions) {
    super()
    checkPlace('TimestepEmbedding', options)
    this.linear_1 = new Linear(inputs, outputs, options)
    this.linear_2 = new Linear(outputs, outputs, options)
  }

  forward(x: TensorLike): Tensor {
    return this.linear_2.call(silu(this.linear_1.call(x)))
  }
}
