/**
 * The optimiser's step as one op over all parameters: AdamW (Loshchilov and Hutter, arXiv:1711.05101) with the
 * exponential moving average of the weights; and the norm of all gradients, for clipping.
 */
import { leafTensor } from '../create.ts'
import { hostArray, isFloat, promote } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply, applyMany } from '../op.ts'
import type { Fused } from '../op.ts'
import { at, formatShape, sameShape, sizeOf } from '../shape.ts'
import { add, cast, div, equal, literal, mul, notEqual, sub, where } from './elementwise.ts'
import { sqrt } from './math.ts'
import { concatOp, reshape, strideSlice, sumKeep, zeroPad } from './movement.ts'
import { floatType, statisticsType } from './operands.ts'

/** The numbers of a step, in the order in which the op's first input holds them. */
const order = ['lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'correction1', 'correction2', 'gradScale', 'emaWeight', 'apply'] as const
type NumberName = (typeof order)[number]

export interface AdamWAttributes {
  /** How many parameters there are. */
  readonly count: number
  /** Whether moving averages follow the moments. */
  readonly ema: boolean
}

/** Inputs numbers [10], p…, g…, m…, v…, (ema…); outputs p…, m…, v…, (ema…): `count` tensors in each list. */
export const adamwOp: Fused<readonly [numbers: Tensor, ...tensors: Tensor[]], AdamWAttributes> = {
  kind: 'fused',
  name: 'adamw',
  lists: ({ count, ema }) => ({ first: 1, count, updated: [true, false, true, true, ...(ema ? [true] : [])] }),
  shape([numbers, ...tensors], { count, ema }) {
    if (!sameShape(numbers.shape, [order.length])) throw new ShapeError(`adamw: the numbers are ${formatShape(numbers.shape)}, but there must be ${order.length}: ${order.join(', ')}`)
    const lists = listsOf(tensors, count, ema)
    lists.forEach((list, k) => {
      const role = at(roles, k)
      list.forEach((t, i) => {
        const p = at(tensors, i)
        if (!isFloat(t.dtype)) floatType('adamWStep', { [`${role} ${i}`]: t })
        if (!sameShape(t.shape, p.shape)) throw new ShapeError(`adamWStep: parameter ${i} is ${formatShape(p.shape)} but its ${role} is ${formatShape(t.shape)}; make their shapes equal`)
      })
    })
    // A list of specs for each parameter, not each tensor: there may be hundreds, at every step.
    const [parameters = []] = lists
    const specs = parameters.map(({ spec }) => spec)
    return lists.filter((_, k) => k !== 1).flatMap((list) => list.map((t, i) => (t.dtype === parameters[i]?.dtype ? at(specs, i) : t.spec)))
  },
  decompose([numbers, ...tensors], { count, ema }) {
    const n = unpack(numbers)
    const lists = listsOf(tensors, count, ema)
    const steps = Array.from({ length: count }, (_, i) => adamw(n, lists.map((list) => at(list, i))))
    return lists.slice(1).flatMap((_, k) => steps.map((step) => at(step, k)))
  },
}

/** Which input an output has the new values of. */
export const updatedInput = (output: number, count: number): number => 1 + output + (output < count ? 0 : count)

const roles = ['parameter', 'gradient', 'first moment', 'second moment', 'average'] as const

function listsOf(tensors: readonly Tensor[], count: number, ema: boolean): Tensor[][] {
  const lists = ema ? 5 : 4
  if (tensors.length !== lists * count) throw new ShapeError(`adamw: ${count} parameters need ${lists * count} tensors, but there are ${tensors.length}; pass ${roles.slice(0, lists).join(', ')} of each`)
  return Array.from({ length: lists }, (_, k) => tensors.slice(k * count, (k + 1) * count))
}

/** One parameter's step. Every operation is rounded on its own, in the order written. */
function adamw({ lr, beta1, beta2, eps, weightDecay, correction1, correction2, gradScale, emaWeight, apply }: Record<NumberName, Tensor>, tensors: readonly Tensor[]): Tensor[] {
  const one = literal(1)
  const decay = sub(one, mul(lr, weightDecay))
  const size = div(lr, correction1)
  const root = div(one, sqrt(correction2))
  const [p, m, v, ema] = [at(tensors, 0), at(tensors, 2), at(tensors, 3), tensors[4]]
  const g = mul(at(tensors, 1), gradScale)
  const m1 = add(m, mul(sub(one, beta1), sub(g, m)))
  const v1 = add(mul(beta2, v), mul(sub(one, beta2), mul(g, g)))
  const p1 = sub(mul(p, decay), div(mul(size, m1), add(mul(sqrt(v1), root), eps)))
  const unless = (after: Tensor, before: Tensor): Tensor => where(notEqual(apply, literal(0)), after, before)
  const average = ema === undefined ? [] : [unless(add(ema, mul(emaWeight, sub(p1, ema))), ema)]
  return [unless(p1, p), unless(m1, m), unless(v1, v), ...average]
}

function unpack(numbers: Tensor): Record<NumberName, Tensor> {
  const n = (name: NumberName): Tensor => reshape(strideSlice(numbers, { start: [order.indexOf(name)], size: [1], step: [1] }), [])
  return {
    lr: n('lr'), beta1: n('beta1'), beta2: n('beta2'), eps: n('eps'), weightDecay: n('weightDecay'),
    correction1: n('correction1'), correction2: n('correction2'), gradScale: n('gradScale'), emaWeight: n('emaWeight'), apply: n('apply'),
  }
}

const places = Int32Array.from(order, (_, i) => i)

/** Numbers are one piece of data, uploaded with each run. Tensors replace theirs in one launch, however many there are. */
function pack(like: Tensor, numbers: Record<NumberName, TensorLike | number>): Tensor {
  const { device } = like
  const dtype = like.dtype === 'f64' ? 'f64' : 'f32'
  const data = hostArray(dtype, order.length)
  const place = leafTensor(device, { kind: 'data', data: places }, [order.length], 'i32')
  data.set(order.map((name) => (typeof numbers[name] === 'number' ? numbers[name] : 0)))
  return order.reduce((packed, name, i) => {
    const value = numbers[name]
    if (typeof value === 'number') return packed
    if (value.shape.length > 0) throw new ShapeError(`adamWStep: ${name} has shape ${formatShape(value.shape)}, but must be a number or a scalar []`)
    return where(equal(place, literal(i)), cast(value, dtype), packed)
  }, leafTensor(device, { kind: 'data', data }, [order.length], dtype))
}

export interface AdamWStep extends Readonly<Record<Exclude<NumberName, 'gradScale' | 'emaWeight' | 'apply'>, TensorLike | number>> {
  readonly parameters: readonly TensorLike[]
  readonly gradients: readonly TensorLike[]
  /** First moments m. */
  readonly first: readonly TensorLike[]
  /** Second moments v. */
  readonly second: readonly TensorLike[]
  /** Moving averages of the parameters; absent for none. */
  readonly ema?: readonly TensorLike[] | undefined
  /** Multiplies every gradient, for clipping or to undo a loss scale. Default 1. */
  readonly gradScale?: TensorLike | number
  /** w in ema ← ema + w(p − ema), which is 1 − decay: near 1 a decay itself has too few digits in f32. Default 0.001. */
  readonly emaWeight?: TensorLike | number
  /** Where it is 0, everything stays as it was, whatever the gradients hold. Default 1. */
  readonly apply?: TensorLike | number
}

export interface AdamWResult {
  readonly parameters: readonly Tensor[]
  readonly first: readonly Tensor[]
  readonly second: readonly Tensor[]
  /** Empty if there were none. */
  readonly ema: readonly Tensor[]
}

/**
 * The values after one step of AdamW, for the caller to assign: with g ← gradScale·g, p ← p·(1 − lr·weightDecay),
 * m ← m + (1 − β₁)(g − m), v ← β₂·v + (1 − β₂)·g², p ← p − lr·(m/correction1) / (√(v/correction2) + eps),
 * ema ← ema + emaWeight·(p − ema). At step t the corrections are 1 − βᵗ, best worked out as −expm1(t·ln β).
 * Numbers may change from step to step without compiling anything. Throws ShapeError for lists that do not match.
 */
export function adamWStep({ parameters, gradients, first, second, ema, gradScale = 1, emaWeight = 0.001, apply: steps = 1, lr, beta1, beta2, eps, weightDecay, correction1, correction2, ...others }: AdamWStep): AdamWResult {
  refuseOthers('adamWStep', others)
  const [head] = parameters
  const count = parameters.length
  if (head === undefined) return { parameters: [], first: [], second: [], ema: [] }
  for (const [name, list] of Object.entries({ gradients, first, second, ema: ema ?? parameters })) {
    if (list.length !== count) throw new ShapeError(`adamWStep: there are ${count} parameters but ${list.length} ${name}; give one for each parameter`)
  }
  const packed = pack(head.read(), { lr, beta1, beta2, eps, weightDecay, correction1, correction2, gradScale, emaWeight, apply: steps })
  const results = applyMany(adamwOp, [packed, ...parameters, ...gradients, ...first, ...second, ...(ema ?? [])], { count, ema: ema !== undefined })
  const list = (k: number): Tensor[] => results.slice(k * count, (k + 1) * count)
  return { parameters: list(0), first: list(1), second: list(2), ema: list(3) }
}

/** How many elements go into each partial sum of `squaredNorm`. */
export const squaredNormChunk = 8192

/** The sums of x² over each 8192 elements of each tensor, the last ones of a tensor over what is left: [Σᵢ ⌈nᵢ/8192⌉]. */
export const squaredNormOp: Fused = {
  kind: 'fused',
  name: 'squaredNorm',
  shape(tensors) {
    return { shape: [tensors.reduce((n, x) => n + Math.ceil(sizeOf(x.shape) / squaredNormChunk), 0)], dtype: commonType(tensors) }
  },
  decompose(tensors) {
    const parts = tensors.map((x) => {
      const chunks = Math.ceil(x.size / squaredNormChunk)
      const each = Math.min(x.size, squaredNormChunk)
      const rows = reshape(zeroPad(reshape(x, [x.size]), [0], [chunks * each - x.size]), [chunks, each])
      return reshape(sumKeep(mul(rows, rows), [1]), [chunks])
    })
    return apply(concatOp, parts, { axis: 0 })
  },
}

/** Names are made for the message only: there may be hundreds of tensors, at every step. */
function commonType(tensors: readonly TensorLike[]): DType {
  return tensors.reduce<DType>((type, x, i) => promote('globalNorm', type, isFloat(x.dtype) ? x.dtype : floatType('globalNorm', { [`tensor ${i}`]: x })), tensors[0]?.dtype ?? 'f32')
}

/** √Σ x² over all elements of all tensors, such as all gradients: []. Throws ShapeError for an empty list, DTypeError for integers. */
export function globalNorm(tensors: readonly TensorLike[]): Tensor {
  if (tensors.length === 0) throw new ShapeError('globalNorm: the list of tensors is empty; pass at least one')
  const dtype = statisticsType(commonType(tensors))
  return sqrt(reshape(sumKeep(apply(squaredNormOp, tensors.map((x) => cast(x, dtype))), [0]), []))
}
