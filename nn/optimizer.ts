/**
 * AdamW with global-norm clipping and a moving average of the weights: one fused op over all parameters
 * (Loshchilov and Hutter, arXiv:1711.05101). Its numbers may change from step to step.
 */
import { ConfigError, adamWStep, add, cast, div, globalNorm, isFinite, minimum, tensor, variable } from '../engine/index.ts'
import type { Tensor, Variable } from '../engine/index.ts'
import { hostArray } from '../engine/dtype.ts'
import { sizeOf } from '../engine/shape.ts'
import type { Schedule } from './schedule.ts'

export interface AdamWOptions {
  /** Learning rate; a function of the number of steps taken, or a number. Default 1e-3. */
  readonly rate?: number | Schedule
  /** Decay of the first moment. Default 0.9. */
  readonly beta1?: number
  /** Decay of the second. Default 0.999. */
  readonly beta2?: number
  /** Added outside the root. Default 1e-8. */
  readonly epsilon?: number
  /** Default 0.01. */
  readonly weightDecay?: number
  /** Gradients whose norm over all parameters is larger are scaled down to it. Default: never. */
  readonly clip?: number
  /** Decay of a moving average of the parameters; a function of the number of steps taken, or a number. Default: none kept. */
  readonly emaDecay?: number | Schedule
}

type Variables = Readonly<Record<string, Variable>>

const valueAt = (x: number | Schedule, step: number): number => (typeof x === 'number' ? x : x(step))

export class AdamW {
  readonly parameters: Variables
  /** First moments m. */
  readonly first: Variables
  /** Second moments v. */
  readonly second: Variables
  /** Moving averages of the parameters; without `emaDecay`, none. */
  readonly average: Variables | undefined
  /** Steps taken. */
  step = 0
  readonly #options: Required<Omit<AdamWOptions, 'emaDecay' | 'clip'>> & Pick<AdamWOptions, 'emaDecay' | 'clip'>

  /** Throws ConfigError for numbers out of range. */
  constructor(parameters: Variables, options: AdamWOptions = {}) {
    const { rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = options
    for (const [name, beta] of Object.entries({ beta1, beta2 })) if (!(beta >= 0 && beta < 1)) throw new ConfigError(`AdamW: ${name} is ${beta}; use a number of at least 0 and below 1`)
    if (!(epsilon >= 0 && weightDecay >= 0 && (options.clip ?? 1) > 0)) throw new ConfigError(`AdamW: epsilon ${epsilon} and weightDecay ${weightDecay} must be at least 0, and clip ${options.clip ?? 'absent'} positive`)
    this.#options = { ...options, rate, beta1, beta2, epsilon, weightDecay }
    this.parameters = parameters
    this.first = zerosLike(parameters)
    this.second = zerosLike(parameters)
    this.average = options.emaDecay === undefined ? undefined : mapVariables(parameters, (p) => variable(p.read()))
  }

  /** The learning rate of the next step. */
  get rate(): number {
    return valueAt(this.#options.rate, this.step)
  }

  /**
   * Takes a step: assigns parameters, moments and averages, which the next realisation computes. Returns the norm of
   * all gradients [], before clipping; where it is not finite the step changes nothing.
   */
  update(gradients: Readonly<Record<string, Tensor>>): Tensor {
    const { beta1, beta2, epsilon, weightDecay, clip, emaDecay = 0 } = this.#options
    const names = Object.keys(this.parameters)
    const missing = names.filter((name) => !Object.hasOwn(gradients, name))
    if (missing.length > 0) throw new ConfigError(`AdamW: no gradient for ${missing.join(', ')}; pass one for each parameter`)
    const pick = <T>(from: Readonly<Record<string, T>>): T[] => names.flatMap((name) => from[name] ?? [])
    const norm = globalNorm(pick(gradients))
    const taken = this.step + 1
    const next = adamWStep({
      parameters: pick(this.parameters),
      gradients: pick(gradients),
      first: pick(this.first),
      second: pick(this.second),
      ema: this.average && pick(this.average),
      lr: this.rate,
      beta1,
      beta2,
      epsilon,
      weightDecay,
      correction1: -Math.expm1(taken * Math.log(beta1)), // 1 − β₁ᵗ without cancellation
      correction2: -Math.expm1(taken * Math.log(beta2)),
      gradScale: clip === undefined ? 1 : minimum(div(clip, add(norm, 1e-6)), 1),
      emaDecay: valueAt(emaDecay, this.step),
      apply: cast(isFinite(norm), 'f32'),
    })
    const moves: [Variables | undefined, readonly Tensor[]][] = [[this.parameters, next.parameters], [this.first, next.first], [this.second, next.second], [this.average, next.ema]]
    for (const [variables, values] of moves) if (variables !== undefined) assignAll(pick(variables), values)
    this.step = taken
    return norm
  }

  /** Every variable it owns, under PyTorch's names for them and the parameter's: `exp_avg.conv_in.weight`. */
  variables(): Record<string, Variable> {
    const named = (prefix: string, variables: Variables = {}): [string, Variable][] => Object.entries(variables).map(([name, v]) => [`${prefix}.${name}`, v])
    return Object.fromEntries([...named('exp_avg', this.first), ...named('exp_avg_sq', this.second), ...named('ema', this.average)])
  }
}

function assignAll(variables: readonly Variable[], values: readonly Tensor[]): void {
  variables.forEach((v, i) => {
    const value = values[i]
    if (value !== undefined) v.assign(value)
  })
}

function mapVariables(variables: Variables, make: (v: Variable) => Variable): Variables {
  return Object.fromEntries(Object.entries(variables).map(([name, v]) => [name, make(v)]))
}

function zerosLike(variables: Variables): Variables {
  return mapVariables(variables, (v) => variable(tensor(hostArray(v.dtype, sizeOf(v.shape)), v.shape, { dtype: v.dtype, device: v.device })))
}
