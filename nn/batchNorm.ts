/** Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167) with running statistics, as in PyTorch. */
import { ShapeError, add, cast, div, mean, mul, ones, reshape, sqrt, stopGradient, sub, zeros } from '../engine/index.ts'
import type { Tensor, TensorLike, Variable } from '../engine/index.ts'
import { literal } from '../engine/ops/elementwise.ts'
import { statisticsType } from '../engine/ops/operands.ts'
import { centre } from '../engine/ops/statistics.ts'
import { formatShape, sizeOf } from '../engine/shape.ts'
import { Buffer, Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { checkImage, onesParameter, zerosParameter } from './norm.ts'
import { checkPlace } from './options.ts'

export interface BatchNormOptions extends LayerOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
  /** The share that a batch has in the running statistics; null for the mean of all batches. Default 0.1. */
  readonly momentum?: number | null
  /** Whether there are weight and bias. Default true. */
  readonly affine?: boolean
  /** Whether there are running statistics; without them evaluation too normalises by its batch. Default true. */
  readonly trackRunningStats?: boolean
}

/**
 * Each channel by its mean and variance over a batch in training, which also move the running statistics; by those in
 * evaluation. x [N, C, H, W] → the same shape. Throws ShapeError for other inputs, and in training for one value a channel.
 */
export class BatchNorm2d extends Module<[TensorLike], Tensor> {
  weight: Variable | undefined
  bias: Variable | undefined
  readonly running_mean: Buffer | undefined
  /** Of the unbiased variance. */
  readonly running_var: Buffer | undefined
  /** [], i32. */
  readonly num_batches_tracked: Buffer | undefined
  readonly #channels: number
  readonly #eps: number
  readonly #momentum: number | null

  constructor(channels: number, { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true, ...options }: BatchNormOptions = {}) {
    super()
    checkPlace('BatchNorm2d', options)
    const { generator: _, ...place } = options
    this.weight = onesParameter([channels], affine, options)
    this.bias = zerosParameter([channels], affine, options)
    this.running_mean = trackRunningStats ? new Buffer(zeros([channels], place), { name: 'running_mean' }) : undefined
    this.running_var = trackRunningStats ? new Buffer(ones([channels], place), { name: 'running_var' }) : undefined
    this.num_batches_tracked = trackRunningStats ? new Buffer(zeros([], { ...place, dtype: 'i32' }), { name: 'num_batches_tracked' }) : undefined
    this.#channels = channels
    this.#eps = eps
    this.#momentum = momentum
  }

  forward(x: TensorLike): Tensor {
    checkImage('BatchNorm2d', x, this.#channels)
    const { running_mean: runningMean, running_var: runningVar } = this
    const wide = cast(x, statisticsType(x.dtype))
    const byBatch = this.training || runningMean === undefined || runningVar === undefined
    const y = byBatch ? this.#byBatch(wide) : this.#normalized(sub(wide, this.#perChannel(runningMean)), runningVar)
    return cast(y, x.dtype)
  }

  #byBatch(x: Tensor): Tensor {
    const count = sizeOf(x.shape) / this.#channels
    if (count < 2 && this.training) throw new ShapeError(`BatchNorm2d: input ${formatShape(x.shape)} has one value for each channel, whose variance is 0; train on more images or pixels, or call eval()`)
    const { average, centred } = centre(x, [0, 2, 3])
    const variance = mean(mul(centred, centred), [0, 2, 3])
    this.#track(reshape(average, [this.#channels]), mul(variance, literal(count / (count - 1))))
    return this.#normalized(centred, variance)
  }

  /** Moves the running statistics, if there are any, with the next realisation. */
  #track(average: Tensor, variance: Tensor): void {
    const { running_mean: runningMean, running_var: runningVar, num_batches_tracked: batches } = this
    if (runningMean === undefined || runningVar === undefined || batches === undefined) return
    batches.assign(add(batches, 1))
    const share = this.#momentum === null ? div(literal(1), cast(batches, runningMean.dtype)) : literal(this.#momentum)
    for (const [running, latest] of [[runningMean, average], [runningVar, variance]] as const) {
      const value = cast(stopGradient(latest), running.dtype)
      running.assign(add(running, mul(sub(value, running), share)))
    }
  }

  #normalized(centred: Tensor, variance: TensorLike): Tensor {
    const y = div(centred, this.#perChannel(sqrt(add(variance, literal(this.#eps)))))
    const scaled = this.weight === undefined ? y : mul(y, this.#perChannel(this.weight))
    return this.bias === undefined ? scaled : add(scaled, this.#perChannel(this.bias))
  }

  #perChannel(x: TensorLike): Tensor {
    return reshape(x, [this.#channels, 1, 1])
  }
}
