/**
 * Guidance: denoisers made of denoisers. Each is innermost first in `compose`, and where its scale is 1 at a level it asks the network once, with
 * the batch as it is.
 */
import { refuseOthers } from '../engine/error.ts'
import { ConfigError, ShapeError, add, clamp, concat, div, expand, grad, maximum, minimum, mul, narrow, norm, reshape, std, sub, sum, where } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { formatShape, sameShape } from '../engine/shape.ts'
import { combine } from './arithmetic.ts'
import type { Conditions, Denoiser, Guidance } from './denoiser.ts'
import { flowPrediction, vPrediction } from './parameterization.ts'
import type { Parameterization } from './parameterization.ts'
import { noiseRatio } from './paths/path.ts'
import type { HostLevel } from './paths/path.ts'
import { Prediction } from './prediction.ts'

/** A number, or one for each level. */
export type Scale = number | ((level: HostLevel) => number)

function scaleAt(op: string, scale: Scale, level: HostLevel): number {
  const w = typeof scale === 'number' ? scale : scale(level)
  if (!Number.isFinite(w)) throw new ConfigError(`${op}: the scale is ${w} at σ/α = ${noiseRatio(level)}; use a finite number, 1 for no guidance`)
  return w
}

/** What becomes of what is said with the conditions and what is said without. */
export type Rule = (said: { readonly positive: Prediction; readonly negative: Prediction; readonly scale: number; readonly x: Tensor; readonly level: HostLevel }) => Prediction

/** u + w·(c − u) (Ho and Salimans, arXiv:2207.12598, eq. 6, with w counted from 0). */
export const linear: Rule = ({ positive, negative, scale }) => Prediction.mix(scale, positive, 1 - scale, negative)

export interface ClassifierFreeOptions<C extends Conditions> {
  /** w: 1 for the conditions alone, more for more of them. */
  readonly scale: Scale
  /** What stands for no conditions, or what is to be avoided: of the same names and shapes. */
  readonly negative: C
  /** Default: u + w·(c − u); see `rescaled`, `projected` and `zeroStar`. */
  readonly rule?: Rule
}

/**
 * Classifier-free guidance: the network is asked with the conditions and with `negative` in one batch of twice the images. Throws ConfigError where there are no
 * conditions, ShapeError where those of `negative` are others.
 */
export function classifierFree<C extends Conditions>({ scale, negative, rule = linear, ...others }: ClassifierFreeOptions<C>): Guidance<C> {
  refuseOthers('classifierFree', others)
  return (denoise) => (x, level, conditions) => {
    const w = scaleAt('classifierFree', scale, level)
    if (w === 1) return denoise(x, level, conditions)
    const batch = x.shape[0] ?? 1
    const said = denoise(concat([x, x], 0), level, doubled(conditions, negative))
    return rule({ positive: part(said, 0, batch), negative: part(said, batch, batch), scale: w, x, level })
  }
}

function doubled<C extends Conditions>(conditions: C, negative: C): C {
  const names = Object.keys(conditions)
  if (names.length === 0) throw new ConfigError('classifierFree: there are no conditions to be guided by; pass { conditions } to sample, or no guidance')
  const pairs = [...new Set([...names, ...Object.keys(negative)])].map((name): [string, TensorLike] => {
    const [c, u] = [conditions[name], negative[name]]
    if (c === undefined || u === undefined) throw new ConfigError(`classifierFree: ${name} is in ${c === undefined ? 'the negative conditions' : 'the conditions'} only; give both the same names`)
    if (!sameShape(c.shape, u.shape)) throw new ShapeError(`classifierFree: ${name} is ${formatShape(c.shape)} in the conditions and ${formatShape(u.shape)} in the negative ones; they go into one batch and must be of one shape`)
    return [name, concat([c, u], 0)]
  })
  return Object.fromEntries(pairs) as C
}

/** What was said of some images of a batch. */
const part = (said: Prediction, from: number, count: number): Prediction =>
  new Prediction(() => narrow(said.x0, 0, from, count), () => narrow(said.eps, 0, from, count), said.variance && narrow(said.variance, 0, from, count))

