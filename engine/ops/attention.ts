/**
 * Scaled dot-product attention (Vaswani et al., arXiv:1706.03762), whose backward computes the weights again from the
 * logarithm of each row's sum (Dao et al., "FlashAttention", arXiv:2205.14135) instead of storing them.
 */
import { stopGradient } from '../recompute.ts'
import { leafTensor } from '../create.ts'
import { isFloat } from '../dtype.ts'
import { DTypeError, ShapeError, refuseOthers } from '../error.ts'
import type { Spec, Tensor, TensorLike } from '../graph.ts'
import { apply, applyMany } from '../op.ts'
import type { Fused } from '../op.ts'
import { at, broadcastShapes, formatShape, sameShape } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { add, cast, div, lessEqual, literal, mul, sub, where } from './elementwise.ts'
import { iota } from './iota.ts'
import { exp, log } from './math.ts'
import { matmulOp, transposeLast } from './matmul.ts'
import { expand, reshape, sumKeep } from './movement.ts'
import { filled, productType, statisticsType } from './operands.ts'
import { maxKeep } from './reduce.ts'

export interface AttentionAttributes {
  /** Row i attends to columns j ≤ i. */
  readonly causal: boolean
}

/** The mask is added to the scores and has their shape [..., T, S]. */
type Inputs = readonly [q: Tensor, k: Tensor, v: Tensor, scale: Tensor, ...mask: Tensor[]]

/**
 * q [..., T, D], k [..., S, D], v [..., S, Dv], scale [], mask → o [..., T, Dv] and lse [..., T], the log of each row's sum.
 * A row whose scores are all −∞ gives o = 0 and lse = +∞, by which exp(score − lse) is 0 in its gradient too.
 */
export const attentionOp: Fused<Inputs, AttentionAttributes> = {
  kind: 'fused',
  name: 'attention',
  shape([q, k, v, scale, mask]) {
    checkOperands('attention', q, k, v)
    const lead = q.shape.slice(0, -2)
    const scores = [...lead, at(q.shape, q.shape.length - 2), at(k.shape, k.shape.length - 2)]
    const batched = [k, v].every((t) => sameShape(t.shape.slice(0, -2), lead))
    if (!batched || scale.shape.length > 0 || (mask !== undefined && !sameShape(mask.shape, scores))) {
      throw new ShapeError(`attention: q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)}, scale ${formatShape(scale.shape)}, mask ${mask === undefined ? 'absent' : formatShape(mask.shape)} do not share their first axes; expand them`)
    }
    return [
      { shape: [...q.shape.slice(0, -1), at(v.shape, v.shape.length - 1)], dtype: q.dtype },
      { shape: q.shape.slice(0, -1), dtype: q.dtype },
    ]
  },
  decompose([q, k, v, scale, mask], { causal }) {
    const s = maskedScores(q, k, scale, mask, causal)
    const row = [s.rank - 1]
    const largest = stopGradient(maxKeep(s, row))
    const masked = lessEqual(largest, literal(-Infinity))
    const top = where(masked, literal(0), largest) // −∞ − (−∞) would be NaN.
    const e = exp(sub(s, top))
    const z = where(masked, literal(1), sumKeep(e, row))
    const lse = where(masked, literal(Infinity), add(top, log(z)))
    return [div(apply(matmulOp, [e, v]), z), reshape(lse, q.shape.slice(0, -1))]
  },
  vjpMany([dO, dlse], inputs, [o, lse], { causal }) {
    if (o === undefined || lse === undefined) throw new RangeError('attention has two outputs')
    const [q, k, v, scale, mask] = inputs
    const [dq, dk, dv] = dO === undefined ? [] : applyMany(attentionGradOp, [...inputs, o, lse, dO], { causal })
    const p = once(() => weights(q, k, scale, mask, lse, causal))
    const viaLse = dlse && mul(p(), column(dlse))
    const ds = once(() => plus(dO && scoreGradient(p(), v, o, dO), viaLse))
    const dscale = (): Tensor | undefined => {
      const slope = ds()
      return slope && reshape(sumKeep(mul(slope, apply(matmulOp, [q, transposeLast(k)])), slope.shape.map((_, i) => i)), scale.shape)
    }
    const [eq, ek] = viaLse === undefined ? [] : [mul(apply(matmulOp, [viaLse, k]), scale), mul(apply(matmulOp, [transposeLast(viaLse), q]), scale)]
    return [plus(dq, eq), plus(dk, ek), dv, dscale, ...(mask === undefined ? [] : [ds])]
  },
}

