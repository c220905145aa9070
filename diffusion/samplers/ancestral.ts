/** Samplers that go from level to level by the posterior of the forward process, whole (DDPM), in part, or not at all (DDIM). */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError, add, exp, mul, sub } from '../../engine/index.ts'
import { combine } from '../arithmetic.ts'
import { ancestral, between, transfer } from './sampler.ts'
import type { Sampler } from './sampler.ts'

export interface EtaOptions {
  /** The share of the posterior's noise that is put in: 0 for none, 1 for all. */
  readonly eta?: number
}

function checkEta(op: string, eta: number): void {
  if (!(eta >= 0)) throw new ConfigError(`${op}: eta is ${eta}; use 0 for a deterministic sampler, 1 for the posterior's noise`)
}

/**
 * DDIM: x' = α'·x₀ + √(σ'² − s²)·ε + s·z, s = η·√(σ'² − (σ'²·α/(α'·σ))²) (Song et al., arXiv:2010.02502, eq. 12 and 16). With η = 0, the default, it is
 * Euler's method for the probability-flow ODE in σ/α, and for a rectified flow in t; with η = 1 it is `ancestralEuler`, and on a path of
 * timesteps DDPM with the lesser variance.
 */
export function ddim({ eta = 0, ...others }: EtaOptions = {}): Sampler {
  refuseOthers('ddim', others)
  checkEta('ddim', eta)
  return {
    name: 'ddim',
    step(state, problem) {
      const [from, to] = between(this, state, problem)
      const said = problem.denoise(state.x, from)
      const { down, up } = ancestral(from, to, eta)
      const x = transfer(said, down)
      return { step: state.step + 1, x: up > 0 ? combine([1, x], [up, problem.noise(state.step)]) : x, x0: said.x0 }
    },
  }
}

/** Euler's method: `ddim` without noise, which is the same step. */
export const euler = (): Sampler => ({ ...ddim(), name: 'euler' })

/** Euler's method to a level below the next one, and from there up by fresh noise: `ddim` with η = 1, as k-diffusion names it. On a flow, its ancestral sampler. */
export function ancestralEuler({ eta = 1, ...others }: EtaOptions = {}): Sampler {
  refuseOthers('ancestralEuler', others)
  return { ...ddim({ eta }), name: 'ancestralEuler' }
}

/**
 * DDIM backwards: from an image to the noise that DDIM makes it of, x' = α'·x₀ + σ'·ε with what is said at the level it leaves (Song et al.,
 * arXiv:2010.02502, section 4.3). Give it the levels from least to most noise.
 */
export const ddimInversion = (): Sampler => ({ ...ddim(), name: 'ddimInversion' })

export interface DdpmOptions {
  /**
   * The variance of a step: `small` is the posterior's, β̃; `large` the forward process's, β (Ho et al., arXiv:2006.11239, section 3.2); `learned` what the network
   * says between them (Nichol and Dhariwal, arXiv:2102.09672, eq. 15). Default small.
   */
  readonly variance?: 'small' | 'large' | 'learned'
}

/** DDPM: a draw from the posterior of the level before, given x and the x₀ expected behind it (Ho et al., arXiv:2006.11239, eq. 6 and 7, algorithm 2). */
export function ddpm({ variance = 'small', ...others }: DdpmOptions = {}): Sampler {
  refuseOthers('ddpm', others)
  return {
    name: 'ddpm',
    step(state, problem) {
      const [from, to] = between(this, state, problem)
      const said = problem.denoise(state.x, from)
      const { down, up } = ancestral(from, to, 1)
      const mean = transfer(said, down)
      const next = { step: state.step + 1, x0: said.x0 }
      if (up === 0) return { ...next, x: mean } // The last step adds no noise.
      const noise = problem.noise(state.step)
      const forward = Math.sqrt(from.sigma ** 2 - ((from.alpha / to.alpha) * to.sigma) ** 2) // √β, of the step that led here
      if (variance !== 'learned') return { ...next, x: combine([1, mean], [variance === 'small' ? up : forward, noise]) }
      if (said.variance === undefined) throw new ConfigError('ddpm: the network says nothing of the variance; use one that is read by withLearnedVariance, or the variance small or large')
      const [least, most] = [Math.log(up), Math.log(forward)] // ln std = v·ln √β + (1 − v)·ln √β̃
      return { ...next, x: add(mean, mul(exp(add(mul(said.variance, sub(most, least)), least)), noise)) }
    },
  }
}
