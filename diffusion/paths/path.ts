/**
 * Noise paths: how a clean image x₀ becomes noise ε, x = α·x₀ + σ·ε, as time goes on. A level is the pair (α, σ) and not their
 * ratio, so that levels of pure noise, α = 0, are levels like others. All in float64.
 */
import { ConfigError } from '../../engine/index.ts'
import type { Factor } from '../arithmetic.ts'

/** A level for a whole batch. */
export interface HostLevel {
  /** The path's time. */
  readonly t: number
  /** Factor of the clean image. */
  readonly alpha: number
  /** Factor of the noise. */
  readonly sigma: number
}

/** A level that may be of its own for each image: numbers, or tensors that broadcast over the images, such as [B, 1, 1, 1]. */
export interface Level {
  readonly t: Factor
  readonly alpha: Factor
  readonly sigma: Factor
}

/** How a level changes with time. */
export interface Slope {
  readonly alpha: number
  readonly sigma: number
}

export interface NoisePath {
  readonly name: string
  /** The times at which there is a level: noise grows from the first to the last. */
  readonly range: readonly [first: number, last: number]
  /** What a grid covers unless it is told otherwise: within the range, and with a finite σ/α > 0 at both ends where the path has such. */
  readonly span: readonly [first: number, last: number]
  /** How many timesteps there are, 0 … T − 1, where time is counted so. */
  readonly timesteps?: number
  /** The level of an image without noise, where a reverse process ends. */
  readonly clean: HostLevel
  /** The standard deviation of the noise alone that sampling begins with at a level; default: 1 where α² + σ² = 1, else σ. */
  readonly beginning?: (level: HostLevel) => number
  /** The level at time t. Throws ConfigError for a time outside `range`. */
  at(t: number): HostLevel
  /** (dα/dt, dσ/dt) at time t: with them, dx/dt = α'·x₀ + σ'·ε. At a timestep of a table, that of the interval below. Throws ConfigError for a time outside `range`. */
  slope(t: number): Slope
  /** The time at which ln(α²/σ²) is `logSnr`. Throws ConfigError where it never is. */
  timeOf(logSnr: number): number
}

/** ln(α²/σ²): ∞ without noise, −∞ for nothing but noise. */
export const logSnr = ({ alpha, sigma }: HostLevel): number => 2 * Math.log(alpha / sigma)

/** σ/α, which Karras et al. (arXiv:2206.00364) call σ: the noise on an image that is not scaled down. */
export const noiseRatio = ({ alpha, sigma }: HostLevel): number => sigma / alpha

/** The level of a path where σ/α is `ratio`. */
export const levelOf = (path: NoisePath, ratio: number): HostLevel => (ratio === 0 ? path.clean : path.at(path.timeOf(-2 * Math.log(ratio))))

/** How far outside a range rounding may have carried a time. */
const slack = 1e-9

/** `t`, put on the end of the range that rounding carried it past. Throws ConfigError for one that is outside. */
export function inRange({ name, range: [first, last] }: Pick<NoisePath, 'name' | 'range'>, t: number): number {
  const room = slack * Math.max(1, Math.abs(Number.isFinite(last) ? last - first : t))
  if (!(t >= first - room && t <= last + room)) throw new ConfigError(`${name}: time ${t} is outside the path, which goes from ${first} to ${last}; use a time in that range`)
  return Math.min(last, Math.max(first, t))
}

/** `found`, the time of that log-SNR, if the path has it. */
export function found({ name, range: [first, last] }: Pick<NoisePath, 'name' | 'range'>, t: number, wanted: number): number {
  const room = slack * Math.max(1, Math.abs(Number.isFinite(last) ? last - first : t))
  if (!(t >= first - room && t <= last + room)) throw new ConfigError(`${name}: no time has the log-SNR ${wanted} (σ/α = ${Math.exp(-wanted / 2)}); the path goes from ${first} to ${last}`)
  return Math.min(last, Math.max(first, t))
}

/** (α, σ) with α² + σ² = 1 and that log-SNR. */
export const variancePreserving = (wanted: number): { readonly alpha: number; readonly sigma: number } => ({ alpha: 1 / Math.sqrt(1 + Math.exp(-wanted)), sigma: 1 / Math.sqrt(1 + Math.exp(wanted)) })

/** (α', σ') of a level with α² + σ² = 1, given how its log-SNR changes with time. */
export const preservingSlope = ({ alpha, sigma }: HostLevel, change: number): Slope => ({ alpha: (alpha * sigma ** 2 * change) / 2, sigma: (-sigma * alpha ** 2 * change) / 2 })
