/** Samplers made of samplers: what goes back up, what keeps a part of the image, what corrects each level. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError, ShapeError, add, div, maximum, mul, norm, square, sqrt, where } from '../../engine/index.ts'
import type { Tensor, TensorLike } from '../../engine/index.ts'
import { at, formatShape, sameShape } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import { addNoise } from '../parameterization.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import { addedNoise, between } from './sampler.ts'
import type { Problem, Sampler, SamplerStep } from './sampler.ts'

/** Draws of the wrapped sampler are numbered from 0; those of what is around it from here. */
const ownDraws = 1000

export interface Restart {
  /** The σ/α from which it goes back. */
  readonly least: number
  /** The σ/α to which. */
  readonly most: number
  /** How often; default 1. */
  readonly times?: number
}

/**
 * The levels of a descent with restarts: wherever it passes a restart's `least`, it goes back up to `most` and down again, `times` times (Xu et al.,
 * arXiv:2306.14878, algorithm 1; Lugmayr et al.'s resampling, arXiv:2201.09865, algorithm 1, is one after every few levels). For `restarting` samplers.
 */
export function withRestarts(levels: readonly HostLevel[], restarts: readonly Restart[]): readonly HostLevel[] {
  const seen: HostLevel[] = []
  const open = restarts.map((restart) => ({ times: 1, ...restart }))
  for (const level of levels) {
    seen.push(level)
    for (const { least, most, times } of open.filter((restart) => noiseRatio(level) <= restart.least && noiseRatio(at(seen, seen.length - 2)) > restart.least)) {
      const again = levels.filter((one) => noiseRatio(one) <= most && noiseRatio(one) >= noiseRatio(level))
      if (again.length < 2) throw new ConfigError(`withRestarts: there is no level between σ/α = ${least} and ${most} to go back to; use a wider interval, or more levels`)
      if (level.sigma === 0) throw new ConfigError(`withRestarts: the levels pass σ/α = ${least} only in the image itself; use a larger least, or more levels`)
      for (let i = 0; i < times; i++) seen.push(...again)
    }
  }
  return seen
}

/** A sampler that goes up, too: where the next level is noisier, by fresh noise (Xu et al., arXiv:2306.14878, eq. 2), and there `inner` begins anew. */
export const restarting = (inner: Sampler): Sampler => ({
  ...inner,
  name: `restarting ${inner.name}`,
  rises: true,
  step(state, problem) {
    const [from, to] = between(this, state, problem)
    if (noiseRatio(to) < noiseRatio(from)) return inner.step(state, problem)
    const x = addedNoise(state.x, from, to, problem.noise(state.step, ownDraws))
    return { step: state.step + 1, x, x0: state.x }
  },
})

export interface InpaintingOptions {
  /** The image to complete [B, …]. */
  readonly image: Tensor
  /** bool, which broadcasts to it: true where the image stays as it is. */
  readonly keep: TensorLike
}

/** At each level, what is kept is the image with that level's noise; at the end, the image itself, bit for bit (Lugmayr et al., "RePaint", arXiv:2201.09865, eq. 8). */
export function inpainting(inner: Sampler, { image, keep, ...others }: InpaintingOptions): Sampler {
  refuseOthers('inpainting', others)
  return {
    ...inner,
    name: `inpainting ${inner.name}`,
    async step(state, problem): Promise<SamplerStep> {
      const [, to] = between(this, state, problem)
      if (!sameShape(image.shape, state.x.shape)) throw new ShapeError(`inpainting: the image is ${formatShape(image.shape)} but images of ${formatShape(state.x.shape)} are sampled; pass one image for each seed`)
      const next = await inner.step(state, problem)
      const known = to.sigma === 0 ? image : addNoise(image, problem.noise(state.step, ownDraws + 1), to)
      return { ...next, x: where(keep, known, next.x) }
    },
  }
}

export interface CorrectorOptions {
  /** r, the ratio of the drift's norm to the noise's in each image; default 0.16. */
  readonly snr?: number
  /** Corrections at each level; default 1. */
  readonly steps?: number
}

/** Langevin's steps at one level: x + ε·s + √(2ε)·z with the score s and ε = 2·(r·‖z‖/‖s‖)² (Song et al., arXiv:2011.13456, algorithms 4 and 5), of each image for itself. */
function corrected(problem: Problem, x: Tensor, level: HostLevel, step: number, { snr = 0.16, steps = 1 }: CorrectorOptions): Tensor {
  let y = x
  for (let k = 0; k < steps; k++) {
    const z = problem.noise(step, 2 * ownDraws + k)
    const { eps } = problem.denoise(y, level) // s = −ε/σ
    const axes = y.shape.slice(1).map((_, i) => i + 1)
    const length = (v: Tensor): Tensor => norm(v, axes, { keepDims: true })
    const size = mul(square(div(mul(length(z), snr * level.sigma), maximum(length(eps), 1e-30))), 2)
    y = add(add(y, mul(eps, mul(size, -1 / level.sigma))), mul(z, sqrt(mul(size, 2))))
  }
  return y
}

function checkCorrector(op: string, { snr = 0.16, steps = 1, ...others }: CorrectorOptions): void {
  refuseOthers(op, others)
  if (!(snr > 0 && Number.isInteger(steps) && steps > 0)) throw new ConfigError(`${op}: snr ${snr} and ${steps} steps; both are positive, steps an integer`)
}

/** Predictor and corrector: after each step of `predictor`, Langevin's steps at the level that it came to (Song et al., arXiv:2011.13456, algorithm 1). */
export function withCorrector(predictor: Sampler, options: CorrectorOptions = {}): Sampler {
  checkCorrector('withCorrector', options)
  return {
    ...predictor,
    name: `${predictor.name} with corrector`,
    async step(state, problem): Promise<SamplerStep> {
      const [, to] = between(this, state, problem)
      const next = await predictor.step(state, problem)
      return to.sigma === 0 ? next : { ...next, x: corrected(problem, next.x, to, state.step, options) }
    },
  }
}

/** Annealed Langevin dynamics: Langevin's steps at each level, and at the end what the denoiser sees (Song and Ermon, arXiv:1907.05600, algorithm 1; arXiv:2006.09011, section 3.4). */
export function annealedLangevin(options: CorrectorOptions = {}): Sampler {
  checkCorrector('annealedLangevin', options)
  return {
    name: 'annealedLangevin',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const x = from.sigma === 0 ? state.x : corrected(problem, state.x, from, state.step, options)
      const { x0 } = problem.denoise(x, from)
      return { step: state.step + 1, x: to.sigma === 0 ? x0 : from.alpha === 0 ? x : combine([to.alpha / from.alpha, x]), x0 }
    },
  }
}
