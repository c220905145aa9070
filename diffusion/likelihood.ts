/** How likely images are under a model: ln p by the probability-flow ODE, and the bits that it takes to store them. */
import { refuseOthers } from '../engine/error.ts'
import { ConfigError, RandomGenerator, ShapeError, add, grad, mul, neg, normal, realize, reshape, square, sum } from '../engine/index.ts'
import type { Tensor } from '../engine/index.ts'
import { formatShape } from '../engine/shape.ts'
import { beginsWith } from './sample.ts'
import type { Conditions, Denoiser } from './denoiser.ts'
import type { NoisePath } from './paths/path.ts'
import { leastLevel, velocity } from './samplers/integrators.ts'
import { checkTolerances, integrate } from './samplers/rungeKutta.ts'
import type { ErrorOptions } from './samplers/rungeKutta.ts'

export interface LikelihoodOptions<C extends Conditions> extends ErrorOptions {
  readonly path: NoisePath
  readonly conditions?: C
  /** Of the random probes of Hutchinson's estimate, one for each image. */
  readonly seeds: readonly (number | bigint)[]
  /** How many probes are averaged; default 1. The standard error of an estimate falls with their root. */
  readonly probes?: number
}

/**
 * ln p(image) [B] in nats, of images [B, …]: with x from the least level of the path's span, where it is α·image, to pure noise along dx/dt = v,
 *
 *     ln p = ln N(x_T) + ∫ div v dt + D·ln α
 *
 * and div v estimated by zᵀ(∂v/∂x)z with z of independent ±1 (Song et al., arXiv:2011.13456, eq. 39 and 40; Grathwohl et al., arXiv:1810.01367, eq. 7). The noise of
 * the least level is a part of the model, and so is that x_T is noise alone: on a path that ends with some of the image left, as Stable Diffusion's, it is not. Throws ShapeError where seeds or conditions do not count the images; ConfigError where the tolerance cannot be met.
 */
export async function logLikelihood<C extends Conditions>(denoise: Denoiser<C>, images: Tensor, { path, conditions = {} as C, seeds, probes = 1, rtol = 1e-5, atol = 1e-5, ...others }: LikelihoodOptions<C>): Promise<Tensor> {
  refuseOthers('logLikelihood', others)
  const tolerances = checkTolerances('logLikelihood', { rtol, atol })
  if (!(Number.isInteger(probes) && probes > 0)) throw new ConfigError(`logLikelihood: ${probes} probes; use a positive integer`)
  if (seeds.length !== images.shape[0]) throw new ShapeError(`logLikelihood: ${seeds.length} seeds for images ${formatShape(images.shape)}; pass one for each`)
  for (const [name, condition] of Object.entries(conditions)) if (condition.shape[0] !== seeds.length) throw new ShapeError(`logLikelihood: condition ${name} is ${formatShape(condition.shape)} but there are ${seeds.length} images; its first axis must count them`)
  const dims = images.size / seeds.length
  const perImage = (x: Tensor): Tensor => sum(reshape(x, [seeds.length, dims]), 1)
  const roots = seeds.map((seed) => new RandomGenerator(seed))
  const directions = Array.from({ length: probes }, (_, k) => normal(images.shape, { device: images.device, generator: roots.map((root) => root.fork(k)) }).sign())
  await realize(...directions)
  const field = (t: number, [x = images]: readonly Tensor[]): readonly Tensor[] => {
    const v = velocity(path, denoise(x, path.at(t), conditions), t)
    const traces = directions.map((z) => perImage(mul(grad(sum(mul(v, z)), x), z)))
    return [v, mul(traces.reduce((a, b) => add(a, b)), 1 / probes)]
  }
  const [first, last] = [leastLevel(path), path.at(path.range[1] < Infinity ? path.range[1] : path.span[1])]
  const start = first.alpha === 1 ? mul(images, 1) : mul(images, first.alpha)
  const none = perImage(mul(images, 0))
  await realize(start, none)
  try {
    const { y: [x = images, change = images] } = await integrate(field, first.t, last.t, [start, none], tolerances)
    const scale = beginsWith(path, last)
    const constant = -dims * (Math.log(2 * Math.PI) / 2 + Math.log(scale) - Math.log(first.alpha))
    const result = add(add(mul(perImage(square(x)), -1 / (2 * scale ** 2)), change), constant)
    await realize(result)
    for (const old of [x, change]) old.dispose()
    return result
  } finally {
    for (const old of [start, none, ...directions]) old.dispose()
  }
}

/**
 * Bits per dimension [B] of images [B, …shape] whose ln p is given [B] and whose values are steps of `width` apart, by default the 1/127.5 of 8-bit values scaled
 * to [−1, 1]. For an upper bound of what storing them takes, ln p must be of images with uniform noise of that width added (Theis et al., arXiv:1511.01844, section 3.1).
 */
export function bitsPerDimension(logLikelihoods: Tensor, shape: readonly number[], { width = 1 / 127.5, ...others }: { readonly width?: number } = {}): Tensor {
  refuseOthers('bitsPerDimension', others)
  if (!(width > 0)) throw new ConfigError(`bitsPerDimension: width is ${width}; use the distance between two values of an element`)
  const dims = shape.reduce((product, d) => product * d, 1)
  return add(mul(neg(logLikelihoods), 1 / (dims * Math.LN2)), -Math.log2(width))
}
