/** Activation functions as modules, for lists of layers. All but PReLU have no parameters; x [...] → the same shape. */
import { cast, elu, full, gelu, greaterEqual, hardswish, leakyRelu, logSoftmax, mish, mul, quickGelu, relu, reshape, sigmoid, silu, softmax, softplus, tanh, variable, where } from '../engine/index.ts'
import type { EluOptions, GeluOptions, LeakyReluOptions, Shape, SoftplusOptions, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { checkWord, refuseOthers } from '../engine/error.ts'
import { floating, literal } from '../engine/ops/elementwise.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { checkChannels } from './norm.ts'
import { checkPlace } from './options.ts'

/** max(x, 0). */
export class ReLU extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return relu(x)
  }
}

/** x for x > 0, negativeSlope · x elsewhere. */
export class LeakyReLU extends Module<[TensorLike], Tensor> {
  readonly #options: LeakyReluOptions

  constructor({ negativeSlope = 0.01, ...others }: LeakyReluOptions = {}) {
    super()
    refuseOthers('LeakyReLU', others)
    this.#options = { negativeSlope }
  }

  forward(x: TensorLike): Tensor {
    return leakyRelu(x, this.#options)
  }
}

/** min(max(x, 0), 6); the gradient at 0 and at 6 is 0. */
export class ReLU6 extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    const y = relu(x)
    return where(greaterEqual(y, literal(6)), literal(6), y)
  }
}

export interface PReLUOptions extends LayerOptions {
  /** What the slopes start as. Default 0.25. */
  readonly init?: number
}

/**
 * x for x > 0, weight · x elsewhere (He et al., arXiv:1502.01852), with one slope for all or one for each channel.
 * x [...], or [N, C, …] for C slopes → the same shape. Throws ShapeError for other channels.
 */
export class PReLU extends Module<[TensorLike], Tensor> {
  /** [slopes]. */
  weight: Variable
  readonly #slopes: number

  constructor(slopes = 1, { init = 0.25, generator: _, ...options }: PReLUOptions = {}) {
    super()
    checkPlace('PReLU', options)
    this.weight = variable(full([slopes], init, options), { name: 'weight' })
    this.#slopes = slopes
  }

  forward(x: TensorLike): Tensor {
    const v = floating(x)
    if (this.#slopes === 1) return this.#bent(v, [])
    checkChannels('PReLU', v, this.#slopes)
    return this.#bent(v, [this.#slopes, ...v.shape.slice(2).map(() => 1)])
  }

  #bent(x: Tensor, slopes: Shape): Tensor {
    return cast(leakyRelu(x, { negativeSlope: reshape(this.weight, slopes) }), x.dtype)
  }
}

/** x for x > 0, α(eˣ − 1) elsewhere. */
export class ELU extends Module<[TensorLike], Tensor> {
  readonly #options: EluOptions

  constructor({ alpha = 1, ...others }: EluOptions = {}) {
    super()
    refuseOthers('ELU', others)
    this.#options = { alpha }
  }

  forward(x: TensorLike): Tensor {
    return elu(x, this.#options)
  }
}

/** scale · x for x > 0, scale · α(eˣ − 1) elsewhere, which keeps mean 0 and variance 1 (Klambauer et al., arXiv:1706.02515). */
export class SELU extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return mul(elu(x, { alpha: literal(1.6732632423543772) }), literal(1.0507009873554805))
  }
}

/** x · σ(x). */
export class SiLU extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return silu(x)
  }
}

/** x · min(max(x + 3, 0), 6) / 6. */
export class Hardswish extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return hardswish(x)
  }
}

/** x · Φ(x), exactly or by tanh. Throws ConfigError for another `approximate`. */
export class GELU extends Module<[TensorLike], Tensor> {
  readonly #options: GeluOptions

  constructor({ approximate = 'none', ...others }: GeluOptions = {}) {
    super()
    refuseOthers('GELU', others)
    checkWord('GELU', 'approximate', approximate, ['none', 'tanh'])
    this.#options = { approximate }
  }

  forward(x: TensorLike): Tensor {
    return gelu(x, this.#options)
  }
}

/** x · σ(1.702 x), as in CLIP. */
export class QuickGELU extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return quickGelu(x)
  }
}

/** x · tanh(softplus(x)). */
export class Mish extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return mish(x)
  }
}

/** log(1 + e^(βx)) / β; x where βx is above the threshold of 20. */
export class Softplus extends Module<[TensorLike], Tensor> {
  readonly #options: SoftplusOptions

  constructor(options: SoftplusOptions = {}) {
    super()
    const { beta: _, threshold: __, ...others } = options
    refuseOthers('Softplus', others)
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return softplus(x, this.#options)
  }
}

/** 1 / (1 + e⁻ˣ). */
export class Sigmoid extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return sigmoid(x)
  }
}

/** The hyperbolic tangent. */
export class Tanh extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return tanh(x)
  }
}

/** exp(x) over its sum along axis `dim`; negative axes count from the back. */
export class Softmax extends Module<[TensorLike], Tensor> {
  readonly #dim: number

  constructor(dim: number) {
    super()
    this.#dim = dim
  }

  forward(x: TensorLike): Tensor {
    return softmax(x, this.#dim)
  }
}

/** The logarithm of the softmax along axis `dim`, finite where that is 0; negative axes count from the back. */
export class LogSoftmax extends Module<[TensorLike], Tensor> {
  readonly #dim: number

  constructor(dim: number) {
    super()
    this.#dim = dim
  }

  forward(x: TensorLike): Tensor {
    return logSoftmax(x, this.#dim)
  }
}
