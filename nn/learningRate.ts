/**
 * Learning rates, and other numbers of a run, as pure functions of the step k = 0, 1, 2, …, the number of steps before.
 * Their values are those of torch.optim.lr_scheduler, except that they stay where they end.
 */
import { ConfigError } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'

export type Schedule = (step: number) => number

/** The same value at every step. */
export function constantSchedule(lr: number): Schedule {
  return () => lr
}

export interface SpanOptions {
  /** From the first value to the last. */
  readonly steps: number
  /** The value afterwards. Default 0. */
  readonly final?: number
}

/** A straight line from `lr` to `final`. Throws ConfigError, as all here, for a number of steps that is none. */
export function linearSchedule(lr: number, { steps, final = 0, ...others }: SpanOptions): Schedule {
  refuseOthers('linearSchedule', others)
  count('linearSchedule', 'steps', steps)
  return polynomialSchedule(lr, { steps, final })
}

/** Half a cosine from `lr` to `final` (Loshchilov and Hutter, "SGDR", arXiv:1608.03983, eq. 5, one period). */
export function cosineSchedule(lr: number, { steps, final = 0, ...others }: SpanOptions): Schedule {
  refuseOthers('cosineSchedule', others)
  count('cosineSchedule', 'steps', steps)
  return (k) => cosine(lr, final, Math.min(k / steps, 1))
}

/** `final` + (`lr` − `final`)·(1 − k/steps)^power. Default power 1. */
export function polynomialSchedule(lr: number, { steps, final = 0, power = 1, ...others }: SpanOptions & { readonly power?: number }): Schedule {
  refuseOthers('polynomialSchedule', others)
  count('polynomialSchedule', 'steps', steps)
  return (k) => final + (lr - final) * (1 - Math.min(k / steps, 1)) ** power
}

export interface RestartOptions {
  /** Steps of the first period, T₀. */
  readonly steps: number
  /** Each period is this many times as long as the one before, T_mult ≥ 1. Default 1. */
  readonly factor?: number
  /** The value at the end of each. Default 0. */
  readonly final?: number
}

/** Half a cosine from `lr` towards `final`, again and again (SGDR, arXiv:1608.03983, eq. 5). */
export function cosineRestartsSchedule(lr: number, { steps, factor = 1, final = 0, ...others }: RestartOptions): Schedule {
  refuseOthers('cosineRestartsSchedule', others)
  count('cosineRestartsSchedule', 'steps', steps)
  if (!(factor >= 1)) throw new ConfigError(`cosineRestartsSchedule: factor is ${factor}; use a number of at least 1`)
  return (k) => {
    let [since, period] = [k, steps]
    for (; since >= period; period *= factor) since -= period
    return cosine(lr, final, since / period)
  }
}

/** lr / √(1 + k/timescale): after a warm-up of `timescale` steps, the schedule of "Attention Is All You Need" (arXiv:1706.03762, eq. 3). */
export function inverseSqrtSchedule(lr: number, { timescale, ...others }: { readonly timescale: number }): Schedule {
  refuseOthers('inverseSqrtSchedule', others)
  count('inverseSqrtSchedule', 'timescale', timescale)
  return (k) => lr / Math.sqrt(1 + k / timescale)
}

/** lr·gammaᵏ. */
export function exponentialSchedule(lr: number, { gamma, ...others }: { readonly gamma: number }): Schedule {
  refuseOthers('exponentialSchedule', others)
  return (k) => lr * gamma ** k
}

/** `lr` times `gamma` once for every `size` steps. Default gamma 0.1. */
export function stepSchedule(lr: number, { size, gamma = 0.1, ...others }: { readonly size: number; readonly gamma?: number }): Schedule {
  refuseOthers('stepSchedule', others)
  count('stepSchedule', 'size', size)
  return (k) => lr * gamma ** Math.floor(k / size)
}

