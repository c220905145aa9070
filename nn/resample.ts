/** Layers that change the size of images: PyTorch's Upsample and poolings, and diffusers' Upsample2D and Downsample2D. */
import { avgPool2d, interpolate, maxPool2d } from '../engine/index.ts'
import type { AvgPoolOptions, InterpolateOptions, MaxPoolOptions, Padding, PerAxis, Tensor, TensorLike } from '../engine/index.ts'
import { checkWord, refuseOthers } from '../engine/error.ts'
import { spatialAxes } from '../engine/functions/interpolate.ts'
import { Conv2d } from './conv.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { checkPlace } from './options.ts'

/** `interpolate` as a module. x [N, C, …spatial] → [N, C, …size]. Throws ConfigError for another mode. */
export class Upsample extends Module<[TensorLike], Tensor> {
  readonly #options: InterpolateOptions

  constructor(options: InterpolateOptions) {
    super()
    const { size: _, scaleFactor: __, mode = 'nearest', alignCorners: ___, ...others } = options
    refuseOthers('Upsample', others)
    checkWord('Upsample', 'mode', mode, Object.keys(spatialAxes))
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return interpolate(x, this.#options)
  }
}

export interface ResampleOptions extends LayerOptions {
  /** Channels of the result. Default: those of the input. */
  readonly outputs?: number
}

/** Doubles height and width by repeating pixels, then convolves 3×3. x [N, C, H, W] → [N, outputs, 2H, 2W]. */
export class Upsample2D extends Module<[TensorLike], Tensor> {
  readonly conv: Conv2d

  constructor(channels: number, { outputs = channels, ...options }: ResampleOptions = {}) {
    super()
    checkPlace('Upsample2D', options)
    this.conv = new Conv2d(channels, outputs, 3, { ...options, padding: 1 })
  }

  forward(x: TensorLike): Tensor {
    return this.conv.call(interpolate(x, { scaleFactor: 2, mode: 'nearest' }))
  }
}

export interface DownsampleOptions extends ResampleOptions {
  /** Around x, for the convolution. Default 1; autoencoders of latent diffusion take [[0, 1], [0, 1]]. */
  readonly padding?: Padding
}

/** Halves height and width by a 3×3 convolution of stride 2. x [N, C, H, W] → [N, outputs, ⌈H/2⌉, ⌈W/2⌉]. */
export class Downsample2D extends Module<[TensorLike], Tensor> {
  readonly conv: Conv2d

  constructor(channels: number, { outputs = channels, padding = 1, ...options }: DownsampleOptions = {}) {
    super()
    checkPlace('Downsample2D', options)
    this.conv = new Conv2d(channels, outputs, 3, { ...options, stride: 2, padding })
  }

  forward(x: TensorLike): Tensor {
    return this.conv.call(x)
  }
}

/** Means of windows, which tile x unless a stride is given. x [N, C, H, W] → [N, C, ⌊(H + padding − kernel) / stride⌋ + 1, …]. */
export class AvgPool2d extends Module<[TensorLike], Tensor> {
  readonly #kernel: PerAxis
  readonly #options: AvgPoolOptions

  /** Windows of 2×2 unless given. */
  constructor(kernel: PerAxis = 2, options: AvgPoolOptions = {}) {
    super()
    const { stride: _, padding: __, ceilMode: ___, countIncludePad: ____, ...others } = options
    refuseOthers('AvgPool2d', others)
    this.#kernel = kernel
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return avgPool2d(x, this.#kernel, this.#options)
  }
}

/**
 * The largest element of each window; windows tile x unless a stride is given.
 * x [N, C, H, W] → [N, C, ⌊(H + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1, …].
 */
export class MaxPool2d extends Module<[TensorLike], Tensor> {
  readonly #kernel: PerAxis
  readonly #options: MaxPoolOptions

  constructor(kernel: PerAxis, options: MaxPoolOptions = {}) {
    super()
    const { stride: _, padding: __, ceilMode: ___, dilation: ____, ...others } = options
    refuseOthers('MaxPool2d', others)
    this.#kernel = kernel
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return maxPool2d(x, this.#kernel, this.#options)
  }
}
