/** Diffusions of T timesteps: ᾱₜ = Π (1 − βₛ), α = √ᾱ, σ = √(1 − ᾱ) (Ho et al., arXiv:2006.11239, eq. 4). */
import { ConfigError } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { linearBetas } from './betas.ts'
import { found, inRange, logSnr, preservingSlope, variancePreserving } from './path.ts'
import type { HostLevel, NoisePath } from './path.ts'

/**
 * The path of a table of βₜ, each in (0, 1]. Times are 0 … T − 1; between two of them ln(σ/α) is linear, or the angle atan(σ/α)
 * where one of the two is all noise. The clean image is at −1. Default: DDPM's linear table of 1000.
 * Throws ConfigError for a table that is empty or holds something else.
 */
export function discretePath(betas: ArrayLike<number> = linearBetas()): NoisePath {
  const wrong = Array.from(betas).findIndex((beta) => !(beta > 0 && beta <= 1))
  if (betas.length === 0 || wrong >= 0) throw new ConfigError(`discretePath: ${betas.length === 0 ? 'the table of betas is empty' : `beta ${wrong} is ${betas[wrong]}`}; give variances in (0, 1], one for each timestep`)
  let kept = 1
  let lost = 0 // 1 − ᾱ, summed for itself so that small ones keep their digits
  const table = Array.from(betas, (beta, t): HostLevel => {
    lost += kept * beta
    kept *= 1 - beta
    return { t, alpha: Math.sqrt(kept), sigma: Math.sqrt(Math.min(1, lost)) }
  })
  const last = table.length - 1
  const path = { name: 'discretePath', range: [0, last], span: [0, last] } as const
  return {
    ...path,
    timesteps: table.length,
    clean: { t: -1, alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      const [low, high] = [at(table, Math.floor(t)), at(table, Math.ceil(t))]
      const share = t - low.t
      if (share === 0) return low
      if (high.alpha > 0) return { t, ...variancePreserving(logSnr(low) + share * (logSnr(high) - logSnr(low))) }
      const angle = Math.atan2(low.sigma, low.alpha) * (1 - share) + (Math.PI / 2) * share
      return { t, alpha: Math.cos(angle), sigma: Math.sin(angle) }
    },
    slope(time) {
      const t = inRange(path, time)
      const above = Math.max(1, Math.ceil(t))
      const [low, high] = [table[above - 1], table[above]]
      if (low === undefined || high === undefined) throw new ConfigError('discretePath: a path of one timestep has no slope; give two betas or more')
      const here = this.at(t)
      if (high.alpha > 0) return preservingSlope(here, logSnr(high) - logSnr(low))
      const turn = Math.PI / 2 - Math.atan2(low.sigma, low.alpha)
      return { alpha: -here.sigma * turn, sigma: here.alpha * turn }
    },
    timeOf(wanted) {
      const above = table.findIndex((level) => logSnr(level) <= wanted)
      const [low, high] = [table[above - 1], table[above]]
      if (high !== undefined && logSnr(high) === wanted) return high.t
      if (high === undefined || low === undefined) return found(path, near(wanted, above < 0 ? at(table, last) : at(table, 0)), wanted)
      if (high.alpha > 0) return low.t + (logSnr(low) - wanted) / (logSnr(low) - logSnr(high))
      const from = Math.atan2(low.sigma, low.alpha)
      return low.t + (Math.atan(Math.exp(-wanted / 2)) - from) / (Math.PI / 2 - from)
    },
  }
}

/** The time of a level at the end of the table, if that log-SNR is its own but for rounding. */
const near = (wanted: number, end: HostLevel): number => (Math.abs(wanted - logSnr(end)) <= 1e-9 * Math.max(1, Math.abs(wanted)) ? end.t : NaN)

/**
 * The same path with its last level moved to α = 0, its first left where it is, and √ᾱ between them in proportion (Lin et al., "Common
 * Diffusion Noise Schedules and Sample Steps are Flawed", arXiv:2305.08891, algorithm 1). A network that predicts ε cannot be sampled from such a
 * path: use v. Throws ConfigError for a path on which α² + σ² is not 1.
 */
export function zeroTerminalSnr(path: NoisePath): NoisePath {
  const [first, last] = path.range.map((t) => path.at(t))
  if (first === undefined || last === undefined || [first, last].some(({ alpha, sigma }) => Math.abs(alpha ** 2 + sigma ** 2 - 1) > 1e-9)) throw new ConfigError(`zeroTerminalSnr: ${path.name} does not keep the variance, α² + σ² = 1; pass one that does`)
  const stretch = first.alpha / (first.alpha - last.alpha)
  // 1 − α is what little noise is made of: kept apart, since 1 − (1 − δ) is not δ.
  const lost = (last.alpha * less(first)) / (first.alpha - last.alpha)
  const moved = (level: HostLevel): HostLevel => {
    if (level.t === path.range[1]) return { t: level.t, alpha: 0, sigma: 1 }
    const alpha = (level.alpha - last.alpha) * stretch
    return { t: level.t, alpha, sigma: Math.sqrt(Math.max(0, stretch * less(level) - lost) * (1 + alpha)) }
  }
  return {
    ...path,
    name: `zeroTerminalSnr(${path.name})`,
    at: (t) => moved(path.at(t)),
    slope(t) {
      const { alpha, sigma } = moved(path.at(t))
      const fall = path.slope(t).alpha * stretch
      return { alpha: fall, sigma: (-alpha * fall) / sigma }
    },
    timeOf(wanted) {
      if (wanted === -Infinity) return path.range[1]
      const level = variancePreserving(wanted)
      const alpha = level.alpha / stretch + last.alpha
      return path.timeOf(2 * Math.log(alpha) - Math.log(((less(level) + lost) / stretch) * (1 + alpha)))
    },
  }
}

/** 1 − α, where α² + σ² = 1. */
const less = ({ alpha, sigma }: Pick<HostLevel, 'alpha' | 'sigma'>): number => sigma ** 2 / (1 + alpha)
