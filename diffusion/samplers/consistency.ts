/** Samplers of networks that were taught to see all the way to the image: few steps, each to x₀ and back up. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import { combine } from '../arithmetic.ts'
import type { Conditions, Guidance } from '../denoiser.ts'
import { Prediction } from '../prediction.ts'
import { addedNoise, between, transfer } from './sampler.ts'
import type { Sampler, SamplerStep } from './sampler.ts'

export interface BoundaryOptions {
  /** By what the path's time is multiplied; default 10, latent consistency models' (Luo et al., arXiv:2310.04378, section 5.1). */
  readonly scaling?: number
  /** Default 0.5. */
  readonly sigmaData?: number
}

/**
 * x₀ as a consistency function says it, which is x itself at time 0: c_skip·x + c_out·x₀ with c_skip = s²/((k·t)² + s²), c_out = k·t/√((k·t)² + s²) (Song et
 * al., arXiv:2303.01469, eq. 5). Of networks that were trained so: a guidance that goes innermost.
 */
export function consistencyBoundary<C extends Conditions>({ scaling = 10, sigmaData = 0.5, ...others }: BoundaryOptions = {}): Guidance<C> {
  refuseOthers('consistencyBoundary', others)
  return (denoise) => (x, level, conditions) => {
    const time = scaling * level.t
    const total = time ** 2 + sigmaData ** 2
    return Prediction.ofImage(combine([sigmaData ** 2 / total, x], [time / Math.sqrt(total), denoise(x, level, conditions).x0]), x, level)
  }
}

/** Multistep consistency sampling: x' = α'·x₀ + σ'·z (Song et al., arXiv:2303.01469, algorithm 1; latent consistency models and their LCM sampler). */
export const consistency = (): Sampler => ({
  name: 'consistency',
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const { x0 } = problem.denoise(state.x, from)
    const x = to.sigma === 0 ? transfer({ x0, eps: x0 }, to) : combine([to.alpha, x0], [to.sigma, problem.noise(state.step)])
    return { step: state.step + 1, x, x0 }
  },
})

export interface TcdOptions {
  /** γ: 0 for no noise, 1 for that of `consistency`; default 0.3. */
  readonly gamma?: number
}

/** Strategic stochastic sampling: by DDIM to time (1 − γ)·t', a whole timestep where there are such, and up to t' by noise (Zheng et al., arXiv:2402.19159, algorithm 4). */
export function tcd({ gamma = 0.3, ...others }: TcdOptions = {}): Sampler {
  refuseOthers('tcd', others)
  if (!(gamma >= 0 && gamma <= 1)) throw new ConfigError(`tcd: gamma is ${gamma}; use 0 to 1`)
  return {
    name: 'tcd',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const said = problem.denoise(state.x, from)
      const next = { step: state.step + 1, x0: said.x0 }
      if (gamma === 0 || to.sigma === 0) return { ...next, x: transfer(said, to) }
      const { path } = problem
      const time = Math.max(path.range[0], (1 - gamma) * to.t)
      const below = path.at(path.timesteps === undefined ? time : Math.floor(time))
      return { ...next, x: addedNoise(transfer(said, below), below, to, problem.noise(state.step)) }
    },
  }
}
