/** Modules in a row, and those that stand in a row without parameters: identity, flatten, dropout. Lists of modules or variables are arrays. */
import { ConfigError, dropout, flatten } from '../engine/index.ts'
import type { RandomGenerator, Tensor, TensorLike } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import { Module } from './module.ts'

/** What can stand in a row: one tensor in, one out. */
export type Layer = Module<[TensorLike], Tensor>

/** Each module on what the one before gives. They are `0`, `1`, … in the state dict: `0.weight`. Throws ConfigError for what is no module. */
export class Sequential extends Module<[TensorLike], Tensor> {
  /** The modules, by place. */
  readonly [place: number]: Layer

  constructor(...layers: readonly Layer[]) {
    super()
    layers.forEach(checkLayer)
    Object.assign(this, layers)
  }

  forward(x: TensorLike): Tensor {
    // Read anew, since layers may be replaced.
    const layers: unknown[] = Object.values(this)
    return layers.filter((layer): layer is Layer => layer instanceof Module).reduce<Tensor>((y, layer) => layer.call(y), x.read())
  }
}

function checkLayer(layer: unknown, place: number): void {
  if (layer instanceof Module) return
  const [what, instead] = Array.isArray(layer) ? ['a list', 'spread it: new Sequential(...layers)'] : typeof layer === 'function' ? ['a function', 'use a module, such as new ReLU(), or one whose forward calls it'] : [String(layer), 'leave it out, or use new Identity()']
  throw new ConfigError(`Sequential: layer ${place} is ${what}, not a module; ${instead}`)
}

/** x itself. */
export class Identity extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return x.read()
  }
}

export interface FlattenOptions {
  /** The first axis to merge. Default 1. */
  readonly start?: number
  /** The last one. Default −1. */
  readonly end?: number
}

/** Axes `start` to `end` as one: x [N, …] → [N, product of the rest]. */
export class Flatten extends Module<[TensorLike], Tensor> {
  readonly #options: Required<FlattenOptions>

  constructor({ start = 1, end = -1, ...others }: FlattenOptions = {}) {
    super()
    refuseOthers('Flatten', others)
    this.#options = { start, end }
  }

  forward(x: TensorLike): Tensor {
    return flatten(x, this.#options.start, this.#options.end)
  }
}

export interface DropoutLayerOptions {
  /** What is drawn from. Default: the generator of the input's device. */
  readonly generator?: RandomGenerator
}

/**
 * In training, elements dropped to 0 with probability `p` and the others multiplied by 1 / (1 − p); in evaluation, x
 * itself. Throws ConfigError for a p outside 0 … 1.
 */
export class Dropout extends Module<[TensorLike], Tensor> {
  /** May be changed from step to step. */
  p: number
  readonly #options: DropoutLayerOptions

  constructor(p = 0.5, options: DropoutLayerOptions = {}) {
    super()
    const { generator: _, ...others } = options
    refuseOthers('Dropout', others)
    if (!(p >= 0 && p <= 1)) throw new ConfigError(`Dropout: p is ${p}, but is a share of the elements; use a number from 0 to 1`)
    this.p = p
    this.#options = options
  }

  forward(x: TensorLike): Tensor {
    return this.training && this.p > 0 ? dropout(x, { p: this.p, ...this.#options }) : x.read()
  }
}
