/**
 * Losses, with gradients that stay finite at the edges. Each takes a `reduction`: `mean` over all elements (default), `sum`,
 * or `none`. Storage types count as f32. Shapes of prediction and target must agree: nothing broadcasts, since that is nearly always a mistake.
 */
import { customGradient } from '../recompute.ts'
import { isFloat } from '../dtype.ts'
import { ConfigError, DTypeError, ShapeError, checkWord, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import { formatShape, sameShape } from '../shape.ts'
import { logOnePlusExp } from './activation.ts'
import { maximum } from '../ops/arithmetic.ts'
import { add, cast, div, equal, less, lessEqual, literal, mul, neg, operandLike, sub, where } from '../ops/elementwise.ts'
import type { Operand } from '../ops/elementwise.ts'
import { gatherOp } from '../ops/indexing.ts'
import { abs, exp, log } from '../ops/math.ts'
import { reshape } from '../ops/movement.ts'
import { sum } from '../ops/reduce.ts'
import { logsumexp, mean, working } from '../ops/statistics.ts'

const reductions = ['mean', 'sum', 'none'] as const
export type Reduction = (typeof reductions)[number]

export interface LossOptions {
  /** Default `mean`. */
  readonly reduction?: Reduction
}

function reduced(op: string, losses: Tensor, reduction: Reduction): Tensor {
  checkWord(op, 'reduction', reduction, reductions)
  if (reduction === 'none') return losses
  return reduction === 'sum' ? sum(losses) : mean(losses)
}

/** Prediction and target as floats of one shape. */
function matched(op: string, prediction: TensorLike, target: TensorLike): readonly [Tensor, Tensor] {
  if (!sameShape(prediction.shape, target.shape)) {
    throw new ShapeError(`${op}: prediction has shape ${formatShape(prediction.shape)} but target has ${formatShape(target.shape)}; reshape one of them, losses do not broadcast`)
  }
  return [working(prediction), working(target)]
}

/** (prediction − target)². */
export function mseLoss(prediction: TensorLike, target: TensorLike, { reduction = 'mean', ...others }: LossOptions = {}): Tensor {
  refuseOthers('mseLoss', others)
  const error = sub(...matched('mseLoss', prediction, target))
  return reduced('mseLoss', mul(error, error), reduction)
}

/** |prediction − target|. */
export function l1Loss(prediction: TensorLike, target: TensorLike, { reduction = 'mean', ...others }: LossOptions = {}): Tensor {
  refuseOthers('l1Loss', others)
  return reduced('l1Loss', abs(sub(...matched('l1Loss', prediction, target))), reduction)
}

function positive(op: string, name: string, value: Operand): Operand {
  if (typeof value === 'number' && !(value > 0)) throw new ConfigError(`${op}: ${name} is ${value}, but must be positive; use l1Loss for the limit at 0`)
  return value
}

export interface HuberOptions extends LossOptions {
  /** Where the parabola turns into a line. Default 1. */
  readonly delta?: Operand
}

/** e²/2 for |e| ≤ δ, δ(|e| − δ/2) beyond, with e = prediction − target. */
export function huberLoss(prediction: TensorLike, target: TensorLike, { delta = 1, reduction = 'mean', ...others }: HuberOptions = {}): Tensor {
  refuseOthers('huberLoss', others)
  const size = abs(sub(...matched('huberLoss', prediction, target)))
  const turn = asTensor(positive('huberLoss', 'delta', delta), size)
  const losses = where(lessEqual(size, turn), mul(literal(0.5), mul(size, size)), mul(turn, sub(size, mul(literal(0.5), turn))))
  return reduced('huberLoss', losses, reduction)
}

export interface SmoothL1Options extends LossOptions {
  /** Where the parabola turns into a line of slope 1. Default 1. */
  readonly beta?: Operand
}

/** e²/(2β) for |e| < β, |e| − β/2 beyond, with e = prediction − target: the Huber loss divided by β. */
export function smoothL1Loss(prediction: TensorLike, target: TensorLike, { beta = 1, reduction = 'mean', ...others }: SmoothL1Options = {}): Tensor {
  refuseOthers('smoothL1Loss', others)
  const size = abs(sub(...matched('smoothL1Loss', prediction, target)))
  const turn = asTensor(positive('smoothL1Loss', 'beta', beta), size)
  const losses = where(less(size, turn), div(mul(literal(0.5), mul(size, size)), turn), sub(size, mul(literal(0.5), turn)))
  return reduced('smoothL1Loss', losses, reduction)
}

/** A parameter of the loss on its own, so that a number enters the graph once. */
const asTensor = (x: Operand, like: Tensor): Tensor => operandLike('loss', x, like)

/** Class indices [N, …] over log-probabilities or logits [N, C, …]: the value of each target, [N, …]. */
function ofClass(op: string, x: Tensor, target: TensorLike): Tensor {
  const axis = classAxis(op, x)
  const expected = x.shape.filter((_, i) => i !== axis)
  if (isFloat(target.dtype) || target.dtype === 'bool') throw new DTypeError(`${op}: target is ${target.dtype}, but class indices are integers; cast it to i32`)
  if (!sameShape(target.shape, expected)) {
    throw new ShapeError(`${op}: target has shape ${formatShape(target.shape)}, but for ${formatShape(x.shape)} with classes on axis ${axis} it is ${formatShape(expected)}; give a class index for each place`)
  }
  const index = reshape(cast(target, 'i32'), x.shape.map((d, i) => (i === axis ? 1 : d)))
  return reshape(apply(gatherOp, [x, index], { axis }), expected)
}

/** As in PyTorch: axis 1, or the only one. */
function classAxis(op: string, x: TensorLike): number {
  if (x.shape.length === 0) throw new ShapeError(`${op}: the prediction is a scalar; it needs an axis of classes, [N, C, …] or [C]`)
  return x.shape.length === 1 ? 0 : 1
}

export interface CrossEntropyOptions extends LossOptions {
  /** ε: the target becomes (1 − ε)·target + ε/C (Szegedy et al., arXiv:1512.00567). Default none. */
  readonly labelSmoothing?: Operand
}

/**
 * −Σ_c target_c · log softmax(logits)_c. Logits are [N, C, …] with classes on axis 1, or [C]. The target is class indices
 * (an integer tensor [N, …]) or probabilities (a float tensor in the shape of the logits); `mean` is over [N, …].
 */
export function crossEntropy(logits: TensorLike, target: TensorLike, { labelSmoothing, reduction = 'mean', ...others }: CrossEntropyOptions = {}): Tensor {
  refuseOthers('crossEntropy', others)
  const x = working(logits)
  const axis = classAxis('crossEntropy', x)
  const total = logsumexp(x, axis)
  const hard = (): Tensor => sub(total, ofClass('crossEntropy', x, target))
  const soft = (): Tensor => {
    const [, p] = matched('crossEntropy', x, target)
    return sub(mul(total, sum(p, axis)), sum(mul(p, x), axis))
  }
  const losses = isFloat(target.dtype) ? soft() : hard()
  if (labelSmoothing === undefined) return reduced('crossEntropy', losses, reduction)
  const epsilon = asTensor(labelSmoothing, x)
  return reduced('crossEntropy', add(mul(sub(literal(1), epsilon), losses), mul(epsilon, sub(total, mean(x, axis)))), reduction)
}

/** −logProbabilities[target]: [N, C, …] with classes on axis 1 (or [C]), and class indices [N, …]. */
export function nllLoss(logProbabilities: TensorLike, target: TensorLike, { reduction = 'mean', ...others }: LossOptions = {}): Tensor {
  refuseOthers('nllLoss', others)
  return reduced('nllLoss', neg(ofClass('nllLoss', working(logProbabilities), target)), reduction)
}

/**
 * −t·log p − (1 − t)·log(1 − p) for probabilities p; logarithms stop at −100 and the gradient's divisor at 10⁻¹², as in
 * PyTorch. From logits, `bceWithLogits` is more precise.
 */
export function bce(probability: TensorLike, target: TensorLike, { reduction = 'mean', ...others }: LossOptions = {}): Tensor {
  refuseOthers('bce', others)
  const pair = matched('bce', probability, target)
  const logarithm = (p: Tensor): Tensor => maximum(log(p), literal(-100))
  const losses = customGradient(
    pair,
    (p, t) => neg(add(mul(t, logarithm(p)), mul(sub(literal(1), t), logarithm(sub(literal(1), p))))),
    (dy, [p, t]) => {
      if (p === undefined || t === undefined) throw new RangeError('bce: two inputs')
      const width = maximum(mul(p, sub(literal(1), p)), literal(1e-12))
      return [mul(dy, div(sub(p, t), width)), mul(dy, sub(logarithm(sub(literal(1), p)), logarithm(p)))]
    },
  )
  return reduced('bce', losses, reduction)
}

export interface BceWithLogitsOptions extends LossOptions {
  /** Weight of the positive part, a number or a tensor that broadcasts. Default 1. */
  readonly posWeight?: Operand
}

/** −w·t·log σ(x) − (1 − t)·log(1 − σ(x)) for logits x, w the `posWeight`; without overflow. */
export function bceWithLogits(logits: TensorLike, target: TensorLike, { posWeight, reduction = 'mean', ...others }: BceWithLogitsOptions = {}): Tensor {
  refuseOthers('bceWithLogits', others)
  const [x, t] = matched('bceWithLogits', logits, target)
  if (posWeight === undefined) return reduced('bceWithLogits', sub(logOnePlusExp(x), mul(x, t)), reduction)
  // log(1 + e⁻ˣ) = −log σ(x), and x more of it is −log(1 − σ(x)).
  const weight = add(literal(1), mul(sub(asTensor(posWeight, x), literal(1)), t))
  return reduced('bceWithLogits', add(mul(sub(literal(1), t), x), mul(weight, logOnePlusExp(neg(x)))), reduction)
}

export interface KlDivOptions {
  /** `batchmean` divides the sum by the size of axis 0, which is the divergence of a batch of distributions. Default `mean`, over all elements. */
  readonly reduction?: Reduction | 'batchmean'
  /** Whether the target is log-probabilities, too. Default false. */
  readonly logTarget?: boolean
}

/**
 * t · (log t − x), the divergence of Kullback and Leibler from log-probabilities x to probabilities t, of which 0 · log 0 is 0; as
 * in PyTorch, `target` is what the other is measured against, and with `logTarget` eᵗ · (t − x).
 */
export function klDiv(logProbabilities: TensorLike, target: TensorLike, { reduction = 'mean', logTarget = false, ...others }: KlDivOptions = {}): Tensor {
  refuseOthers('klDiv', others)
  checkWord('klDiv', 'reduction', reduction, [...reductions, 'batchmean'])
  const [x, t] = matched('klDiv', logProbabilities, target)
  // At 0 the logarithm is not taken, so that the gradient stays finite.
  const losses = logTarget ? mul(exp(t), sub(t, x)) : sub(mul(t, log(where(equal(t, literal(0)), literal(1), t))), mul(t, x))
  return reduction === 'batchmean' ? div(sum(losses), literal(x.shape[0] ?? 1)) : reduced('klDiv', losses, reduction)
}