type GradInputs = readonly [q: Tensor, k: Tensor, v: Tensor, scale: Tensor, ...rest: [o: Tensor, lse: Tensor, dO: Tensor] | [mask: Tensor, o: Tensor, lse: Tensor, dO: Tensor]]

/** q, k, v, scale, the mask if there is one, then o, lse and dO → dq, dk, dv. */
export const attentionGradOp: Fused<GradInputs, AttentionAttributes> = {
  kind: 'fused',
  name: 'attentionGrad',
  shape([q, k, v, scale, ...rest], attributes) {
    const [mask, o, lse, dO] = rest.length === 4 ? rest : [undefined, ...rest]
    const outputs = attentionOp.shape(mask === undefined ? [q, k, v, scale] : [q, k, v, scale, mask], attributes)
    const [like, rows] = 'shape' in outputs ? [outputs] : outputs
    if (!sameShape(dO.shape, o.shape) || !sameShape(o.shape, like?.shape ?? []) || !sameShape(lse.shape, rows?.shape ?? [])) {
      throw new ShapeError(`attentionGrad: o ${formatShape(o.shape)}, lse ${formatShape(lse.shape)} and dO ${formatShape(dO.shape)} do not belong to q ${formatShape(q.shape)} and v ${formatShape(v.shape)}; pass attention's results`)
    }
    return [q, k, v].map(({ shape, dtype }) => ({ shape, dtype }))
  },
  decompose([q, k, v, scale, ...rest], { causal }) {
    const [mask, o, lse, dO] = rest.length === 4 ? rest : [undefined, ...rest]
    const p = weights(q, k, scale, mask, lse, causal)
    const ds = mul(scoreGradient(p, v, o, dO), scale)
    return [apply(matmulOp, [ds, k]), apply(matmulOp, [transposeLast(ds), q]), apply(matmulOp, [transposeLast(p), dO])]
  },
}

/** q·kᵀ·scale + mask, −∞ above the diagonal if causal: [..., T, S]. */
function maskedScores(q: Tensor, k: Tensor, scale: Tensor, mask: Tensor | undefined, causal: boolean): Tensor {
  const scaled = mul(apply(matmulOp, [q, transposeLast(k)]), scale)
  const s = mask === undefined ? scaled : add(scaled, mask)
  if (!causal) return s
  const [t, columns] = s.shape.slice(-2)
  const position = (size: number | undefined, shape: Shape): Tensor => reshape(iota(s.device, size ?? 0), shape)
  return where(lessEqual(position(columns, [1, columns ?? 0]), position(t, [t ?? 0, 1])), s, literal(-Infinity))
}

/** P = softmax of the scores, by their rows' lse. */
function weights(q: Tensor, k: Tensor, scale: Tensor, mask: Tensor | undefined, lse: Tensor, causal: boolean): Tensor {
  return exp(sub(maskedScores(q, k, scale, mask, causal), column(lse)))
}

/** dS = P ⊙ (dO·vᵀ − Σ dO·o), rows' sums. */
function scoreGradient(p: Tensor, v: Tensor, o: Tensor, dO: Tensor): Tensor {
  return mul(p, sub(apply(matmulOp, [dO, transposeLast(v)]), sumKeep(mul(dO, o), [o.rank - 1])))
}

/** `make`, called at most once. */
function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}

