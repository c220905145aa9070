/** Grids: which levels of a path a sampler visits, noisiest first. A spacing is a function of the path and the number of steps. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { betaQuantile } from './betaQuantile.ts'
import { linspace } from './betas.ts'
import { levelOf, noiseRatio } from './path.ts'
import type { HostLevel, NoisePath } from './path.ts'

/** The levels at which the steps begin, descending in noise. */
export type Spacing = (path: NoisePath, steps: number) => readonly HostLevel[]

export interface LevelOptions {
  /** What follows the level at which the last step begins: `clean`, the image without noise (default); or nothing, so that there is one step less. */
  readonly end?: 'clean' | 'last'
}

/**
 * Levels for `steps` steps, steps + 1 of them with the clean image at the end. A slice of them is a part of the process: of an image half
 * noised, or for another network. Default spacing: `trailing` where the path counts timesteps, else `uniformTimes`.
 * Throws ConfigError for a number of steps that the path does not have.
 */
export function levels(path: NoisePath, steps: number, spacing: Spacing = path.timesteps === undefined ? uniformTimes() : trailing(), { end = 'clean', ...others }: LevelOptions = {}): readonly HostLevel[] {
  refuseOthers('levels', others)
  if (!(Number.isInteger(steps) && steps > 0)) throw new ConfigError(`levels: ${steps} steps; use a positive integer`)
  const begun = spacing(path, steps)
  for (let i = 1; i < begun.length; i++) {
    if (!(noiseRatio(at(begun, i)) < noiseRatio(at(begun, i - 1)))) throw new ConfigError(`levels: step ${i} begins at σ/α = ${noiseRatio(at(begun, i))}, which is no less than ${noiseRatio(at(begun, i - 1))} before it; use fewer steps than ${steps}, or another spacing`)
  }
  return end === 'clean' && at(begun, begun.length - 1).sigma > 0 ? [...begun, path.clean] : begun
}

/** The levels of given times. */
export const atTimes = (times: readonly number[]): Spacing => (path) => times.map((t) => path.at(t))

/** The levels of given σ/α, such as a table that a model was published with. */
export const atRatios = (ratios: readonly number[]): Spacing => (path) => ratios.map((ratio) => levelOf(path, ratio))

/** Times in equal steps over the path's span, without the end: of [0, 1] in 4 steps 1, ¾, ½, ¼. For flows, as they are sampled; the path's shift bends it. */
export const uniformTimes = (): Spacing => (path, steps) => {
  const [first, last] = path.span
  const times = Array.from({ length: steps }, (_, i) => last + ((first - last) * i) / (first > 0 ? Math.max(1, steps - 1) : steps))
  return times.map((t) => path.at(t))
}

/** To the nearest integer, halves to the even one, as NumPy rounds. */
export const rounded = (x: number): number => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x))

function timestepsOf(op: string, { name, timesteps }: NoisePath, steps: number): number {
  if (timesteps === undefined) throw new ConfigError(`${op}: ${name} does not count timesteps; use uniformTimes, karras or another spacing over continuous time`)
  if (steps > timesteps) throw new ConfigError(`${op}: ${steps} steps through ${timesteps} timesteps; use at most ${timesteps}`)
  return timesteps
}

/** T − 1, …: every (T/steps)th timestep from the last one on, so that sampling begins where training ended (Lin et al., arXiv:2305.08891, table 2). */
export const trailing = (): Spacing => (path, steps) => {
  const all = timestepsOf('trailing', path, steps)
  return Array.from({ length: steps }, (_, i) => path.at(rounded(all - (i * all) / steps) - 1))
}

/** 0, k, 2k, … with k = ⌊T/steps⌋, from behind, each moved by `offset`: DDPM's and DDIM's own. The last timestep is not among them. */
export function leading({ offset = 0, ...others }: { readonly offset?: number } = {}): Spacing {
  refuseOthers('leading', others)
  return (path, steps) => {
    const ratio = Math.floor(timestepsOf('leading', path, steps) / steps)
    return Array.from({ length: steps }, (_, i) => path.at((steps - 1 - i) * ratio + offset))
  }
}

