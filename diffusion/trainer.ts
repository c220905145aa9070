/**
 * The training loop with all of its state: parameters, optimiser and moving average, generator, data order, step and
 * history are one file, and a run that goes on from it is bit for bit the run that was never stopped.
 */
import { ConfigError, realize, tensor, valueAndGrad } from '../engine/index.ts'
import type { Device, RandomGenerator, Shape, Tensor, Variable } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import { readItem } from '../engine/realize.ts'
import { at, sizeOf } from '../engine/shape.ts'
import { loadVariables, readVariables } from '../nn/checkpoint/load.ts'
import { EMA } from '../nn/ema.ts'
import type { EMAOptions } from '../nn/ema.ts'
import { namedParameters } from '../nn/module.ts'
import type { Module } from '../nn/module.ts'
import { AdamW } from '../nn/optim/adam.ts'
import type { AdamWOptions } from '../nn/optim/adam.ts'
import type { OptimizerOptions } from '../nn/optim/optimizer.ts'
import { encodeTraining } from './checkpoint.ts'
import type { TrainingCheckpoint } from './checkpoint.ts'
import { DataOrder } from './order.ts'

/** A loss that is no longer finite: the run cannot go on from here. */
export class DivergedError extends Error {
  override readonly name = 'DivergedError'
}

/** What is learnt from: `values` in row-major order, the first axis of `shape` counting examples. */
export interface Examples {
  readonly shape: Shape
  readonly values: Float32Array
}

export interface TrainerOptions {
  readonly model: Module
  readonly device: Device
  readonly examples: Examples
  /** Examples in a step. */
  readonly batch: number
  /** The loss [] of a batch [B, …]; draws come from the generator. */
  readonly loss: (batch: Tensor, generator: RandomGenerator) => Tensor
  /** What the loss draws from, and what orders the data; its state is part of the checkpoint. */
  readonly generator: RandomGenerator
  readonly optimizer?: AdamWOptions & Omit<OptimizerOptions, 'ema'>
  /** Of a moving average of the parameters. Default: none is kept. */
  readonly ema?: EMAOptions
}

export interface FinishedStep {
  /** Steps taken, this one included. */
  readonly step: number
  readonly loss: number
  /** Norm of all gradients before clipping. */
  readonly norm: number
}

export class Trainer {
  readonly optimizer: AdamW
  readonly ema: EMA | undefined
  readonly parameters: Readonly<Record<string, Variable>>
  /** Loss and gradient norm of every finished step. */
  history: { readonly loss: number[]; readonly norm: number[] } = { loss: [], norm: [] }
  readonly #options: TrainerOptions
  #order: DataOrder
  #last: Promise<FinishedStep> | undefined

  constructor(options: TrainerOptions) {
    const { model, device: _, examples, batch, loss: __, generator, optimizer, ema, ...others } = options
    refuseOthers('Trainer', others)
    if (!(Number.isInteger(batch) && batch > 0)) throw new ConfigError(`Trainer: a batch of ${batch} is not a number of examples; use a positive integer`)
    if (examples.values.length !== sizeOf(examples.shape)) throw new ConfigError(`Trainer: examples of shape [${examples.shape.join()}] need ${sizeOf(examples.shape)} values but there are ${examples.values.length}`)
    this.#options = options
    this.parameters = namedParameters(model)
    this.ema = ema === undefined ? undefined : new EMA(this.parameters, ema)
    this.optimizer = new AdamW(this.parameters, { ...optimizer, ...(this.ema && { ema: this.ema }) })
    this.#order = orderOf(examples, generator)
  }

  /** Steps taken. */
  get step(): number {
    return this.optimizer.step
  }

