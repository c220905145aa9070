/** What samplers of diffusers do otherwise than the papers, around those of langevin; docs/diffusion.md lists it. */
import { ConfigError, clamp } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import { thresholded } from '../guidance.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import { Prediction } from '../prediction.ts'
import { dpmSolver2M, thirdOrder } from '../samplers/dpmSolver.ts'
import { euler } from '../samplers/ancestral.ts'
import { lmsStep } from '../samplers/multistep.ts'
import type { Direction } from '../samplers/pndm.ts'
import { lagrangeWeights } from '../samplers/saSolver.ts'
import { between, transfer } from '../samplers/sampler.ts'
import type { Problem, Sampler, SamplerState, SamplerStep } from '../samplers/sampler.ts'
import type { SchedulerSettings } from './config.ts'

/** The sampler, whose denoiser is changed. */
export const asking = (inner: Sampler, change: (denoise: Problem['denoise']) => Problem['denoise']): Sampler => ({
  ...inner,
  step: (state, problem) => inner.step(state, { ...problem, denoise: change((x, level) => problem.denoise(x, level)) }),
})

/** x₀ clipped or thresholded as the settings say; ε follows it, or stays as it was (DDIM's, TCD's). */
export function limited(inner: Sampler, { clip_sample: clip, clip_sample_range: most, thresholding, dynamic_thresholding_ratio: share, sample_max_value: highest }: SchedulerSettings, epsFollows: boolean): Sampler {
  if (!clip && !thresholding) return inner
  return asking(inner, (denoise) => (x, level) => {
    const said = denoise(x, level)
    const x0 = thresholding ? thresholded({ share, most: highest })(() => said)(x, level, {}).x0 : clamp(said.x0, -most, most)
    return epsFollows ? Prediction.ofImage(x0, x, level, said.variance) : new Prediction(() => x0, () => said.eps, said.variance)
  })
}

/** DDIM: each step goes ⌊T/steps⌋ timesteps down, wherever the next one begins. */
export const inEqualSteps = (inner: Sampler, { num_train_timesteps: all }: SchedulerSettings): Sampler => ({
  ...inner,
  rises: true, // the last step may be from the first timestep to itself
  step(state, problem) {
    const [from, to] = between(inner, state, problem)
    const t = from.t - Math.floor(all / (problem.levels.length - 1))
    return t < 0 || t === to.t ? inner.step(state, problem) : inner.step(state, { ...problem, levels: problem.levels.with(state.step + 1, problem.path.at(t)) })
  },
})

export interface ChurnOptions {
  /** `s_churn`: how much noise all steps together put in; default 0. */
  readonly churn?: number
  /** `s_tmin`: the least σ/α at which noise is put in; default 0. */
  readonly least?: number
  /** `s_tmax`: the greatest; default ∞. */
  readonly most?: number
  /** `s_noise`: by what the noise is stronger than it should be; default 1. */
  readonly noise?: number
}

/** Euler with churn: the network is asked before the noise is put in, and what it says is taken as if it had been asked after. */
export const churned = ({ churn = 0, least = 0, most = Infinity, noise = 1 }: ChurnOptions, velocity: boolean): Sampler => ({
  name: 'euler',
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const s = noiseRatio(from)
    const gamma = s >= least && s <= most ? Math.min(churn / (problem.levels.length - 1), Math.SQRT2 - 1) : 0
    if (gamma === 0) return euler().step(state, problem) as SamplerStep
    const [risen, end] = [s * (1 + gamma), noiseRatio(to)]
    const said = problem.denoise(state.x, from)
    const added = combine([noise * Math.sqrt(risen ** 2 - s ** 2), problem.noise(state.step)]) // on x/α
    const x = combine([1 / from.alpha, state.x], [1, added])
    const x0 = velocity ? combine([1, said.x0], [from.alpha ** 2, added]) : combine([1, x], [-risen, said.eps])
    const next = end === 0 ? x0 : combine([end / risen, x], [1 - end / risen, x0])
    return { step: state.step + 1, x: combine([to.alpha, next]), x0 }
  },
})

