/** Group normalisation (Wu and He, arXiv:1803.08494), with the SiLU that follows it in diffusion networks fused. */
import { ConfigError, ShapeError, refuseOthers } from '../error.ts'
import type { Spec, Tensor, TensorLike } from '../graph.ts'
import { apply, applyMany } from '../op.ts'
import type { Fused } from '../op.ts'
import { at, formatShape, sameShape, sizeOf } from '../shape.ts'
import { perChannel } from './conv.ts'
import { add, cast, div, literal, mul, sub } from './elementwise.ts'
import { sigmoid, sqrt } from './math.ts'
import { expand, reshape, sumKeep } from './movement.ts'
import { filled, floatType, statisticsType } from './operands.ts'
import { centre } from './statistics.ts'

export interface GroupNormAttributes {
  readonly groups: number
  readonly eps: number
  readonly silu: boolean
}

type Inputs = readonly [x: Tensor, weight: Tensor, bias: Tensor]

/** x [N, C, …], weight [C], bias [C] → y like x, and the statistics mean and rstd [N, groups] that the backward reads. */
export const groupNormOp: Fused<Inputs, GroupNormAttributes> = {
  kind: 'fused',
  name: 'groupNorm',
  shape([x, weight, bias], { groups }) {
    checkChannels('groupNorm', x, groups, { weight, bias })
    const statistics = { shape: [at(x.shape, 0), groups], dtype: x.dtype }
    return [{ shape: x.shape, dtype: x.dtype }, statistics, statistics]
  },
  decompose([x, weight, bias], { groups, eps, silu }) {
    const grouped = byGroup(x, groups)
    const count = literal(at(grouped.shape, 2))
    const { average, centred } = centre(grouped, [2]) // [N, G, 1], [N, G, values]
    const variance = div(sumKeep(mul(centred, centred), [2]), count)
    const rstd = div(literal(1), sqrt(add(variance, literal(eps))))
    const z = affine(reshape(mul(centred, rstd), x.shape), weight, bias)
    const statistics = [at(x.shape, 0), groups]
    return [silu ? mul(z, sigmoid(z)) : z, reshape(average, statistics), reshape(rstd, statistics)]
  },
  vjpMany([dy, dmean, drstd], [x, weight, bias], [y, mean, rstd], attributes) {
    if (y === undefined || mean === undefined || rstd === undefined) throw new RangeError('groupNorm has three outputs')
    const viaStatistics = statisticsGradient(x, mean, rstd, dmean, drstd)
    if (dy === undefined) return [viaStatistics, undefined, undefined]
    const [dx, weightPartial, biasPartial] = applyMany(groupNormGradOp, [dy, x, weight, bias, mean, rstd], attributes)
    const overSamples = (partial: Tensor | undefined): Tensor | undefined => partial && reshape(sumKeep(partial, [0]), weight.shape)
    return [dx !== undefined && viaStatistics !== undefined ? add(dx, viaStatistics) : dx, overSamples(weightPartial), overSamples(biasPartial)]
  },
}

/** The gradient of y: dx like x, and for weight and bias each sample's part [N, C]. */
export const groupNormGradOp: Fused<readonly [dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor], GroupNormAttributes> = {
  kind: 'fused',
  name: 'groupNormGrad',
  shape([dy, x, weight, bias], { groups }) {
    checkChannels('groupNormGrad', x, groups, { weight, bias })
    if (!sameShape(dy.shape, x.shape)) throw new ShapeError(`groupNormGrad: dy ${formatShape(dy.shape)} differs from x ${formatShape(x.shape)}; they must be equal`)
    const partial = { shape: x.shape.slice(0, 2), dtype: x.dtype }
    return [{ shape: x.shape, dtype: x.dtype }, partial, partial]
  },
  // x̂ = (x − μ)·rstd, z = x̂·w + b, y = z or z·σ(z); then with g = dz·w and ⟨·⟩ a group's mean, dx = rstd·(g − ⟨g⟩ − x̂·⟨g·x̂⟩).
  decompose([dy, x, weight, bias, mean, rstd], { groups, silu }) {
    const scale = reshape(rstd, [...rstd.shape, 1])
    const normal = mul(sub(byGroup(x, groups), reshape(mean, [...mean.shape, 1])), scale) // x̂ [N, G, C/G·S]
    const xhat = reshape(normal, x.shape)
    const dz = silu ? mul(dy, siluSlope(affine(xhat, weight, bias))) : dy
    const g = byGroup(mul(dz, perChannel(weight, x.rank)), groups)
    const count = literal(at(g.shape, 2))
    const average = (t: Tensor): Tensor => div(sumKeep(t, [2]), count)
    const dx = mul(scale, sub(sub(g, average(g)), mul(normal, average(mul(g, normal)))))
    const overPositions = (t: Tensor): Tensor => reshape(sumKeep(t, t.shape.flatMap((_, i) => (i < 2 ? [] : [i]))), x.shape.slice(0, 2))
    return [reshape(dx, x.shape), overPositions(mul(dz, xhat)), overPositions(dz)]
  },
}

