/** The two-layer networks of transformers, plain and gated (Shazeer, arXiv:2002.05202), with diffusers' names. */
import { gelu, mul, silu, split } from '../engine/index.ts'
import type { GeluOptions, Tensor, TensorLike } from '../engine/index.ts'
import { checkWord } from '../engine/error.ts'
import { Dropout } from './container.ts'
import { Linear, checkLinear } from './linear.ts'
import type { LinearOptions } from './linear.ts'
import { Module } from './module.ts'

/** h · f(gate), where [h, gate] = proj(x). x [..., in] → [..., out]. */
abstract class Gated extends Module<[TensorLike], Tensor> {
  readonly proj: Linear

  constructor(inputs: number, outputs: number, options: LinearOptions = {}) {
    super()
    checkLinear(new.target.name, options)
    this.proj = new Linear(inputs, 2 * outputs, options)
  }

  protected gated(x: TensorLike, activation: (gate: TensorLike) => Tensor): Tensor {
    const [h, gate] = split(this.proj.call(x), 2, -1)
    if (h === undefined || gate === undefined) throw new RangeError('Gated: two halves')
    return mul(h, activation(gate))
  }
}

/** h · gelu(gate), where [h, gate] = proj(x). x [..., in] → [..., out]. */
export class GEGLU extends Gated {
  forward(x: TensorLike): Tensor {
    return this.gated(x, gelu)
  }
}

/** h · silu(gate), where [h, gate] = proj(x). x [..., in] → [..., out]. */
export class SwiGLU extends Gated {
  forward(x: TensorLike): Tensor {
    return this.gated(x, silu)
  }
}

/** gelu(proj(x)). */
class ProjectedGELU extends Module<[TensorLike], Tensor> {
  readonly proj: Linear
  readonly #options: GeluOptions

  constructor(inputs: number, outputs: number, options: LinearOptions, approximate: GeluOptions) {
    super()
    this.proj = new Linear(inputs, outputs, options)
    this.#options = approximate
  }

  forward(x: TensorLike): Tensor {
    return gelu(this.proj.call(x), this.#options)
  }
}

export interface FeedForwardOptions extends LinearOptions {
  /** Size of the result. Default: that of the input. */
  readonly outputs?: number
  /** The inner size over that of the input. Default 4. */
  readonly mult?: number
  /** Default `geglu`; `geluTanh` is GELU by tanh. */
  readonly activation?: 'geglu' | 'swiglu' | 'gelu' | 'geluTanh'
  /** Of the inner values, in training. Default 0. */
  readonly dropout?: number
}

/** Projection with activation, dropout, projection. x [..., size] → [..., outputs]. Throws ConfigError for another activation. */
export class FeedForward extends Module<[TensorLike], Tensor> {
  readonly net: readonly [Module<[TensorLike], Tensor>, Dropout, Linear]

  constructor(size: number, { outputs = size, mult = 4, activation = 'geglu', dropout = 0, ...options }: FeedForwardOptions = {}) {
    super()
    checkLinear('FeedForward', options)
    const inner = Math.floor(size * mult)
    const make = {
      geglu: () => new GEGLU(size, inner, options),
      swiglu: () => new SwiGLU(size, inner, options),
      gelu: () => new ProjectedGELU(size, inner, options, {}),
      geluTanh: () => new ProjectedGELU(size, inner, options, { approximate: 'tanh' }),
    }
    checkWord('FeedForward', 'activation', activation, Object.keys(make))
    const { bias: _, dtype: __, device: ___, ...draw } = options
    this.net = [make[activation](), new Dropout(dropout, draw), new Linear(inner, outputs, options)]
  }

  forward(x: TensorLike): Tensor {
    return this.net.reduce<Tensor>((h, layer) => layer.call(h), x.read())
  }
}
