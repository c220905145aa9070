/** Activation functions as modules, for lists of layers. They have no parameters; x [...] → the same shape. */
import { div, elu, gelu, leakyRelu, mish, mul, quickGelu, relu, sigmoid, silu, softplus, tanh } from '../engine/index.ts'
import type { EluOptions, GeluOptions, LeakyReluOptions, Tensor, TensorLike } from '../engine/index.ts'
import { Module } from './module.ts'
import { checkWord } from './options.ts'

/** max(x, 0). */
export class ReLU extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return relu(x)
  }
}

/** x for x > 0, negativeSlope · x elsewhere. */
export class LeakyReLU extends Module<[TensorLike], Tensor> {
  readonly #options: LeakyReluOptions

  constructor(options: LeakyReluOptions = {}) {
    super()
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return leakyRelu(x, this.#options)
  }
}

/** x for x > 0, α(eˣ − 1) elsewhere. */
export class ELU extends Module<[TensorLike], Tensor> {
  readonly #options: EluOptions

  constructor(options: EluOptions = {}) {
    super()
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return elu(x, this.#options)
  }
}

/** x · σ(x). */
export class SiLU extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return silu(x)
  }
}

/** x · Φ(x), exactly or by tanh. Throws ConfigError for another `approximate`. */
export class GELU extends Module<[TensorLike], Tensor> {
  readonly #options: GeluOptions

  constructor(options: GeluOptions = {}) {
    super()
    checkWord('GELU', 'approximate', options.approximate ?? 'none', ['none', 'tanh'])
    this.#options = options
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

export interface SoftplusOptions {
  /** Default 1. */
  readonly beta?: number
}

/** log(1 + e^(βx)) / β. */
export class Softplus extends Module<[TensorLike], Tensor> {
  readonly #beta: number

  constructor({ beta = 1 }: SoftplusOptions = {}) {
    super()
    this.#beta = beta
  }

  forward(x: TensorLike): Tensor {
    return this.#beta === 1 ? softplus(x) : div(softplus(mul(x, this.#beta)), this.#beta)
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
