/** Convolutions and their transposes, with PyTorch's names, defaults and initial values. */
import { conv1d, conv2d, conv3d, convTranspose1d, convTranspose2d, convTranspose3d, pad } from '../engine/index.ts'
import type { ConvOptions, ConvTransposeOptions, Padding, PerAxis, Tensor, TensorLike } from '../engine/index.ts'
import { checkWord } from '../engine/error.ts'
import { convPadding, perAxis } from '../engine/functions/conv.ts'
import type { PaddingWord } from '../engine/functions/conv.ts'
import { at } from '../engine/shape.ts'
import { WeightAndBias } from './linear.ts'
import type { LinearOptions } from './linear.ts'
import { share } from './options.ts'

interface WindowOptions extends LinearOptions {
  /** For all spatial axes, or one for each. Default 1. */
  readonly stride?: PerAxis
  /** Distance between the kernel's elements. Default 1. */
  readonly dilation?: PerAxis
  /** Channels and outputs fall into this many parts that do not mix. Default 1. */
  readonly groups?: number
}

export interface ConvLayerOptions extends WindowOptions {
  /** What is put around x: `same` keeps the size, at stride 1; `valid` is nothing. Default 0. */
  readonly padding?: Padding | PaddingWord
  /** What it is filled with. Default `zeros`. */
  readonly paddingMode?: 'zeros' | 'reflect' | 'replicate' | 'circular'
}

export interface ConvTransposeLayerOptions extends WindowOptions {
  /** Takes that much off the result's borders. Default 0. */
  readonly padding?: Padding
  /** Adds that much behind each axis, to choose among the sizes that a stride makes equal. Default 0. */
  readonly outputPadding?: PerAxis
}

abstract class Conv extends WeightAndBias {
  protected readonly window: Omit<ConvOptions, 'bias'>
  readonly #pad: ((x: TensorLike) => Tensor) | undefined

  constructor(op: string, axes: number, inputs: number, outputs: number, kernel: PerAxis, { stride = 1, padding = 0, dilation = 1, groups = 1, paddingMode = 'zeros', ...options }: ConvLayerOptions) {
    const size = perAxis(op, 'kernel', kernel, axes)
    share(op, 'output channels', outputs, groups)
    checkWord(op, 'paddingMode', paddingMode, ['zeros', 'reflect', 'replicate', 'circular'])
    const gaps = perAxis(op, 'dilation', dilation, axes)
    const pairs = convPadding(op, padding, perAxis(op, 'stride', stride, axes), size.map((k, i) => at(gaps, i) * (k - 1) + 1))
    super(op, [outputs, share(op, 'input channels', inputs, groups), ...size], outputs, options)
    this.window = { stride, padding: paddingMode === 'zeros' ? pairs : 0, dilation, groups }
    if (paddingMode !== 'zeros') this.#pad = (x) => pad(x, pairs, { mode: paddingMode })
  }

  protected padded(x: TensorLike): TensorLike {
    return this.#pad?.(x) ?? x
  }
}

/** Cross-correlation. x [N, in, W], weight [out, in/groups, K] → [N, out, W']. */
export class Conv1d extends Conv {
  constructor(inputs: number, outputs: number, kernel: PerAxis, options: ConvLayerOptions = {}) {
    super('Conv1d', 1, inputs, outputs, kernel, options)
  }

  forward(x: TensorLike): Tensor {
    return conv1d(this.padded(x), this.weight, { bias: this.bias, ...this.window })
  }
}

/** Cross-correlation. x [N, in, H, W], weight [out, in/groups, KH, KW] → [N, out, H', W']. */
export class Conv2d extends Conv {
  constructor(inputs: number, outputs: number, kernel: PerAxis, options: ConvLayerOptions = {}) {
    super('Conv2d', 2, inputs, outputs, kernel, options)
  }

  forward(x: TensorLike): Tensor {
    return conv2d(this.padded(x), this.weight, { bias: this.bias, ...this.window })
  }
}

/** Cross-correlation. x [N, in, D, H, W], weight [out, in/groups, KD, KH, KW] → [N, out, D', H', W']. */
export class Conv3d extends Conv {
  constructor(inputs: number, outputs: number, kernel: PerAxis, options: ConvLayerOptions = {}) {
    super('Conv3d', 3, inputs, outputs, kernel, options)
  }

  forward(x: TensorLike): Tensor {
    return conv3d(this.padded(x), this.weight, { bias: this.bias, ...this.window })
  }
}

abstract class ConvTranspose extends WeightAndBias {
  protected readonly window: Omit<ConvTransposeOptions, 'bias'>

  constructor(op: string, axes: number, inputs: number, outputs: number, kernel: PerAxis, { stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1, ...options }: ConvTransposeLayerOptions) {
    share(op, 'input channels', inputs, groups)
    super(op, [inputs, share(op, 'output channels', outputs, groups), ...perAxis(op, 'kernel', kernel, axes)], outputs, options)
    this.window = { stride, padding, outputPadding, dilation, groups }
  }
}

/** The transpose of Conv1d's linear map. x [N, in, W], weight [in, out/groups, K] → [N, out, W']. */
export class ConvTranspose1d extends ConvTranspose {
  constructor(inputs: number, outputs: number, kernel: PerAxis, options: ConvTransposeLayerOptions = {}) {
    super('ConvTranspose1d', 1, inputs, outputs, kernel, options)
  }

  forward(x: TensorLike): Tensor {
    return convTranspose1d(x, this.weight, { bias: this.bias, ...this.window })
  }
}

/** The transpose of Conv2d's linear map. x [N, in, H, W], weight [in, out/groups, KH, KW] → [N, out, H', W']. */
export class ConvTranspose2d extends ConvTranspose {
  constructor(inputs: number, outputs: number, kernel: PerAxis, options: ConvTransposeLayerOptions = {}) {
    super('ConvTranspose2d', 2, inputs, outputs, kernel, options)
  }

  forward(x: TensorLike): Tensor {
    return convTranspose2d(x, this.weight, { bias: this.bias, ...this.window })
  }
}

/** The transpose of Conv3d's linear map. x [N, in, D, H, W], weight [in, out/groups, KD, KH, KW] → [N, out, D', H', W']. */
export class ConvTranspose3d extends ConvTranspose {
  constructor(inputs: number, outputs: number, kernel: PerAxis, options: ConvTransposeLayerOptions = {}) {
    super('ConvTranspose3d', 3, inputs, outputs, kernel, options)
  }

  forward(x: TensorLike): Tensor {
    return convTranspose3d(x, this.weight, { bias: this.bias, ...this.window })
  }
}