/** [N, C, …] as [N, G, values of a group]. */
function byGroup(x: Tensor, groups: number): Tensor {
  return reshape(x, [at(x.shape, 0), groups, sizeOf(x.shape.slice(1)) / groups])
}

const affine = (x: Tensor, weight: Tensor, bias: Tensor): Tensor => add(mul(x, perChannel(weight, x.rank)), perChannel(bias, x.rank))

/** d/dz z·σ(z) = σ(z)·(1 + z·(1 − σ(z))) */
function siluSlope(z: Tensor): Tensor {
  const s = sigmoid(z)
  return mul(s, add(literal(1), mul(z, sub(literal(1), s))))
}

/** ∂μ/∂x = 1/n and ∂rstd/∂x = −rstd²·x̂/n, for those who differentiate the statistics, as second derivatives do. */
export function statisticsGradient(x: Tensor, mean: Tensor, rstd: Tensor, dmean: Tensor | undefined, drstd: Tensor | undefined): Tensor | undefined {
  if (dmean === undefined && drstd === undefined) return undefined
  const column = (t: Tensor): Tensor => reshape(t, [...t.shape, 1])
  const grouped = byGroup(x, at(mean.shape, 1))
  const viaMean = dmean && column(dmean)
  const viaScale = drstd && mul(sub(column(mean), grouped), column(mul(drstd, mul(rstd, mul(rstd, rstd)))))
  const sum = viaMean === undefined ? viaScale : viaScale === undefined ? viaMean : add(viaMean, viaScale)
  return sum && reshape(expand(div(sum, literal(at(grouped.shape, 2))), grouped.shape), x.shape)
}

function checkChannels(op: string, x: Spec, groups: number, parameters: Readonly<Record<string, Spec | undefined>>): void {
  const [, channels] = x.shape
  if (channels === undefined) throw new ShapeError(`${op}: input ${formatShape(x.shape)} needs axes [N,C,…]; reshape it`)
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) throw new ConfigError(`${op}: ${channels} channels do not divide into ${groups} groups (input ${formatShape(x.shape)}); choose groups that divide ${channels}`)
  for (const [name, p] of Object.entries(parameters)) {
    if (p !== undefined && !sameShape(p.shape, [channels])) throw new ShapeError(`${op}: ${name} is ${formatShape(p.shape)} but the input has ${channels} channels (input ${formatShape(x.shape)}); pass a ${name} of shape [${channels}]`)
  }
}

export interface GroupNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
  /** Applies silu(z) = z·σ(z) to the result. Default false. */
  readonly silu?: boolean
}

/**
 * y = (x − μ) / √(σ² + eps) · weight + bias, with mean μ and biased variance σ² over each sample's groups of
 * consecutive channels and all positions. x [N, C, …], weight and bias [C] or absent → the shape of x.
 * Throws ConfigError for groups that do not divide C, ShapeError for other parameters, DTypeError for integers.
 */
export function groupNorm(x: TensorLike, groups: number, weight?: TensorLike, bias?: TensorLike, { eps = 1e-5, silu = false, ...others }: GroupNormOptions = {}): Tensor {
  refuseOthers('groupNorm', others)
  const dtype = floatType('groupNorm', { input: x, weight, bias })
  checkChannels('groupNorm', x, groups, { weight, bias })
  const channels = x.shape.slice(1, 2)
  const working = statisticsType(dtype)
  const scale = weight === undefined ? filled(x, channels, 1, working) : cast(weight, working)
  const shift = bias === undefined ? filled(x, channels, 0, working) : cast(bias, working)
  return cast(apply(groupNormOp, [cast(x, working), scale, shift], { groups, eps, silu }), dtype)
}
