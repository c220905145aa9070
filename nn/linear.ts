/** Layers of a weight and a bias, and the linear one, with PyTorch's names, defaults and initial values. */
import { linear, variable } from '../engine/index.ts'
import type { Shape, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { fanInUniform, fans } from './init.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { checkPlace } from './options.ts'

export interface LinearOptions extends LayerOptions {
  /** Whether there is a bias. Default true. */
  readonly bias?: boolean
}

/** Throws ConfigError if there are options that linear layers do not have. */
export function checkLinear(op: string, { bias: _, ...options }: LinearOptions): void {
  checkPlace(op, options)
}

/** Both start uniform in ±1/√fanIn of the weight. */
export abstract class WeightAndBias extends Module<[TensorLike], Tensor> {
  weight: Variable
  bias: Variable | undefined

  constructor(op: string, weight: Shape, outputs: number, { bias = true, ...options }: LinearOptions) {
    super()
    checkPlace(op, options)
    const { fanIn } = fans(op, weight)
    this.weight = variable(fanInUniform(weight, fanIn, options), { name: 'weight' })
    this.bias = bias ? variable(fanInUniform([outputs], fanIn, options), { name: 'bias' }) : undefined
  }
}

/** y = x · weightᵀ + bias. x [..., in], weight [out, in], bias [out] → [..., out]. */
export class Linear extends WeightAndBias {
  constructor(inputs: number, outputs: number, options: LinearOptions = {}) {
    super('Linear', [outputs, inputs], outputs, options)
  }

  forward(x: TensorLike): Tensor {
    return linear(x, this.weight, this.bias)
  }
}
