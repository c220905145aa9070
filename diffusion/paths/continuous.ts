/** Paths in continuous time. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import { found, inRange, preservingSlope, variancePreserving } from './path.ts'
import type { HostLevel, NoisePath } from './path.ts'

function positive(op: string, numbers: Readonly<Record<string, number>>): void {
  for (const [name, x] of Object.entries(numbers)) if (!(x > 0 && x < Infinity)) throw new ConfigError(`${op}: ${name} is ${x}; use a positive number`)
}

const unit = [0, 1] as const

/** The level of t from its log-SNR, for a path that keeps the variance; both infinities are levels. */
const preserving = (t: number, wanted: number): HostLevel => ({ t, ...variancePreserving(wanted) })

export interface VpOptions {
  /** β(0); default 0.1. */
  readonly betaMin?: number
  /** β(1); default 20. */
  readonly betaMax?: number
}

/**
 * ᾱ(t) = exp(−½(β₁ − β₀)t² − β₀t), t in [0, 1]: DDPM's linear table in continuous time (Song et al., arXiv:2011.13456, eq. 32 and appendix C). Grids
 * start from t = 1e-3, as theirs.
 */
export function vpPath({ betaMin = 0.1, betaMax = 20, ...others }: VpOptions = {}): NoisePath {
  refuseOthers('vpPath', others)
  positive('vpPath', { betaMin, betaMax })
  const rise = betaMax - betaMin
  const path = { name: 'vpPath', range: unit, span: [1e-3, 1] } as const
  return {
    ...path,
    clean: { t: 0, alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      const decay = (rise * t * t) / 2 + betaMin * t
      return { t, alpha: Math.exp(-decay / 2), sigma: Math.sqrt(-Math.expm1(-decay)) }
    },
    slope(t) {
      const { alpha, sigma } = this.at(t)
      const fall = (-alpha * (rise * t + betaMin)) / 2
      return { alpha: fall, sigma: (-alpha * fall) / sigma }
    },
    timeOf(wanted) {
      const decay = wanted < 0 ? -wanted + Math.log1p(Math.exp(wanted)) : Math.log1p(Math.exp(-wanted)) // −ln ᾱ = ln(1 + 1/SNR)
      return found(path, (2 * decay) / (betaMin + Math.sqrt(betaMin ** 2 + 2 * rise * decay)), wanted)
    },
  }
}

export interface SigmaRange {
  readonly sigmaMin?: number
  readonly sigmaMax?: number
}

/** α = 1, σ(t) = σmin·(σmax/σmin)ᵗ, t in [0, 1] (Song et al., arXiv:2011.13456, appendix C). Defaults 0.02 and 100. */
export function vePath({ sigmaMin = 0.02, sigmaMax = 100, ...others }: SigmaRange = {}): NoisePath {
  refuseOthers('vePath', others)
  positive('vePath', { sigmaMin, sigmaMax })
  const rise = Math.log(sigmaMax / sigmaMin)
  const path = { name: 'vePath', range: unit, span: unit } as const
  return {
    ...path,
    clean: { t: -Infinity, alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      return { t, alpha: 1, sigma: sigmaMin * Math.exp(rise * t) }
    },
    slope(t) {
      return { alpha: 0, sigma: rise * this.at(t).sigma }
    },
    timeOf: (wanted) => found(path, (-wanted / 2 - Math.log(sigmaMin)) / rise, wanted),
  }
}

/**
 * α = 1, σ = t, for any σ ≥ 0 (Karras et al., arXiv:2206.00364). Grids cover σmin to σmax, by default 0.002 to 80; what EDM's stochastic
 * sampler adds may go beyond.
 */
export function edmPath({ sigmaMin = 0.002, sigmaMax = 80, ...others }: SigmaRange = {}): NoisePath {
  refuseOthers('edmPath', others)
  positive('edmPath', { sigmaMin, sigmaMax })
  const path = { name: 'edmPath', range: [0, Infinity], span: [sigmaMin, sigmaMax] } as const
  return {
    ...path,
    clean: { t: 0, alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      return { t, alpha: 1, sigma: t }
    },
    slope(t) {
      inRange(path, t)
      return { alpha: 0, sigma: 1 }
    },
    timeOf: (wanted) => Math.exp(-wanted / 2),
  }
}

export interface CosineOptions {
  /** The log-SNR at t = 1; default −15. */
  readonly logSnrMin?: number
  /** The log-SNR at t = 0; default 15. */
  readonly logSnrMax?: number
  /** Width of the images in pixels: above `base`, noise is stronger at each time. Default: `base`. */
  readonly size?: number
  /** The width at which the path is the plain cosine; default 64. */
  readonly base?: number
}

