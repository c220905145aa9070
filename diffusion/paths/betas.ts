/** Tables of βₜ, the variance that step t of a discrete diffusion adds, t = 0 … T − 1. Each is a function of T. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'

export interface BetaRange {
  /** β of the first step. */
  readonly first?: number
  /** β of the last. */
  readonly last?: number
}

function checkTimesteps(op: string, timesteps: number): void {
  if (!(Number.isInteger(timesteps) && timesteps > 0)) throw new ConfigError(`${op}: ${timesteps} timesteps; use a positive integer`)
}

/** `count` numbers from `first` to `last` in equal steps. */
export const linspace = (first: number, last: number, count: number): Float64Array<ArrayBuffer> =>
  Float64Array.from({ length: count }, (_, i) => (count === 1 ? first : first + ((last - first) * i) / (count - 1)))

const logistic = (x: number): number => 1 / (1 + Math.exp(-x))

/** β from 1e-4 to 0.02 in equal steps, scaled by 1000/T where T is not 1000 (Ho et al., arXiv:2006.11239; Nichol and Dhariwal, arXiv:2102.09672). */
export function linearBetas(timesteps = 1000, { first = 0.1 / timesteps, last = 20 / timesteps, ...others }: BetaRange = {}): Float64Array<ArrayBuffer> {
  refuseOthers('linearBetas', others)
  checkTimesteps('linearBetas', timesteps)
  return linspace(first, last, timesteps)
}

/** √β in equal steps: the table of latent diffusion (Rombach et al., arXiv:2112.10752) and of Stable Diffusion, whose numbers are the defaults. */
export function scaledLinearBetas(timesteps = 1000, { first = 0.00085, last = 0.012, ...others }: BetaRange = {}): Float64Array<ArrayBuffer> {
  refuseOthers('scaledLinearBetas', others)
  checkTimesteps('scaledLinearBetas', timesteps)
  return linspace(Math.sqrt(first), Math.sqrt(last), timesteps).map((root) => root * root)
}

/** β on a logistic curve over −6 … 6, as in GeoDiff (Xu et al., arXiv:2203.02923). `jabriBetas` is what others call sigmoid. */
export function sigmoidBetas(timesteps = 1000, { first = 1e-4, last = 0.02, ...others }: BetaRange = {}): Float64Array<ArrayBuffer> {
  refuseOthers('sigmoidBetas', others)
  checkTimesteps('sigmoidBetas', timesteps)
  return linspace(-6, 6, timesteps).map((x) => logistic(x) * (last - first) + first)
}

/** βᵢ = 1 − ᾱ((i + 1)/T)/ᾱ(i/T), at most `most`, for ᾱ a function of the share of time that has passed. */
export function betasOf(alphaBar: (share: number) => number, timesteps = 1000, most = 0.999): Float64Array<ArrayBuffer> {
  checkTimesteps('betasOf', timesteps)
  return Float64Array.from({ length: timesteps }, (_, i) => Math.min(most, 1 - alphaBar((i + 1) / timesteps) / alphaBar(i / timesteps)))
}

/** ᾱ(t) = cos²((t + 0.008)/1.008 · π/2) (Nichol and Dhariwal, arXiv:2102.09672, eq. 17). */
export const cosineBetas = (timesteps = 1000): Float64Array<ArrayBuffer> => betasOf((t) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2, timesteps)

export interface JabriOptions {
  /** Where on the logistic curve it begins; default −3. */
  readonly start?: number
  /** Where it ends; default 3. */
  readonly end?: number
  /** The curve's temperature τ; default 1. */
  readonly tau?: number
}

/** ᾱ(t) = (s(e) − s(b + t(e − b)))/(s(e) − s(b)), s(x) = logistic(x/τ) (Jabri et al., arXiv:2212.11972). */
export function jabriBetas(timesteps = 1000, { start = -3, end = 3, tau = 1, ...others }: JabriOptions = {}): Float64Array<ArrayBuffer> {
  refuseOthers('jabriBetas', others)
  const s = (x: number): number => logistic(x / tau)
  return betasOf((t) => (s(end) - s(start + t * (end - start))) / (s(end) - s(start)), timesteps)
}