/** All axes but the first, which counts images. */
const within = (x: TensorLike): number[] => x.shape.slice(1).map((_, i) => i + 1)

/** What a network in that parameterization would have to say, and what it would mean. */
const inSpace = (space: Parameterization, level: HostLevel) => ({
  of: ({ x0, eps }: Prediction): Tensor => space.target(x0, eps, level),
  read: (output: Tensor, x: Tensor): Prediction => space.read(output, x, level),
})

export interface RescaledOptions {
  /** φ, how much of the rescaled is taken; default 0.7. */
  readonly share?: number
  /** In which the deviations are compared: that of the network; default v. */
  readonly space?: Parameterization
}

/** Guidance brought back to the deviation that the conditions alone have in each image, against washed-out and glaring ones (Lin et al., arXiv:2305.08891, eq. 15 and 16). An image of one value is left alone. */
export function rescaled({ share = 0.7, space = vPrediction(), ...others }: RescaledOptions = {}): Rule {
  refuseOthers('rescaled', others)
  return ({ positive, negative, scale, x, level }) => {
    const { of, read } = inSpace(space, level)
    const c = of(positive)
    const guided = combine([scale, c], [1 - scale, of(negative)])
    const [wanted, found] = [c, guided].map((y) => std(y, within(y), { correction: 0, keepDims: true }))
    if (wanted === undefined || found === undefined) throw new RangeError('two deviations')
    const factor = where(found.greater(0), div(wanted, maximum(found, 1e-30)), 1)
    return read(mul(guided, add(mul(factor, share), 1 - share)), x)
  }
}

export interface ProjectedOptions {
  /** η, how much of what lies along x₀ itself is kept, which is what oversaturates; default 0. */
  readonly parallel?: number
  /** r, the most that the two x₀ may differ by as a vector; default: no limit. */
  readonly most?: number
}

/** Adaptive projected guidance, without its momentum (Sadat et al., arXiv:2410.02416, algorithm 1): of c − u in x₀, what is orthogonal to c. */
export function projected({ parallel = 0, most = Infinity, ...others }: ProjectedOptions = {}): Rule {
  refuseOthers('projected', others)
  return ({ positive, negative, scale, x, level }) => {
    const c = positive.x0
    const axes = within(c)
    const dot = (a: Tensor, b: Tensor): Tensor => sum(mul(a, b), axes, { keepDims: true })
    const raw = sub(c, negative.x0)
    const difference = most === Infinity ? raw : mul(raw, minimum(div(most, maximum(norm(raw, axes, { keepDims: true }), 1e-30)), 1))
    const along = mul(c, div(dot(difference, c), maximum(dot(c, c), 1e-30)))
    return Prediction.ofImage(combine([1, c], [scale - 1, difference], [(scale - 1) * (parallel - 1), along]), x, level, positive.variance)
  }
}

export interface ZeroStarOptions {
  /** Whether nothing is to move at a level: the first steps of a flow, where what is guided is far off; default: none. */
  readonly zero?: (level: HostLevel) => boolean
}

/** CFG-Zero*: s·u + w·(c − s·u) in the velocity of a flow, with the s that brings u nearest to c in each image (Fan et al., arXiv:2503.18886, eq. 8 and 9). */
export function zeroStar({ zero = () => false, ...others }: ZeroStarOptions = {}): Rule {
  refuseOthers('zeroStar', others)
  return ({ positive, negative, scale, x, level }) => {
    const { of, read } = inSpace(flowPrediction(), level)
    const [c, u] = [of(positive), of(negative)]
    if (zero(level)) return read(mul(c, 0), x)
    const dot = (a: Tensor, b: Tensor): Tensor => sum(mul(a, b), within(a), { keepDims: true })
    const s = div(dot(c, u), maximum(dot(u, u), 1e-30))
    return read(combine([scale, c], [1 - scale, mul(u, s)]), x)
  }
}

export interface AutoguidanceOptions<C extends Conditions> {
  readonly scale: Scale
  /** A worse denoiser of the same data: of a smaller network, or one trained for a shorter time. */
  readonly guide: Denoiser<C>
}