  /**
   * Trains until `until` steps are taken and yields each as it finishes. The next step is prepared and queued while one
   * runs, so the device never waits for the loss to be read. Leaving the loop early finishes the step that was begun.
   * Throws DivergedError for a loss or gradient that is not finite; such a step changes no parameter.
   */
  async *steps(until: number): AsyncGenerator<FinishedStep, void, void> {
    try {
      while (this.step < until) {
        const before = this.#last
        this.#last = this.#begin()
        this.#last.catch(() => undefined) // Reported when it is awaited.
        if (before !== undefined) yield await this.#finish(before)
      }
      const last = this.#last
      this.#last = undefined
      if (last !== undefined) yield await this.#finish(last)
    } finally {
      await this.settle()
    }
  }

  /** Waits for a step that was begun. */
  async settle(): Promise<void> {
    const last = this.#last
    this.#last = undefined
    if (last !== undefined) await this.#finish(last)
  }

  /** Everything needed to go on, as the bytes of a safetensors file; `notes` are kept with it. */
  async save(notes: Readonly<Record<string, string>> = {}): Promise<Uint8Array<ArrayBuffer>> {
    await this.settle()
    const variables = await readVariables(this.#variables())
    for (const [name, { data }] of variables) {
      if (data.some((x) => !Number.isFinite(x))) throw new DivergedError(`${name} is no longer finite at step ${this.step}; nothing was saved. Lower the learning rate, or clip the gradients`)
    }
    const { generator, device } = this.#options
    return encodeTraining({ step: this.step, history: this.history, generator: generator.state(), deviceGenerator: device.generator.state(), fingerprint: device.fingerprint, notes, variables })
  }

  /**
   * Goes on from what `save` wrote. Returns warnings, such as that it was written on another device.
   * Throws CheckpointError where it does not fit the model.
   */
  restore({ step, history, generator, deviceGenerator, fingerprint, variables }: TrainingCheckpoint, source = 'checkpoint'): string[] {
    loadVariables(this.#variables(), variables, { source, strict: true })
    const { device, examples } = this.#options
    this.#options.generator.restore(generator)
    device.generator.restore(deviceGenerator)
    this.#order = orderOf(examples, this.#options.generator)
    this.optimizer.step = step
    this.history = { loss: [...history.loss], norm: [...history.norm] }
    return fingerprint === device.fingerprint ? [] : [`the checkpoint was written on another device (${fingerprint}; this one is ${device.fingerprint}): the run goes on, but results will differ in their last digits`]
  }

  #variables(): Record<string, Variable> {
    return { ...this.#options.model.stateDict('model.'), ...this.optimizer.stateDict('optimizer.'), ...this.ema?.stateDict('ema.') }
  }

  #begin(): Promise<FinishedStep> {
    const { batch, loss, generator } = this.#options
    const { value, grads } = valueAndGrad(loss(this.#batch(this.#order.take(this.step * batch, batch)), generator), this.parameters)
    const norm = this.optimizer.update(grads)
    const { step } = this
    const done = realize(value, norm)
    return done.then(async () => ({ step, loss: await readItem(value), norm: await readItem(norm) }))
  }

  async #finish(begun: Promise<FinishedStep>): Promise<FinishedStep> {
    const finished = await begun
    const { step, loss, norm } = finished
    if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
      await this.#last?.catch(() => undefined)
      this.#last = undefined
      throw new DivergedError(`the loss is ${loss} and the gradient's norm ${norm} at step ${step}. Lower the learning rate, or clip the gradients`)
    }
    this.history.loss.push(loss)
    this.history.norm.push(norm)
    return finished
  }

  #batch(indices: Int32Array): Tensor {
    const { examples, device } = this.#options
    const size = sizeOf(examples.shape.slice(1))
    const values = new Float32Array(indices.length * size)
    indices.forEach((index, i) => values.set(examples.values.subarray(index * size, (index + 1) * size), i * size))
    return tensor(values, [indices.length, ...examples.shape.slice(1)], { device })
  }
}

/** A child of the generator orders the data, whatever the generator itself has drawn. */
function orderOf(examples: Examples, generator: RandomGenerator): DataOrder {
  return new DataOrder(at(examples.shape, 0), generator.fork(0))
}
