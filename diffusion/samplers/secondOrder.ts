/**
 * Solvers of the probability-flow ODE in the variable of Karras et al. (arXiv:2206.00364), x/α = x₀ + s·ε with s = σ/α, where dx/ds = ε: each asks the
 * network twice a step. From a level of noise alone, s = ∞, and to a clean image they take Euler's step.
 */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { combine } from '../arithmetic.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import type { Prediction } from '../prediction.ts'
import { addedNoise, ancestral, between, intermediate, transfer } from './sampler.ts'
import type { Problem, Sampler, SamplerState } from './sampler.ts'

/** Whether Euler's step is all there is: one end is infinite, or there is no second one to ask at. */
const only = (from: HostLevel, to: HostLevel): boolean => from.alpha === 0 || to.sigma === 0

/** α'·(x₀ + s·ε + (s' − s)·slope): along another slope than ε, from where ε was said. */
const along = ({ x0, eps }: Prediction, from: HostLevel, to: HostLevel, ...slopes: readonly (readonly [number, Tensor])[]): Tensor => {
  const [s, end] = [noiseRatio(from), noiseRatio(to)]
  return combine([to.alpha, x0], [to.alpha * s, eps], ...slopes.map(([share, slope]) => [to.alpha * (end - s) * share, slope] as const))
}

/** Heun's step from x at `from` (Karras et al., algorithm 1). */
function heunStep(problem: Problem, x: Tensor, from: HostLevel, to: HostLevel): readonly [x: Tensor, x0: Tensor] {
  const said = problem.denoise(x, from)
  const guess = transfer(said, to)
  if (only(from, to)) return [guess, said.x0]
  return [along(said, from, to, [0.5, said.eps], [0.5, problem.denoise(guess, to).eps]), said.x0]
}

/** Heun's method: Euler's step, then the same with the mean of the slopes at both ends (Karras et al., arXiv:2206.00364, algorithm 1). */
export const heun = (): Sampler => ({
  name: 'heun',
  step(state, problem) {
    const [x, x0] = heunStep(problem, state.x, ...between(this, state, problem))
    return { step: state.step + 1, x, x0 }
  },
})

export interface EdmSamplerOptions {
  /** S_churn: how much noise all steps together put in; default 0. */
  readonly churn?: number
  /** S_tmin: the least σ/α at which noise is put in; default 0. */
  readonly least?: number
  /** S_tmax: the greatest; default ∞. */
  readonly most?: number
  /** S_noise: by what the noise is stronger than it should be, against what denoising loses; default 1. */
  readonly noise?: number
}

/** EDM's stochastic sampler: a little fresh noise, no more than the path has, then Heun's step from the level that this makes (Karras et al., arXiv:2206.00364, algorithm 2). */
export function edmStochastic({ churn = 0, least = 0, most = Infinity, noise = 1, ...others }: EdmSamplerOptions = {}): Sampler {
  refuseOthers('edmStochastic', others)
  if (!(churn >= 0 && noise > 0 && least <= most)) throw new ConfigError(`edmStochastic: churn ${churn}, noise ${noise}, from ${least} to ${most}; churn is at least 0, noise positive, and the range goes upwards`)
  return {
    name: 'edmStochastic',
    step(state, problem) {
      const [from, to] = between(this, state, problem)
      const s = noiseRatio(from)
      const gamma = s >= least && s <= most && Number.isFinite(s) ? Math.min(churn / (problem.levels.length - 1), Math.SQRT2 - 1) : 0
      if (gamma === 0) {
        const [x, x0] = heunStep(problem, state.x, from, to)
        return { step: state.step + 1, x, x0 }
      }
      const risen = intermediate(problem, Math.min(s * (1 + gamma), noiseRatio(problem.path.at(problem.path.range[1]))))
      const [x, x0] = heunStep(problem, addedNoise(state.x, from, risen, combine([noise, problem.noise(state.step)])), risen, to)
      return { step: state.step + 1, x, x0 }
    },
  }
}

/** The step of the midpoint method, whose middle is the geometric mean of the two σ/α. */
function midpointStep(problem: Problem, x: Tensor, from: HostLevel, to: HostLevel): readonly [x: Tensor, x0: Tensor] {
  const said = problem.denoise(x, from)
  if (only(from, to)) return [transfer(said, to), said.x0]
  const middle = intermediate(problem, Math.sqrt(noiseRatio(from) * noiseRatio(to)))
  return [along(said, from, to, [1, problem.denoise(transfer(said, middle), middle).eps]), said.x0]
}

/** The midpoint method in σ/α, its middle the geometric mean: DPM-Solver-2's level, with ε rather than x/σ taken as constant (k-diffusion's DPM2). */
export const dpm2 = (): Sampler => ({
  name: 'dpm2',
  step(state, problem) {
    const [x, x0] = midpointStep(problem, state.x, ...between(this, state, problem))
    return { step: state.step + 1, x, x0 }
  },
})

/** `dpm2` to a level below the next one, and up by fresh noise. */
export function ancestralDpm2({ eta = 1, ...others }: { readonly eta?: number } = {}): Sampler {
  refuseOthers('ancestralDpm2', others)
  return {
    name: 'ancestralDpm2',
    step(state: SamplerState, problem: Problem) {
      const [from, to] = between(this, state, problem)
      const { down, up } = ancestral(from, to, eta)
      const [x, x0] = midpointStep(problem, state.x, from, down)
      return { step: state.step + 1, x: up > 0 ? combine([1, x], [up, problem.noise(state.step)]) : x, x0 }
    },
  }
}