const column = (x: Tensor): Tensor => reshape(x, [...x.shape, 1])
const plus = (x: Tensor | undefined, y: Tensor | undefined): Tensor | undefined => (x === undefined ? y : y === undefined ? x : add(x, y))

function checkOperands(op: string, q: Spec, k: Spec, v: Spec): void {
  const text = `q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)}`
  for (const [name, { shape }] of Object.entries({ q, k, v })) {
    if (shape.length < 2) throw new ShapeError(`${op}: ${name} ${formatShape(shape)} needs axes [...,positions,size]; reshape it`)
  }
  const [dq, dk, columns, values] = [q.shape.at(-1), k.shape.at(-1), k.shape.at(-2), v.shape.at(-2)]
  if (dq !== dk) throw new ShapeError(`${op}: queries have size ${dq ?? 0} but keys ${dk ?? 0} (${text}); project them to one size`)
  if (columns !== values) throw new ShapeError(`${op}: there are ${columns ?? 0} keys but ${values ?? 0} values (${text}); pass one value for each key`)
}

export interface AttentionOptions {
  /** Broadcasts to the scores [..., T, S]: bool, true where attending is allowed, as of PyTorch's function of this name; or floats that are added to the scores. */
  readonly mask?: TensorLike | undefined
  /** Query i sees keys j ≤ i only. Default false. */
  readonly causal?: boolean
  /** What q·kᵀ is multiplied by, a scalar. Default 1/√D, and 1 where D is 0. */
  readonly scale?: TensorLike | number
}

/**
 * softmax(q·kᵀ·scale + mask)·v. q [..., T, D], k [..., S, D], v [..., S, Dv] → [..., T, Dv]; leading axes broadcast.
 * A query that may attend to no key gives zeros, and gradients of zero. Throws ShapeError where sizes differ, DTypeError for integers.
 */
export function scaledDotProductAttention(q: TensorLike, k: TensorLike, v: TensorLike, { mask, causal = false, scale, ...others }: AttentionOptions = {}): Tensor {
  refuseOthers('scaledDotProductAttention', others)
  const op = 'scaledDotProductAttention'
  const dtype = productType(op, { q, k, v })
  const working = statisticsType(dtype)
  checkOperands(op, q, k, v)
  const lead = broadcastShapes(op, ...[q, k, v].map((t) => t.shape.slice(0, -2)))
  const operands = [q, k, v].map((t) => expand(cast(cast(t, dtype), working), [...lead, ...t.shape.slice(-2)]))
  const factor = scale ?? 1 / Math.sqrt(Math.max(1, at(q.shape, q.shape.length - 1)))
  if (typeof factor !== 'number' && factor.shape.length > 0) throw new ShapeError(`${op}: scale has shape ${formatShape(factor.shape)} but must be a scalar []; multiply q by it instead`)
  const multiplier = typeof factor === 'number' ? leafTensor(q.device, { kind: 'scalar', value: factor }, [], working) : cast(factor, working)
  const bias = mask === undefined ? [] : [additive(op, mask, [...lead, at(q.shape, q.shape.length - 2), at(k.shape, k.shape.length - 2)], working)]
  return cast(apply(attentionOp, [...operands, multiplier, ...bias], { causal }), dtype)
}

function additive(op: string, mask: TensorLike, scores: Shape, dtype: Tensor['dtype']): Tensor {
  if (mask.dtype !== 'bool' && !isFloat(mask.dtype)) {
    throw new DTypeError(`${op}: mask is ${mask.dtype}, but must be bool (true where attending is allowed) or a float that is added; compare it first, such as notEqual(mask, 0)`)
  }
  if (!sameShape(broadcastShapes(op, mask.shape, scores), scores)) throw new ShapeError(`${op}: mask ${formatShape(mask.shape)} does not stretch to the scores ${formatShape(scores)}; drop its extra axes`)
  const values = mask.dtype === 'bool' ? where(mask, filled(mask, [], 0, dtype), literal(-Infinity)) : cast(mask, dtype)
  return expand(values, scores)
}
