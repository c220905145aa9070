/** SA-Solver (Xue et al., arXiv:2309.05019): Adams' methods for the diffusion SDE in λ = ln(α/σ), whose noise τ(λ) may be chosen: 0 is the ODE, 1 the reverse SDE. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import type { Factor } from '../arithmetic.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import { lagrange } from './multistep.ts'
import { between } from './sampler.ts'
import type { Problem, Sampler, SamplerState, SamplerStep } from './sampler.ts'

export interface SaSolverOptions {
  /** τ of the step that begins at a level; default 1. */
  readonly tau?: number | ((level: HostLevel) => number)
  /** How many answers the predictor combines, 1 to 4; default 2. */
  readonly predictor?: number
  /** How many the corrector does, of which the first is that at the step's end; 0 for none; default 2. */
  readonly corrector?: number
}

interface Node {
  readonly x0: Tensor
  readonly level: HostLevel
}

const lambda = (level: HostLevel): number => -Math.log(noiseRatio(level))

/**
 * Predictor (algorithm 1, eq. 14) and corrector (eq. 17) in what is said of x₀, one question a step. A step is corrected with the noise that it was predicted with, when
 * the next one asks at its end. One to a clean image is of first order.
 */
export function saSolver({ tau = 1, predictor = 2, corrector = 2, ...others }: SaSolverOptions = {}): Sampler {
  refuseOthers('saSolver', others)
  const whole = (order: number, least: number): boolean => Number.isInteger(order) && order >= least && order <= 4
  if (!whole(predictor, 1) || !whole(corrector, 0)) throw new ConfigError(`saSolver: predictor of order ${predictor} and corrector of ${corrector}; use 1 to 4, and 0 to 4`)
  if (typeof tau === 'number' && !(tau >= 0)) throw new ConfigError(`saSolver: tau is ${tau}; use 0 for the ODE, 1 for the reverse SDE`)
  return stochasticAdams(typeof tau === 'number' ? () => tau : tau, predictor, corrector, lagrangeWeights, false)
}

/** The sampler, given how answers are weighed, and whether the last steps combine no more of them than there are steps left. */
export const stochasticAdams = (tau: (level: HostLevel) => number, predictor: number, corrector: number, weights: typeof lagrangeWeights, lower: boolean): Sampler => ({
  name: 'saSolver',
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const { x0 } = problem.denoise(state.x, from)
    const before = state.memory['before']
    const last = problem.levels[state.step - 1]
    const left = lower ? problem.levels.length - 1 - state.step : Infinity
    const earlier = nodes(state, problem).filter(({ level }) => level.alpha > 0)
    const now = { x0, level: from }
    const corrected = before !== undefined && last !== undefined && last.alpha > 0 && corrector > 0
    const x = corrected ? moved(problem, state.step - 1, before, last, from, [now, ...earlier].slice(0, Math.min(corrector, left + 2)), tau(last), weights) : state.x
    const past = [now, ...earlier]
    const memory = Object.fromEntries(past.slice(0, Math.max(predictor, corrector)).map((one, k) => [`x0${k}`, one.x0]))
    return { step: state.step + 1, x: moved(problem, state.step, x, from, to, past.slice(0, from.alpha > 0 && to.sigma > 0 ? Math.min(predictor, left) : 1), tau(from), weights), memory: { ...memory, before: x }, x0 }
  },
})

/** What was said at the levels before, newest first. */
function nodes({ step, memory }: SamplerState, { levels }: Problem): Node[] {
  return [0, 1, 2, 3].flatMap((k) => {
    const [x0, level] = [memory[`x0${k}`], levels[step - 1 - k]]
    return x0 === undefined || level === undefined ? [] : [{ x0, level }]
  })
}

/** x at `to`: e^(−τ²h)·(σ'/σ)·x + α'·Σ wₖ·mₖ + σ'·√(1 − e^(−2τ²h))·z, with the noise of that step. */
function moved(problem: Problem, step: number, x: Tensor, from: HostLevel, to: HostLevel, past: readonly Node[], tau: number, weights: typeof lagrangeWeights): Tensor {
  const h = -Math.log((to.sigma * from.alpha) / (from.sigma * to.alpha))
  const decay = tau === 0 ? 0 : tau ** 2 * h // h may be infinite
  const terms: (readonly [Factor, Tensor])[] = weights(past.map(({ level }) => lambda(level) - lambda(to)), h, 1 + tau ** 2).map((w, k) => [to.alpha * w, at(past, k).x0])
  const up = to.sigma * Math.sqrt(-Math.expm1(-2 * decay))
  return combine([(to.sigma / from.sigma) * Math.exp(-decay), x], ...terms, [up, up > 0 ? problem.noise(step) : x])
}

/** c·∫ e^(c·u)·lₖ(u) du over the step, u = λ − λ' from −h to 0, with Lagrange's polynomials lₖ of the nodes and c = 1 + τ². */
export function lagrangeWeights(places: readonly number[], h: number, c: number): number[] {
  if (places.length === 1) return [-Math.expm1(-c * h)]
  const moments = [-Math.expm1(-c * h)] // ∫ vᵏ·eᵛ dv from −c·h to 0
  for (let k = 1; k < places.length; k++) moments.push(-((-c * h) ** k) * Math.exp(-c * h) - k * at(moments, k - 1))
  const scaled = places.map((u) => c * u)
  return places.map((_, k) => lagrange(scaled, k).reduce((sum, coefficient, power) => sum + coefficient * at(moments, power), 0))
}