/** ln(α²/σ²) = −2 ln tan(a + t(b − a)) + 2 ln(base/size), t in [0, 1] (Hoogeboom et al., "simple diffusion", arXiv:2301.11093, eq. 5 and section 3.1). */
export function cosinePath({ logSnrMin = -15, logSnrMax = 15, base = 64, size = base, ...others }: CosineOptions = {}): NoisePath {
  refuseOthers('cosinePath', others)
  positive('cosinePath', { size, base })
  if (!(logSnrMin < logSnrMax)) throw new ConfigError(`cosinePath: logSnrMin ${logSnrMin} is not below logSnrMax ${logSnrMax}`)
  const [a, b] = [Math.atan(Math.exp(-logSnrMax / 2)), Math.atan(Math.exp(-logSnrMin / 2))]
  const shift = 2 * Math.log(base / size)
  const path = { name: 'cosinePath', range: unit, span: unit } as const
  return {
    ...path,
    clean: { t: -a / (b - a), alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      return preserving(t, -2 * Math.log(Math.tan(a + t * (b - a))) + shift)
    },
    slope(t) {
      return preservingSlope(this.at(t), (-4 * (b - a)) / Math.sin(2 * (a + t * (b - a))))
    },
    timeOf: (wanted) => found(path, (Math.atan(Math.exp((shift - wanted) / 2)) - a) / (b - a), wanted),
  }
}

export interface LaplaceOptions {
  /** The log-SNR around which time is spent; default 0. */
  readonly mean?: number
  /** Over how much of it; default 0.5. */
  readonly scale?: number
}

/**
 * ln(α²/σ²) = μ − b·sgn(½ − t)·ln(1 − 2|t − ½|), t in [0, 1]: a uniform t has a log-SNR with Laplace's distribution (Hang et al.,
 * arXiv:2407.03297). Clean at 0, all noise at 1; grids leave out what is within 1e-3 of either.
 */
export function laplacePath({ mean = 0, scale = 0.5, ...others }: LaplaceOptions = {}): NoisePath {
  refuseOthers('laplacePath', others)
  positive('laplacePath', { scale })
  const path = { name: 'laplacePath', range: unit, span: [1e-3, 1 - 1e-3] } as const
  return {
    ...path,
    clean: { t: 0, alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      return preserving(t, t <= 0.5 ? mean - scale * Math.log(2 * t) : mean + scale * Math.log(2 - 2 * t))
    },
    slope(t) {
      return preservingSlope(this.at(t), -scale / Math.min(t, 1 - t))
    },
    timeOf(wanted) {
      const tail = Math.exp(-Math.abs(wanted - mean) / scale) / 2
      return wanted >= mean ? tail : 1 - tail
    },
  }
}

export interface FlowOptions {
  /** How much more time is spent near the noise, as images with more pixels need; default 1. Stable Diffusion 3 uses 3 at 1024². */
  readonly shift?: number
}

/**
 * Rectified flow, from data at t = 0 to noise at t = 1: σ = s·t/(1 + (s − 1)t), α = 1 − σ, with the shift s (Liu et al., arXiv:2209.03003; Esser
 * et al., arXiv:2403.03206, eq. 23).
 */
export function flowPath({ shift = 1, ...others }: FlowOptions = {}): NoisePath {
  refuseOthers('flowPath', others)
  positive('flowPath', { shift })
  const path = { name: 'flowPath', range: unit, span: unit } as const
  return {
    ...path,
    clean: { t: 0, alpha: 1, sigma: 0 },
    at(time) {
      const t = inRange(path, time)
      const all = 1 + (shift - 1) * t
      return { t, alpha: (1 - t) / all, sigma: (shift * t) / all }
    },
    slope(time) {
      const change = shift / (1 + (shift - 1) * inRange(path, time)) ** 2
      return { alpha: -change, sigma: change }
    },
    timeOf(wanted) {
      const ratio = Math.exp(wanted / 2) // α/σ = (1 − t)/(s·t)
      return 1 / (1 + shift * ratio)
    },
  }
}

/** FLUX's shift, e^μ with μ between 0.5 at 256 image tokens and 1.15 at 4096, and beyond in proportion: `flowPath({ shift: fluxShift(tokens) })`. */
export function fluxShift(tokens: number, { base = [256, 0.5], most = [4096, 1.15], ...others }: FluxShiftOptions = {}): number {
  refuseOthers('fluxShift', others)
  return Math.exp(base[1] + ((most[1] - base[1]) * (tokens - base[0])) / (most[0] - base[0]))
}

export interface FluxShiftOptions {
  /** A number of tokens, and μ there. */
  readonly base?: readonly [tokens: number, mu: number]
  readonly most?: readonly [tokens: number, mu: number]
}
