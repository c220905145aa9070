/** What a denoiser says of x = α·x₀ + σ·ε: the image expected behind it, E[x₀ | x], and the noise, E[ε | x]. Either follows from the other. */
import { ConfigError } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { combine, negative, over } from './arithmetic.ts'
import type { Factor } from './arithmetic.ts'
import type { Level } from './paths/path.ts'

/** Computed when they are read: what a sampler does not use is not part of its graph. */
export class Prediction {
  readonly #x0: () => Tensor
  readonly #eps: () => Tensor
  /** What a network with a learned variance says of it: 0 for the least that the step can have, 1 for the greatest (Nichol and Dhariwal, arXiv:2102.09672, eq. 15). */
  readonly variance: Tensor | undefined
  #known: { x0?: Tensor; eps?: Tensor } = {}

  constructor(x0: () => Tensor, eps: () => Tensor, variance?: Tensor) {
    this.#x0 = x0
    this.#eps = eps
    this.variance = variance
  }

  /** E[x₀ | x], in the shape of x. */
  get x0(): Tensor {
    return (this.#known.x0 ??= this.#x0())
  }

  /** E[ε | x], in the shape of x. */
  get eps(): Tensor {
    return (this.#known.eps ??= this.#eps())
  }

  /** From what is said of x₀: ε = (x − α·x₀)/σ. */
  static ofImage(x0: Tensor, x: TensorLike, level: Level, variance?: Tensor): Prediction {
    return new Prediction(() => x0, () => combine([over(1, positive('sigma', level)), x], [over(negative(level.alpha), level.sigma), x0]), variance)
  }

  /** From what is said of ε: x₀ = (x − σ·ε)/α. */
  static ofNoise(eps: Tensor, x: TensorLike, level: Level, variance?: Tensor): Prediction {
    return new Prediction(() => combine([over(1, positive('alpha', level)), x], [over(negative(level.sigma), level.alpha), eps]), () => eps, variance)
  }

  /** Of both: `x0` and `eps` as linear functions of two predictions at the same x, such as u + w·(c − u). */
  static mix(a: Factor, one: Prediction, b: Factor, other: Prediction): Prediction {
    return new Prediction(() => combine([a, one.x0], [b, other.x0]), () => combine([a, one.eps], [b, other.eps]), one.variance)
  }
}

/** The factor, which is divided by. */
function positive(factor: 'alpha' | 'sigma', level: Level): Factor {
  const value = level[factor]
  if (value !== 0) return value
  throw new ConfigError(
    factor === 'alpha'
      ? 'a network that says what the noise is says nothing of the image where there is nothing but noise (alpha is 0, at the first level); use one trained on v or on a flow, or levels that begin later'
      : 'there is no noise to speak of at sigma 0; end the levels with it, and begin no step there',
  )
}
