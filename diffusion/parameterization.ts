/**
 * What a network's output means. Each is an invertible linear map of (x₀, ε), so that with x = α·x₀ + σ·ε known, it says both. Levels are
 * numbers where one holds for the batch, or tensors [B, 1, …].
 */
import { refuseOthers } from '../engine/error.ts'
import { ConfigError, add, narrow } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { combine, ln, negative, over, plus, root, square, times } from './arithmetic.ts'
import type { Factor } from './arithmetic.ts'
import type { Level } from './paths/path.ts'
import { Prediction } from './prediction.ts'

export interface Parameterization {
  readonly name: string
  /** By what the network's output has more channels than x; default 1. */
  readonly channels?: number
  /** What x is multiplied by before the network sees it; absent for 1. */
  input?(level: Level): Factor
  /** What the network is told of the time. */
  time(level: Level): Factor
  /** What the network should say, given x₀ and ε [B, …]. */
  target(x0: TensorLike, eps: TensorLike, level: Level): Tensor
  /** What the network's output means for x [B, …]. Throws ConfigError where it means nothing, such as x₀ from ε at α = 0. */
  read(output: Tensor, x: TensorLike, level: Level): Prediction
}

export interface TimeOptions {
  /** What the network is told of the time. */
  readonly time?: (level: Level) => Factor
}

const pathTime = ({ t }: Level): Factor => t

/** Output ε (Ho et al., arXiv:2006.11239, eq. 14). The network is told the path's time. */
export function epsPrediction({ time = pathTime, ...others }: TimeOptions = {}): Parameterization {
  refuseOthers('epsPrediction', others)
  return {
    name: 'eps', time,
    target: (_, eps) => eps.read(),
    read: (output, x, level) => Prediction.ofNoise(output, x, level),
  }
}

/** Output x₀. */
export function imagePrediction({ time = pathTime, ...others }: TimeOptions = {}): Parameterization {
  refuseOthers('imagePrediction', others)
  return {
    name: 'x0', time,
    target: (x0) => x0.read(),
    read: (output, x, level) => Prediction.ofImage(output, x, level),
  }
}

/** Output v = α·ε − σ·x₀ (Salimans and Ho, arXiv:2202.00512, appendix D): defined at every level. */
export function vPrediction({ time = pathTime, ...others }: TimeOptions = {}): Parameterization {
  refuseOthers('vPrediction', others)
  return {
    name: 'v', time,
    target: (x0, eps, { alpha, sigma }) => combine([alpha, eps], [negative(sigma), x0]),
    read(v, x, { alpha, sigma }) {
      const norm = plus(square(alpha), square(sigma)) // 1 on paths that keep the variance
      const [a, s] = [over(alpha, norm), over(sigma, norm)]
      return new Prediction(() => combine([a, x], [negative(s), v]), () => combine([s, x], [a, v]))
    },
  }
}

/**
 * Output u = ε − x₀, the velocity of a rectified flow (Liu et al., arXiv:2209.03003, eq. 1, with time from data to noise): defined at every level.
 * The network is told 1000·σ, as those of Stable Diffusion 3 and FLUX are.
 */
export function flowPrediction({ time = ({ sigma }: Level): Factor => times(1000, sigma), ...others }: TimeOptions = {}): Parameterization {
  refuseOthers('flowPrediction', others)
  return {
    name: 'flow', time,
    target: (x0, eps) => combine([1, eps], [-1, x0]),
    read(u, x, { alpha, sigma }) {
      const sum = plus(alpha, sigma) // 1 on a rectified flow
      return new Prediction(() => combine([over(1, sum), x], [negative(over(sigma, sum)), u]), () => combine([over(1, sum), x], [over(alpha, sum), u]))
    },
  }
}

/** Output ∇ log p(x) = −ε/σ, the score (Song et al., arXiv:2011.13456). */
export function scorePrediction({ time = pathTime, ...others }: TimeOptions = {}): Parameterization {
  refuseOthers('scorePrediction', others)
  return {
    name: 'score', time,
    target: (_, eps, { sigma }) => combine([over(-1, sigma), eps]),
    read: (score, x, level) => Prediction.ofNoise(combine([negative(level.sigma), score]), x, level),
  }
}

export interface EdmOptions extends TimeOptions {
  /** The standard deviation of the data; default 0.5. */
  readonly sigmaData?: number
}

/**
 * Output F, where x₀ = c_skip·x + c_out·F and the network sees c_in·x and is told ln(σ/α)/4 (Karras et al., arXiv:2206.00364, eq. 7 and table 1, of
 * which these are the forms with α): F has unit variance to predict at every level.
 */
export function edmPrediction({ sigmaData = 0.5, time = ({ alpha, sigma }: Level): Factor => times(0.25, ln(over(sigma, alpha))), ...others }: EdmOptions = {}): Parameterization {
  refuseOthers('edmPrediction', others)
  if (!(sigmaData > 0)) throw new ConfigError(`edmPrediction: sigmaData is ${sigmaData}; use the standard deviation of the data`)
  const total = ({ alpha, sigma }: Level): Factor => plus(square(times(sigmaData, alpha)), square(sigma))
  const skip = (level: Level): Factor => over(times(sigmaData ** 2, level.alpha), total(level))
  const out = (level: Level): Factor => over(times(sigmaData, level.sigma), root(total(level)))
  return {
    name: 'edm', time,
    input: (level) => over(1, root(total(level))),
    target(x0, eps, level) {
      const { alpha, sigma } = level // (x₀ − c_skip·x)/c_out
      return combine([over(sigma, times(sigmaData, root(total(level)))), x0], [negative(over(times(sigmaData, alpha), root(total(level)))), eps])
    },
    read: (output, x, level) => Prediction.ofImage(combine([skip(level), x], [out(level), output]), x, level),
  }
}

/**
 * As `inner`, of a network whose output has twice the channels, axis 1: the second half says where between its least and its greatest value the
 * variance of a step is, from −1 to 1 (Nichol and Dhariwal, arXiv:2102.09672, eq. 15). The target is that of the first half.
 */
export const withLearnedVariance = (inner: Parameterization): Parameterization => ({
  ...inner,
  name: `${inner.name} with learned variance`,
  channels: 2,
  read(output, x, level) {
    const channels = x.shape[1] ?? 0
    const said = inner.read(narrow(output, 1, 0, channels), x, level)
    return new Prediction(() => said.x0, () => said.eps, add(narrow(output, 1, channels, channels).mul(0.5), 0.5))
  },
})

/** x = α·x₀ + σ·ε. x0, eps [B, …]. */
export const addNoise = (x0: TensorLike, eps: TensorLike, { alpha, sigma }: Level): Tensor => combine([alpha, x0], [sigma, eps])