/** The order of a multistep step: less in the last two of a run of fewer than 15, and first to σ = 0. */
function orderAt({ lower_order_final: lower, euler_at_final: eulerAtFinal, solver_order: order }: SchedulerSettings, { step }: SamplerState, { levels }: Problem): number {
  const [steps, few] = [levels.length - 1, lower && levels.length - 1 < 15]
  if (step === steps - 1 && (few || eulerAtFinal || at(levels, steps).sigma === 0)) return 1
  return step === steps - 2 && few ? Math.min(2, order) : order
}

/** DPM-Solver++ multistep and its SDE form. */
export function dpmMultistep(settings: SchedulerSettings): Sampler {
  const { algorithm_type: algorithm, solver_type: solver } = settings
  if (!['dpmsolver++', 'sde-dpmsolver++'].includes(algorithm)) throw new ConfigError(`fromDiffusers: algorithm_type ${algorithm}; use dpmsolver++ or sde-dpmsolver++`)
  if (solver !== 'midpoint' && solver !== 'heun') throw new ConfigError(`fromDiffusers: solver_type ${solver}; use midpoint or heun`)
  const eta = algorithm === 'sde-dpmsolver++' ? 1 : 0
  return {
    name: 'dpmMultistep',
    step(state, problem): SamplerStep {
      const order = orderAt(settings, state, problem)
      const { x0: old, older } = state.memory
      const third = order === 3 && older !== undefined
      const next = (third ? thirdOrder(eta, 0.5) : dpmSolver2M({ eta, solver })).step({ ...state, memory: order === 1 ? {} : state.memory }, problem) as SamplerStep
      const memory = old === undefined ? { x0: next.x0 } : { x0: next.x0, older: old }
      return { ...next, memory, x: third && eta > 0 ? combine([1, next.x], ...bend(state, problem, next.x0)) : next.x }
    },
  }
}

/** −α'·D₂: what a sign lost in the third-order SDE step adds to it. */
function bend({ step, memory: { x0: old, older } }: SamplerState, { levels }: Problem, x0: Tensor): (readonly [number, Tensor])[] {
  const lambda = (k: number): number => -Math.log(noiseRatio(at(levels, step + k)))
  const h = lambda(1) - lambda(0)
  const [r0, r1] = [(lambda(0) - lambda(-1)) / h, (lambda(-1) - lambda(-2)) / h]
  const share = -at(levels, step + 1).alpha / (r0 + r1)
  return old === undefined || older === undefined ? [] : [[share / r0, x0], [-share / r0 - share / r1, old], [share / r1, older]]
}

/** The orders of DPM-Solver++ singlestep, one for each level asked at; to σ = 0 the first. */
function singlestepOrders({ solver_order: order, lower_order_final: lower, final_sigmas_type: end }: SchedulerSettings, steps: number): number[] {
  const cycles = (count: number): number[] => Array.from({ length: order * count }, (_, i) => (i % order) + 1)
  const whole = Math.floor(steps / order)
  if (order === 1 || (!lower && end !== 'zero' && steps % order === 0)) return cycles(whole)
  const last = order === 2 ? [[1, 1], [1]] : [[1, 2, 1], [1], [1, 2]]
  const orders = [...cycles(steps % order === 0 ? whole - 1 : whole), ...at(last, steps % order)]
  return end === 'zero' ? [...orders.slice(0, -1), 1] : orders
}

/** DPM-Solver++ singlestep over the levels of a grid: a step of order k begins k − 1 levels before, with what was said at each. */
export function dpmSinglestep(settings: SchedulerSettings): Sampler {
  const { algorithm_type: algorithm, solver_type: solver } = settings
  if (algorithm !== 'dpmsolver++' || !['midpoint', 'heun'].includes(solver)) throw new ConfigError(`fromDiffusers: singlestep with algorithm_type ${algorithm} and solver_type ${solver}; use dpmsolver++, and midpoint or heun`)
  return {
    name: 'dpmSinglestep',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const orders = singlestepOrders(settings, problem.levels.length - 1)
      const order = Math.min(at(orders, state.step), state.memory['two'] !== undefined ? 3 : state.memory['one'] !== undefined ? 2 : 1) // less where a run began in between
      const { x0 } = problem.denoise(state.x, from)
      const { start = state.x, one = x0, two = x0 } = order === 1 ? {} : state.memory
      const first = at(problem.levels, state.step - order + 1)
      const lambda = (level: HostLevel): number => -Math.log(noiseRatio(level))
      const h = lambda(to) - lambda(first)
      const share = (level: HostLevel): number => (lambda(level) - lambda(first)) / h
      const [e1, e2] = [Math.expm1(-h), to.sigma === 0 ? 1 : Math.expm1(-h) / h + 1]
      const slope: (readonly [number, Tensor])[] = order === 1 ? [] : [[to.alpha * (order === 2 && solver === 'midpoint' ? -e1 / 2 : e2) / share(from), x0], [(-to.alpha * (order === 2 && solver === 'midpoint' ? -e1 / 2 : e2)) / share(from), one]]
      const curved = order === 3 && solver === 'heun' ? curve(share(from), share(at(problem.levels, state.step - 1)), to.alpha, e2, e2 / h - 0.5, x0, two, one) : slope
      const x = combine([to.sigma / first.sigma, start], [-to.alpha * e1, one], ...curved)
      return { step: state.step + 1, x, x0, memory: order === 1 ? { start: state.x, one: x0 } : order === 2 ? { start, one, two: x0 } : {} }
    },
  }
}