/** T − 1 … 0, both ends among them, in equal steps; rounded to timesteps unless told otherwise. */
export function evenly({ round = true, ...others }: { readonly round?: boolean } = {}): Spacing {
  refuseOthers('evenly', others)
  return (path, steps) => {
    const all = timestepsOf('evenly', path, steps)
    return [...linspace(all - 1, 0, steps)].map((t) => path.at(round ? rounded(t) : t))
  }
}

export interface RatioRange {
  /** The least σ/α; default: the path's. */
  readonly least?: number
  /** The greatest; default: the path's. */
  readonly most?: number
}

/** The σ/α that a grid begins and ends with; both positive and finite. */
function rangeOf(op: string, path: NoisePath, { least, most }: RatioRange): readonly [most: number, least: number] {
  const [first, last] = path.span
  const range = [most ?? noiseRatio(path.at(last)), least ?? noiseRatio(path.at(first))] as const
  if (!(range[0] < Infinity && range[1] > 0 && range[0] >= range[1])) {
    throw new ConfigError(`${op}: the grid would go from σ/α = ${range[0]} to ${range[1]}; pass { most, least } with ∞ > most ≥ least > 0, or use a spacing in time, which begins with noise alone`)
  }
  return range
}

function checkRange(op: string, { least: _, most: __, ...others }: RatioRange): void {
  refuseOthers(op, others)
}

const along = (path: NoisePath, ratios: Iterable<number>): HostLevel[] => Array.from(ratios, (ratio) => levelOf(path, ratio))

export interface KarrasOptions extends RatioRange {
  /** Bends the grid towards little noise; default 7. */
  readonly rho?: number
}

/** σ/α between most and least with equal steps of their ρth root (Karras et al., arXiv:2206.00364, eq. 5). */
export function karras({ rho = 7, ...range }: KarrasOptions = {}): Spacing {
  checkRange('karras', range)
  return (path, steps) => {
    const [most, least] = rangeOf('karras', path, range)
    return along(path, linspace(most ** (1 / rho), least ** (1 / rho), steps).map((root) => root ** rho))
  }
}

/** σ/α with equal steps of the logarithm; where `rho` is not 1, of which the steps are those of its ρth power (k-diffusion's polyexponential). */
export function exponential({ rho = 1, ...range }: KarrasOptions = {}): Spacing {
  checkRange('exponential', range)
  return (path, steps) => {
    const [most, least] = rangeOf('exponential', path, range)
    return along(path, linspace(1, 0, steps).map((share) => Math.exp(share ** rho * Math.log(most / least) + Math.log(least))))
  }
}

/** ln(α/σ) in equal steps of its ρth root, as in DPM-Solver (Lu et al., arXiv:2206.00927, section 4); with ρ = 1 these are those of `exponential`. */
export function lu({ rho = 1, ...range }: KarrasOptions = {}): Spacing {
  checkRange('lu', range)
  return (path, steps) => {
    const [most, least] = rangeOf('lu', path, range).map((ratio) => -Math.log(ratio))
    if (most === undefined || least === undefined) throw new RangeError('two ends')
    const root = (x: number): number => Math.sign(x) * Math.abs(x) ** (1 / rho)
    return along(path, linspace(root(most), root(least), steps).map((x) => Math.exp(-Math.sign(x) * Math.abs(x) ** rho)))
  }
}

export interface BetaOptions extends RatioRange {
  /** Default 0.6. */
  readonly alpha?: number
  /** Default 0.6. */
  readonly beta?: number
}

/** σ/α at equally likely places of the Beta distribution between least and most, so that both ends have more steps (Lee et al., arXiv:2407.12173). */
export function beta({ alpha = 0.6, beta: other = 0.6, ...range }: BetaOptions = {}): Spacing {
  checkRange('beta', range)
  return (path, steps) => {
    const [most, least] = rangeOf('beta', path, range)
    return along(path, linspace(1, 0, steps).map((share) => least + betaQuantile(share, alpha, other) * (most - least)))
  }
  
}
