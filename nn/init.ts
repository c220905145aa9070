/** Initial values as PyTorch draws them: Kaiming uniform (He et al., arXiv:1502.01852) with a = √5. */
import { uniform } from '../engine/index.ts'
import type { Device, Generator, Shape, Tensor } from '../engine/index.ts'
import { sizeOf } from '../engine/shape.ts'

export interface InitOptions {
  readonly device: Device
  readonly generator: Generator
}

/** For a weight [out, in, …]: uniform in ±√(6 / ((1 + a²)·fan)) = ±1/√fan, where fan is the number of inputs of an output. */
export function kaimingUniform(shape: Shape, options: InitOptions): Tensor {
  return uniformBias(shape, sizeOf(shape.slice(1)), options)
}

/** Uniform in ±1/√fan, PyTorch's start for the biases of linear and convolution layers. */
export function uniformBias(shape: Shape, fan: number, options: InitOptions): Tensor {
  const bound = 1 / Math.sqrt(Math.max(1, fan))
  return uniform(shape, { low: -bound, high: bound, ...options })
}