/** `lr` times `gamma` for every milestone that k has reached. Default gamma 0.1. */
export function multiStepSchedule(lr: number, { milestones, gamma = 0.1, ...others }: { readonly milestones: readonly number[]; readonly gamma?: number }): Schedule {
  refuseOthers('multiStepSchedule', others)
  return (k) => lr * gamma ** milestones.filter((milestone) => milestone <= k).length
}

/** `schedule` behind `steps` steps over which its first value is approached in a straight line, from `start` times it. Default start 0. */
export function withWarmup(schedule: Schedule, steps: number, { start = 0, ...others }: { readonly start?: number } = {}): Schedule {
  refuseOthers('withWarmup', others)
  if (!(steps >= 0 && steps < Infinity)) throw new ConfigError(`withWarmup: a warm-up of ${steps} steps is none; use a number of at least 0`)
  return (k) => (k < steps ? schedule(0) * (start + (1 - start) * (k / steps)) : schedule(k - steps))
}

/** One schedule after another, each counting its own steps: the next one begins at each milestone. Throws ConfigError unless there is one between every two. */
export function sequentialSchedule(schedules: readonly Schedule[], milestones: readonly number[]): Schedule {
  if (schedules.length !== milestones.length + 1 || milestones.some((m, i) => !(m > (milestones[i - 1] ?? 0)))) {
    throw new ConfigError(`sequentialSchedule: ${schedules.length} schedules cannot change at the steps [${milestones.join()}]; give one step between every two, in rising order`)
  }
  return (k) => {
    const past = milestones.filter((milestone) => milestone <= k).length
    return schedules[past]?.(k - (milestones[past - 1] ?? 0)) ?? Number.NaN
  }
}

export interface OneCycleOptions {
  /** Of the whole run. */
  readonly steps: number
  /** The share of them in which the rate rises. Default 0.3. */
  readonly rise?: number
  /** Default 'cosine'. */
  readonly anneal?: 'cosine' | 'linear'
  /** The rate starts at the highest divided by this. Default 25. */
  readonly divFactor?: number
  /** The rate ends at its start divided by this. Default 1e4. */
  readonly finalDivFactor?: number
  /** Where the rate is highest, and at both ends. Default 0.85 and 0.95. */
  readonly momentum?: readonly [base: number, max: number]
}

/**
 * Smith and Topin's one cycle (arXiv:1708.07120) as torch's OneCycleLR: the rate rises to `maxLr` and falls far below
 * its start, while the momentum, for `momentum` or the first of the `betas`, does the opposite.
 */
export function oneCycle(maxLr: number, { steps, rise = 0.3, anneal = 'cosine', divFactor = 25, finalDivFactor = 1e4, momentum: [base, max] = [0.85, 0.95], ...others }: OneCycleOptions): { readonly lr: Schedule; readonly momentum: Schedule } {
  refuseOthers('oneCycle', others)
  count('oneCycle', 'steps', steps)
  const top = rise * steps - 1
  const last = steps - 1
  if (!(top > 0 && top < last)) throw new ConfigError(`oneCycle: a rise of ${rise} of ${steps} steps leaves nothing to rise or to fall in; use more steps, or a share nearer to 0.3`)
  const between = anneal === 'cosine' ? cosine : (from: number, to: number, share: number): number => from + (to - from) * share
  const cycle = (ends: number, middle: number, final: number): Schedule => (k) => (k <= top ? between(ends, middle, k / top) : between(middle, final, Math.min((k - top) / (last - top), 1)))
  const start = maxLr / divFactor
  return { lr: cycle(start, maxLr, start / finalDivFactor), momentum: cycle(max, base, max) }
}

/** From `from` to `to` along half a cosine. */
function cosine(from: number, to: number, share: number): number {
  return to + (from - to) * 0.5 * (1 + Math.cos(Math.PI * share))
}

function count(schedule: string, name: string, value: number): void {
  if (!(value > 0 && value < Infinity)) throw new ConfigError(`${schedule}: ${name} is ${value}; use a positive number of steps`)
}
