/** The numbers of optimisers: what one may be, the range of each, and its value at a step. */
import { ConfigError, ShapeError } from '../../engine/index.ts'
import type { Tensor, TensorLike } from '../../engine/index.ts'
import { formatShape } from '../../engine/shape.ts'
import type { Schedule } from '../learningRate.ts'

/** A number, a function of the step, or a scalar tensor []. None is part of a plan: changing it compiles nothing. */
export type HyperParameter = number | Schedule | TensorLike

interface Range {
  readonly holds: (x: number) => boolean
  readonly words: string
}

const notNegative: Range = { holds: (x) => x >= 0 && x < Infinity, words: 'a number of at least 0' }
const notPositive: Range = { holds: (x) => x <= 0 && x > -Infinity, words: 'a number of at most 0' }
const positive: Range = { holds: (x) => x > 0, words: 'a positive number' }
const fraction: Range = { holds: (x) => x >= 0 && x < 1, words: 'a number of at least 0 and below 1' }

export type NumberName =
  | 'lr' | 'beta1' | 'beta2' | 'beta2Decay' | 'alpha' | 'rho' | 'eps' | 'eps1' | 'eps2' | 'd' | 'lrDecay' | 'weightDecay' | 'momentum' | 'momentumDecay' | 'dampening'
  | 'maxNorm' | 'clipValue'

/** What options call them, and what they may be. */
const known: Readonly<Record<NumberName, readonly [label: string, Range]>> = {
  lr: ['lr', notNegative],
  beta1: ['betas[0]', fraction],
  beta2: ['betas[1]', fraction],
  beta2Decay: ['beta2Decay', notPositive],
  alpha: ['alpha', fraction],
  rho: ['rho', fraction],
  eps: ['eps', notNegative],
  eps1: ['eps[0]', notNegative],
  eps2: ['eps[1]', notNegative],
  d: ['d', positive],
  lrDecay: ['lrDecay', notNegative],
  weightDecay: ['weightDecay', notNegative],
  momentum: ['momentum', notNegative],
  momentumDecay: ['momentumDecay', notNegative],
  dampening: ['dampening', fraction],
  maxNorm: ['maxNorm', positive],
  clipValue: ['clipValue', positive],
}

type Numbers<T> = Readonly<Partial<Record<NumberName, T>>>

/** `Object.entries`, which forgets what the keys are. */
const entries = <T>(numbers: Numbers<T>): [NumberName, T][] => Object.entries(numbers) as [NumberName, T][]

/** Throws ConfigError for a number out of range and ShapeError for a tensor that is none; schedules are checked at each step. */
export function checkNumbers(optimizer: string, numbers: Numbers<HyperParameter>): void {
  for (const [name, x] of entries(numbers)) {
    const [label, { holds, words }] = known[name]
    if (typeof x === 'number' && !holds(x)) throw new ConfigError(`${optimizer}: ${label} is ${x}; use ${words}`)
    if (typeof x === 'object' && x.shape.length > 0) throw new ShapeError(`${optimizer}: ${label} has shape ${formatShape(x.shape)}, but must be a number or a scalar []`)
  }
}

/** Their values after k updates. Throws ConfigError for a schedule that leaves the range. */
export function numbersAt<T extends Numbers<HyperParameter>>(optimizer: string, numbers: T, k: number): { [N in keyof T]: number | Tensor } {
  return Object.fromEntries(entries(numbers).map(([name, x]) => [name, numberAt(optimizer, name, x, k)])) as { [N in keyof T]: number | Tensor }
}

function numberAt(optimizer: string, name: NumberName, x: HyperParameter, k: number): number | Tensor {
  if (typeof x === 'number') return x
  if (typeof x === 'object') return x.read()
  const value = x(k)
  const [label, { holds, words }] = known[name]
  if (!holds(value)) throw new ConfigError(`${optimizer}: the schedule of ${label} is ${value} at step ${k}; use ${words}`)
  return value
}
