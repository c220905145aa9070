/**
 * Noise schedules: x_t = √ᾱ_t x₀ + √(1−ᾱ_t) ε (Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models",
 * arXiv:2006.11239, eq. 4), and the same process in the variable of Karras et al. (arXiv:2206.00364):
 * x_t / √ᾱ_t = x₀ + σ ε with σ = √((1−ᾱ)/ᾱ). Tables are float64.
 */
import { ConfigError } from '../engine/index.ts'
import { at } from '../engine/shape.ts'

export interface LinearScheduleOptions {
  /** T, the number of timesteps. Default 1000. */
  readonly timesteps?: number
  /** β at the first timestep; default 1e-4. */
  readonly first?: number
  /** β at the last; default 0.02. */
  readonly last?: number
}

export class NoiseSchedule {
  /** ᾱ_t = Π_{s≤t} (1 − β_s), t = 0 … T−1. */
  readonly alphaBar: Float64Array<ArrayBuffer>
  /** The factor of x₀ at timestep t, √ᾱ_t. */
  readonly signal: Float64Array<ArrayBuffer>
  /** The factor of ε at timestep t, √(1−ᾱ_t). */
  readonly noise: Float64Array<ArrayBuffer>
  /** σ_t = √((1−ᾱ_t)/ᾱ_t), ascending. */
  readonly sigmas: Float64Array<ArrayBuffer>

  /** From the variances β_t of the steps, each in (0, 1). */
  constructor(betas: Float64Array) {
    if (betas.length === 0 || betas.some((beta) => !(beta > 0 && beta < 1))) throw new ConfigError('NoiseSchedule: every beta must lie strictly between 0 and 1, and there must be one')
    let product = 1
    this.alphaBar = Float64Array.from(betas, (beta) => (product *= 1 - beta))
    this.signal = this.alphaBar.map(Math.sqrt)
    this.noise = this.alphaBar.map((a) => Math.sqrt(1 - a))
    this.sigmas = this.alphaBar.map((a) => Math.sqrt((1 - a) / a))
  }

  /** β from `first` to `last` in equal steps: DDPM's schedule. */
  static linear({ timesteps = 1000, first = 1e-4, last = 0.02 }: LinearScheduleOptions = {}): NoiseSchedule {
    return new NoiseSchedule(Float64Array.from({ length: timesteps }, (_, t) => first + (t * (last - first)) / Math.max(1, timesteps - 1)))
  }

  /** T. */
  get timesteps(): number {
    return this.alphaBar.length
  }

  /** The timestep, between integers, at which the noise level is `sigma`: linear in ln σ between table entries, as in k-diffusion. */
  timestepOf(sigma: number): number {
    const { sigmas } = this
    const last = sigmas.length - 1
    if (!(sigma > at(sigmas, 0))) return 0
    if (sigma >= at(sigmas, last)) return last
    const above = sigmas.findIndex((s) => s > sigma)
    const [low, high] = [Math.log(at(sigmas, above - 1)), Math.log(at(sigmas, above))]
    return above - 1 + (Math.log(sigma) - low) / (high - low)
  }

  /**
   * Noise levels for a sampler of `steps` steps, descending, then 0. Timesteps T−1 … spaced evenly and starting from the
   * last, `trailing` in Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv:2305.08891, table 2).
   */
  levels(steps: number): number[] {
    if (!(Number.isInteger(steps) && steps >= 1 && steps <= this.timesteps)) throw new ConfigError(`levels: ${steps} steps cannot be taken through ${this.timesteps} timesteps; use an integer from 1 to ${this.timesteps}`)
    const picked = Array.from({ length: steps }, (_, i) => Math.round(this.timesteps - (i * this.timesteps) / steps) - 1)
    return [...picked.map((t) => at(this.sigmas, t)), 0]
  }
}
