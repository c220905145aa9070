/**
 * Samplers, in the manner of k-diffusion: a generator over descending noise levels that ends in 0, in the variable
 * x = x₀ + σ·ε. Each step is yielded, so that whoever draws decides when to realise it and can stop in between.
 */
import { ConfigError, add, mul } from '../engine/index.ts'
import type { Tensor } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import type { Denoiser } from './denoiser.ts'

export interface SamplerStep {
  /** Which step this was, from 0. */
  readonly index: number
  /** The noise level that `x` has now. */
  readonly sigma: number
  readonly x: Tensor
  /** What the denoiser saw behind the x before. */
  readonly denoised: Tensor
}

/** Standard normal noise for step `index`, in the shape of x. */
export type NoiseSource = (index: number) => Tensor

export interface DdimOptions {
  /** Share of the ancestral noise: 0 is deterministic, 1 is DDPM's ancestral sampling. Default 0. */
  readonly eta?: number
  /** Needed if eta > 0. */
  readonly noise?: NoiseSource
}

/**
 * DDIM (Song et al., arXiv:2010.02502, eq. 12 and 16). In x = x_t/√ᾱ_t its step is x' = D + σ_down·(x − D)/σ + σ_up·z
 * with σ_up = η·σ'·√(1 − σ'²/σ²) and σ_down² = σ'² − σ_up²: Euler's method where η = 0, and where η = 1 the posterior
 * of DDPM (Ho et al., arXiv:2006.11239, eq. 7), which k-diffusion calls Euler ancestral.
 */
export function* ddim(denoise: Denoiser, x: Tensor, sigmas: readonly number[], { eta = 0, noise }: DdimOptions = {}): Generator<SamplerStep, Tensor, void> {
  checkLevels('ddim', sigmas)
  if (eta > 0 && noise === undefined) throw new ConfigError(`ddim: eta is ${eta}, which needs noise; pass { noise }, or eta 0`)
  let current = x
  for (let index = 0; index + 1 < sigmas.length; index++) {
    const [sigma, next] = [at(sigmas, index), at(sigmas, index + 1)]
    const up = Math.min(next, eta * next * Math.sqrt(Math.max(0, 1 - (next / sigma) ** 2)))
    const keep = Math.sqrt(next ** 2 - up ** 2) / sigma // σ_down/σ
    const denoised = denoise(current, sigma)
    const moved = add(mul(denoised, 1 - keep), mul(current, keep))
    current = eta > 0 && noise !== undefined ? add(moved, mul(noise(index), up)) : moved
    yield { index, sigma: next, x: current, denoised }
  }
  return current
}

function checkLevels(sampler: string, sigmas: readonly number[]): void {
  if (sigmas.length < 2 || sigmas.at(-1) !== 0) throw new ConfigError(`${sampler}: noise levels must end in 0 and be at least two; use NoiseSchedule.levels`)
  for (let i = 1; i < sigmas.length; i++) {
    const [high, low] = [at(sigmas, i - 1), at(sigmas, i)]
    if (!(high > low && low >= 0)) throw new ConfigError(`${sampler}: noise level ${low} follows ${high}, but they must descend`)
  }
}
