/** What a sampler is: a step from one level to the next. All it knows of the past is its state, so a run may stop after any step and go on elsewhere. */
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import { levelOf } from '../paths/path.ts'
import type { HostLevel, NoisePath } from '../paths/path.ts'
import type { Prediction } from '../prediction.ts'

export interface SamplerState {
  /** Steps taken. */
  readonly step: number
  /** The images at level `step` [B, …]. */
  readonly x: Tensor
  /** What later steps need of earlier ones, by names of the sampler's own. */
  readonly memory: Readonly<Record<string, Tensor>>
  /** The same as numbers. */
  readonly numbers: Readonly<Record<string, number>>
}

export interface Problem {
  readonly path: NoisePath
  /** The levels to go through, noisiest first. */
  readonly levels: readonly HostLevel[]
  /** What the network, guided, says of x at a level. */
  denoise(x: Tensor, level: HostLevel): Prediction
  /** Standard normal noise of x's shape: a function of each sample's seed, the step and the draw's number within it. */
  noise(step: number, draw?: number): Tensor
}

/** What a step makes: the next state, and what it saw behind the images, for previews. */
export interface SamplerStep extends Omit<SamplerState, 'memory' | 'numbers'> {
  readonly memory?: SamplerState['memory']
  readonly numbers?: SamplerState['numbers']
  readonly x0: Tensor
}

export interface Sampler {
  readonly name: string
  /** The fewest steps that it can take; default 1. */
  readonly least?: number
  /** Whether it may go from a level to a noisier one between others that are less so. */
  readonly rises?: boolean
  /** Whether a step computes on the device to know what to do next. */
  readonly adaptive?: boolean
  /** From level `state.step` to the one after it. A promise, where the step depends on what was computed. */
  step(state: SamplerState, problem: Problem): SamplerStep | Promise<SamplerStep>
}

/** The levels between which the step goes. Throws ConfigError where they are all passed. */
export function between({ name }: Pick<Sampler, 'name'>, { step }: Pick<SamplerState, 'step'>, { levels }: Pick<Problem, 'levels'>): readonly [from: HostLevel, to: HostLevel] {
  if (step + 1 >= levels.length) throw new ConfigError(`${name}: step ${step} of ${levels.length - 1}; the levels are all passed`)
  return [at(levels, step), at(levels, step + 1)]
}

/** α'·x₀ + σ'·ε: from what is said at one level to another, as DDIM and Euler's method go there. */
export const transfer = ({ x0, eps }: Pick<Prediction, 'x0' | 'eps'>, { alpha, sigma }: Pick<HostLevel, 'alpha' | 'sigma'>): Tensor => (sigma === 0 ? (alpha === 1 ? x0 : combine([alpha, x0])) : alpha === 0 ? combine([sigma, eps]) : combine([alpha, x0], [sigma, eps]))

/** x carried up from its level to a noisier one by fresh noise. */
export function addedNoise(x: Tensor, from: HostLevel, to: HostLevel, noise: Tensor): Tensor {
  const keep = to.alpha / from.alpha
  return combine([keep, x], [Math.sqrt(Math.max(0, to.sigma ** 2 - (keep * from.sigma) ** 2)), noise])
}

/**
 * The noise that an ancestral step puts in anew, η·√(σ'² − (σ'²·α/(α'·σ))²), and the level at which it goes in, so that the sum has level `to`: with
 * η = 1 that of DDPM's posterior, on every path (Song et al., arXiv:2010.02502, eq. 16; k-diffusion's get_ancestral_step).
 */
export function ancestral(from: HostLevel, to: HostLevel, eta: number): { readonly down: HostLevel; readonly up: number } {
  const ratio = (to.sigma * from.alpha) / (from.sigma * to.alpha)
  const up = Math.min(to.sigma, eta * to.sigma * Math.sqrt(Math.max(0, 1 - ratio ** 2)))
  return { down: { ...to, sigma: Math.sqrt(Math.max(0, to.sigma ** 2 - up ** 2)) }, up }
}

/** The level with that σ/α on the problem's path, without its time where the path has none. */
export const intermediate = ({ path }: Problem, ratio: number): HostLevel => levelOf(path, ratio)