/** Away from what a worse network says: g + w·(d − g) (Karras et al., arXiv:2406.02507, eq. 1). */
export function autoguidance<C extends Conditions>({ scale, guide, ...others }: AutoguidanceOptions<C>): Guidance<C> {
  refuseOthers('autoguidance', others)
  return (denoise) => (x, level, conditions) => {
    const w = scaleAt('autoguidance', scale, level)
    const said = denoise(x, level, conditions)
    return w === 1 ? said : Prediction.mix(w, said, 1 - w, guide(x, level, conditions))
  }
}

/**
 * Perturbed-attention guidance: d + s·(d − p), where `perturbed` is the denoiser of the same network with attention to nothing but itself in some layers (Ahn et
 * al., arXiv:2403.17377, eq. 15). A scale of 0 is none.
 */
export function perturbedAttention<C extends Conditions>({ scale, perturbed, ...others }: { readonly scale: number; readonly perturbed: Denoiser<C> }): Guidance<C> {
  refuseOthers('perturbedAttention', others)
  return autoguidance({ scale: 1 + scale, guide: perturbed })
}

/** A guidance at levels with σ/α from `least` to `most` alone (Kynkäänniemi et al., arXiv:2404.07724); at others the network is asked as if there were none. */
export function interval<C extends Conditions>(guidance: Guidance<C>, { least = 0, most = Infinity, ...others }: { readonly least?: number; readonly most?: number }): Guidance<C> {
  refuseOthers('interval', others)
  return (denoise) => {
    const guided = guidance(denoise)
    return (x, level, conditions) => (noiseRatio(level) >= least && noiseRatio(level) <= most ? guided : denoise)(x, level, conditions)
  }
}

export interface ClassifierOptions<C extends Conditions> {
  readonly scale: Scale
  /** ln p(conditions | x) [B] of noisy images x [B, …]. */
  readonly logProbability: (x: Tensor, level: HostLevel, conditions: C) => Tensor
}

/** Classifier guidance: ε − w·σ·∇ ln p(conditions | x), by the gradient of a classifier of noisy images (Dhariwal and Nichol, arXiv:2105.05233, algorithm 2). A scale of 0 is none. */
export function classifierGuidance<C extends Conditions>({ scale, logProbability, ...others }: ClassifierOptions<C>): Guidance<C> {
  refuseOthers('classifierGuidance', others)
  return (denoise) => (x, level, conditions) => {
    const w = scaleAt('classifierGuidance', scale, level)
    const said = denoise(x, level, conditions)
    if (w === 0) return said
    const [slope] = grad(sum(logProbability(x, level, conditions)), [x])
    return Prediction.ofNoise(combine([1, said.eps], [-w * level.sigma, slope]), x, level, said.variance)
  }
}

export interface ThresholdOptions {
  /** The share of an image's elements that stay below its threshold; default 0.995. */
  readonly share?: number
  /** The highest threshold; default: no limit. */
  readonly most?: number
}

/** Dynamic thresholding: x₀ cut at the `share` quantile of its absolute values in each image, if that is above 1, and divided by it (Saharia et al., arXiv:2205.11487, section 2.3). */
export function thresholded<C extends Conditions>({ share = 0.995, most = Infinity, ...others }: ThresholdOptions = {}): Guidance<C> {
  refuseOthers('thresholded', others)
  return (denoise) => (x, level, conditions) => {
    const { x0, variance } = denoise(x, level, conditions)
    const flat = reshape(x0.abs(), [x0.shape[0] ?? 1, -1])
    const last = (flat.shape[1] ?? 1) - 1
    const place = share * last
    const sorted = flat.sort(1).values
    const near = (i: number): Tensor => narrow(sorted, 1, Math.min(last, i), 1)
    const quantile = combine([1 - (place % 1), near(Math.floor(place))], [place % 1, near(Math.ceil(place))])
    const limit = expand(reshape(clamp(quantile, 1, most), [x0.shape[0] ?? 1, ...within(x0).map(() => 1)]), x0.shape)
    return Prediction.ofImage(div(minimum(maximum(x0, limit.neg()), limit), limit), x, level, variance)
  }
}

