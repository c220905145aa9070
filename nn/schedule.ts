/** Learning rates as pure functions of the step, k = 0, 1, 2, …, the number of steps already taken. */
import { ConfigError } from '../engine/index.ts'

export type Schedule = (step: number) => number

/** The same rate at every step. */
export function constantSchedule(rate: number): Schedule {
  return () => rate
}

export interface CosineOptions {
  /** Steps of the whole run; afterwards the rate stays at `final`. */
  readonly steps: number
  /** Steps over which the rate grows linearly, reaching `rate` in the last of them. Default 0. */
  readonly warmup?: number
  /** The rate at the end. Default 0. */
  readonly final?: number
}

/**
 * Linear warm-up, rate·(k+1)/warmup, then half a cosine from `rate` to `final` (Loshchilov and Hutter, "SGDR",
 * arXiv:1608.03983, eq. 5, one period). Throws ConfigError for a warm-up longer than the run.
 */
export function cosineSchedule(rate: number, { steps, warmup = 0, final = 0 }: CosineOptions): Schedule {
  if (!(warmup >= 0 && warmup <= steps)) throw new ConfigError(`cosineSchedule: a warm-up of ${warmup} steps does not fit into ${steps} steps; make it shorter`)
  return (k) => {
    if (k < warmup) return (rate * (k + 1)) / warmup
    const progress = steps === warmup ? 1 : Math.min(1, (k - warmup) / (steps - warmup))
    return final + (rate - final) * 0.5 * (1 + Math.cos(Math.PI * progress))
  }
}