/** Both slopes of a third-order step of Heun's type: D₁ weighed by φ₂ and D₂ by −φ₃. */
function curve(r0: number, r1: number, alpha: number, second: number, third: number, latest: Tensor, middle: Tensor, first: Tensor): (readonly [number, Tensor])[] {
  const [one, two] = [(-second * r1 - 2 * third) / (r0 - r1) / r0, (second * r0 + 2 * third) / (r0 - r1) / r1] // of (latest − first), (middle − first)
  return [[alpha * one, latest], [alpha * two, middle], [-alpha * (one + two), first]]
}

/** Of lower order, as `orderAt` says, by what `inner` is let remember; `names` are what it keeps for each order, lowest first. */
export const ordered = (inner: Sampler, settings: SchedulerSettings, names: readonly string[]): Sampler => ({
  ...inner,
  async step(state, problem) {
    const order = orderAt(settings, state, problem)
    const known = Object.fromEntries(Object.entries(state.memory).filter(([name]) => !names.slice(order - 1).includes(name)))
    return inner.step({ ...state, memory: known }, problem)
  },
})

/** LMS: of the order of the step's number, even where a run began in between and less is known. */
export const lmsOfStep: Sampler = { name: 'lms', step: (state, problem) => lmsStep(state, problem, 4, Math.min(4, state.step + 1)) }

/** The last step by Euler's method. */
export const eulerAtTheEnd = (inner: Sampler): Sampler => ({
  ...inner,
  step: (state, problem) => (state.step === problem.levels.length - 2 ? euler() : inner).step(state, problem),
})

/** Consistency models: up again by noise of variance σ'² − σmin². */
export const consistencyIteration = (least: number): Sampler => ({
  name: 'consistency',
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const { x0 } = problem.denoise(state.x, from)
    return { step: state.step + 1, x0, x: to.sigma > least ? combine([1, x0], [Math.sqrt(to.sigma ** 2 - least ** 2), problem.noise(state.step)]) : transfer({ x0, eps: x0 }, { alpha: 1, sigma: 0 }) }
  },
})

/** PNDM for v: it is v that is combined over the steps, and turned into ε at the level that a step leaves. */
export const alongVelocity: Direction = {
  of: ({ x0, eps }, { alpha, sigma }) => combine([alpha, eps], [-sigma, x0]),
  along(x, v, from, to) {
    const keep = to.alpha / from.alpha
    return combine([keep + (to.sigma - keep * from.sigma) * from.sigma, x], [(to.sigma - keep * from.sigma) * from.alpha, v])
  },
}

/** SA-Solver's weights as its authors' code has them: with two nodes, the slope of x₀ weighed by c·h²/2, which is its integral's lowest order. */
export function adamsOfCode(places: readonly number[], h: number, c: number): number[] {
  const [newest, older] = places
  if (newest === undefined || older === undefined || places.length !== 2) return lagrangeWeights(places, h, c)
  const [one, two] = lagrangeWeights(places, h, c)
  const change = (c * (h ** 2 / 2 - (c * h - 1 + Math.exp(-c * h)) / c ** 2)) / (newest - older)
  return [(one ?? NaN) + change, (two ?? NaN) - change]
}
