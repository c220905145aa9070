/** Layer normalisation (Ba et al., arXiv:1607.06450) and RMS normalisation (Zhang and Sennrich, arXiv:1910.07467). */
import { ShapeError, refuseOthers } from '../error.ts'
import type { Spec, Tensor, TensorLike } from '../graph.ts'
import { apply, applyMany } from '../op.ts'
import type { Fused } from '../op.ts'
import { at, formatShape, sameShape, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { add, cast, div, literal, mul, sub } from './elementwise.ts'
import { statisticsGradient } from './groupNorm.ts'
import { sqrt } from './math.ts'
import { reshape, sumKeep } from './movement.ts'
import { filled, floatType, statisticsType } from './operands.ts'
import { centre } from './statistics.ts'

export interface LayerNormAttributes {
  readonly eps: number
  /** Whether the mean is taken away: layer norm; else RMS norm. */
  readonly centred: boolean
}

/** Of each row. */
const average = (x: Tensor): Tensor => div(sumKeep(x, [1]), literal(at(x.shape, 1)))

/** x [rows, n], weight [n], bias [n] → y like x, and the statistics mean (zeros if not centred) and rstd [rows, 1] that the backward reads. */
export const layerNormOp: Fused<readonly [x: Tensor, weight: Tensor, bias: Tensor], LayerNormAttributes> = {
  kind: 'fused',
  name: 'layerNorm',
  shape([x, weight, bias]) {
    checkRows('layerNorm', x, { weight, bias })
    const statistics = { shape: [at(x.shape, 0), 1], dtype: x.dtype }
    return [{ shape: x.shape, dtype: x.dtype }, statistics, statistics]
  },
  decompose([x, weight, bias], { eps, centred }) {
    const from = centred ? centre(x, [1]) : { average: filled(x, [at(x.shape, 0), 1], 0), centred: x }
    const rstd = div(literal(1), sqrt(add(average(mul(from.centred, from.centred)), literal(eps))))
    return [add(mul(mul(from.centred, rstd), weight), bias), from.average, rstd]
  },
  vjpMany([dy, dmean, drstd], [x, weight], [y, mean, rstd], attributes) {
    if (y === undefined || mean === undefined || rstd === undefined) throw new RangeError('layerNorm has three outputs')
    const viaStatistics = statisticsGradient(x, mean, rstd, attributes.centred ? dmean : undefined, drstd)
    if (dy === undefined) return [viaStatistics, undefined, undefined]
    const dx = apply(layerNormGradOp, [dy, x, weight, mean, rstd], attributes)
    const overRows = (t: Tensor): Tensor => reshape(sumKeep(t, [0]), weight.shape)
    return [viaStatistics === undefined ? dx : add(dx, viaStatistics), () => overRows(mul(dy, mul(sub(x, mean), rstd))), () => overRows(dy)]
  },
}

/** With x̂ = (x − μ)·rstd, g = dy·weight and ⟨·⟩ a row's mean: dx = rstd·(g − ⟨g⟩ − x̂·⟨g·x̂⟩), without ⟨g⟩ if not centred. */
export const layerNormGradOp: Fused<readonly [dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor], LayerNormAttributes> = {
  kind: 'fused',
  name: 'layerNormGrad',
  shape([dy, x, weight]) {
    checkRows('layerNormGrad', x, { weight })
    if (!sameShape(dy.shape, x.shape)) throw new ShapeError(`layerNormGrad: dy ${formatShape(dy.shape)} differs from x ${formatShape(x.shape)}; they must be equal`)
    return { shape: x.shape, dtype: x.dtype }
  },
  decompose([dy, x, weight, mean, rstd], { centred }) {
    const [g, xhat] = [mul(dy, weight), mul(sub(x, mean), rstd)]
    const rest = mul(xhat, average(mul(g, xhat)))
    return mul(rstd, sub(centred ? sub(g, average(g)) : g, rest))
  },
}

function checkRows(op: string, x: Spec, parameters: Readonly<Record<string, Spec>>): void {
  if (x.shape.length !== 2) throw new ShapeError(`${op}: input ${formatShape(x.shape)} needs axes [rows, n]; reshape it`)
  for (const [name, p] of Object.entries(parameters)) {
    if (!sameShape(p.shape, x.shape.slice(1))) throw new ShapeError(`${op}: ${name} is ${formatShape(p.shape)} but the rows have ${at(x.shape, 1)} elements; make them equal`)
  }
}

/** The norm of the last axes of x, whose sizes are `shape`, as rows. */
function normalize(x: TensorLike, shape: Shape, weight: TensorLike | undefined, bias: TensorLike | undefined, dtype: Tensor['dtype'], attributes: LayerNormAttributes): Tensor {
  const n = sizeOf(shape)
  const working = statisticsType(dtype)
  const parameter = (p: TensorLike | undefined, value: number): Tensor => (p === undefined ? filled(x, [n], value, working) : reshape(cast(p, working), [n]))
  const rows = reshape(cast(x, working), [sizeOf(x.shape.slice(0, x.shape.length - shape.length)), n])
  const [y] = applyMany(layerNormOp, [rows, parameter(weight, 1), parameter(bias, 0)], attributes)
  if (y === undefined) throw new RangeError('layerNorm has three outputs')
  return cast(reshape(y, x.shape), dtype)
}

/** The last axes of x must have the sizes `shape`, as parameters must. */
function checkNormalized(op: string, x: TensorLike, shape: Shape, parameters: Readonly<Record<string, TensorLike | undefined>>): void {
  const lead = x.shape.length - shape.length
  if (shape.length === 0 || lead < 0 || !sameShape(x.shape.slice(lead), shape)) {
    throw new ShapeError(`${op}: input ${formatShape(x.shape)} does not end in the normalised shape ${formatShape(shape)}; pass the sizes of its last axes`)
  }
  for (const [name, p] of Object.entries(parameters)) {
    if (p !== undefined && !sameShape(p.shape, shape)) throw new ShapeError(`${op}: ${name} is ${formatShape(p.shape)} but the normalised shape is ${formatShape(shape)}; make them equal`)
  }
}

export interface LayerNormOptions {
  /** Added under the root. */
  readonly eps?: number
}

/**
 * y = (x − μ) / √(σ² + eps) · weight + bias, with mean μ and biased variance σ² over the last axes, whose sizes are
 * `shape`. weight and bias have that shape or are absent; the result has the shape of x. eps defaults to 1e-5.
 * Throws ShapeError for axes or parameters that do not fit, DTypeError for integers.
 */
export function layerNorm(x: TensorLike, shape: Shape, weight?: TensorLike, bias?: TensorLike, { eps = 1e-5, ...others }: LayerNormOptions = {}): Tensor {
  refuseOthers('layerNorm', others)
  const dtype = floatType('layerNorm', { input: x, weight, bias })
  checkNormalized('layerNorm', x, shape, { weight, bias })
  return normalize(x, shape, weight, bias, dtype, { eps, centred: true })
}

/**
 * y = x / √(⟨x²⟩ + eps) · weight, with the mean square over the last axes, whose sizes are `shape`; weight has that
 * shape or is absent. eps defaults to 1e-6. Errors as layerNorm.
 */
export function rmsNorm(x: TensorLike, shape: Shape, weight?: TensorLike, { eps = 1e-6, ...others }: LayerNormOptions = {}): Tensor {
  refuseOthers('rmsNorm', others)
  const dtype = floatType('rmsNorm', { input: x, weight })
  checkNormalized('rmsNorm', x, shape, { weight })
  return normalize(x, shape, weight, undefined, dtype, { eps, centred: false })
}
