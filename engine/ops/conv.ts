/**
 * Convolution is one trilinear form, Σ dy[n,o,p] · w[o,c,k] · x[n, c, p·stride + k·dilation − padding], seen from its
 * three operands: `conv` gives the coefficient of dy, `convInputGrad` of x, `convWeightGrad` of w, and each one's
 * gradient is the other two. Works for any number of spatial axes; positions outside x count as zero.
 */
import { ShapeError } from '../error.ts'
import type { Spec, Tensor } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, formatShape, sameShape } from '../shape.ts'
import { reshape } from './movement.ts'
import { floatType } from './operands.ts'

/** One number per spatial axis in each list. */
export interface Window {
  readonly stride: readonly number[]
  /** Zeros in front of each axis; those behind follow from `output`. */
  readonly padding: readonly number[]
  /** Spatial sizes of the convolution's result. */
  readonly output: readonly number[]
  readonly dilation: readonly number[]
  readonly groups: number
}
export interface InputGradWindow extends Window {
  /** Spatial sizes of x. */
  readonly input: readonly number[]
  readonly channels: number
}
export interface WeightGradWindow extends Window {
  /** Spatial sizes of w. */
  readonly kernel: readonly number[]
}

/** x [N, C, ...S], w [O, C/groups, ...K] → y [N, O, ...output]. */
export const convOp: Primitive<readonly [x: Tensor, w: Tensor], Window, 'conv'> = {
  kind: 'primitive',
  name: 'conv',
  shape([x, w], window) {
    const dtype = floatType('conv', { x, w })
    checkForm('conv', x.shape, w.shape, [at(x.shape, 0), at(w.shape, 0), ...window.output], window)
    return { shape: [at(x.shape, 0), at(w.shape, 0), ...window.output], dtype }
  },
  vjp: (dy, [x, w], _, window) => [() => inputGrad(dy, w, x, window), () => weightGrad(x, dy, w, window)],
}

/** dy [N, O, ...output], w [O, C/groups, ...K] → dx [N, channels, ...input]. */
export const convInputGradOp: Primitive<readonly [dy: Tensor, w: Tensor], InputGradWindow, 'convInputGrad'> = {
  kind: 'primitive',
  name: 'convInputGrad',
  shape([dy, w], window) {
    const shape = [at(dy.shape, 0), window.channels, ...window.input]
    const dtype = floatType('convInputGrad', { dy, w })
    checkForm('convInputGrad', shape, w.shape, dy.shape, window)
    return { shape, dtype }
  },
  vjp: (x, [dy, w], _, window) => [() => apply(convOp, [x, w], windowOf(window)), () => weightGrad(x, dy, w, window)],
}

/** x [N, C, ...S], dy [N, O, ...output] → dw [O, C/groups, ...kernel]. */
export const convWeightGradOp: Primitive<readonly [x: Tensor, dy: Tensor], WeightGradWindow, 'convWeightGrad'> = {
  kind: 'primitive',
  name: 'convWeightGrad',
  shape([x, dy], window) {
    const shape = [at(dy.shape, 1), at(x.shape, 1) / window.groups, ...window.kernel]
    const dtype = floatType('convWeightGrad', { x, dy })
    checkForm('convWeightGrad', x.shape, shape, dy.shape, window)
    return { shape, dtype }
  },
  vjp: (w, [x, dy], _, window) => [() => inputGrad(dy, w, x, window), () => apply(convOp, [x, w], windowOf(window))],
}

/** [C] as [1, C, 1, …] of `rank` axes, to broadcast over samples and positions. */
export function perChannel(x: Tensor, rank: number): Tensor {
  return reshape(x, Array.from({ length: rank }, (_, i) => (i === 1 ? x.size : 1)))
}

const windowOf = ({ stride, padding, output, dilation, groups }: Window): Window => ({ stride, padding, output, dilation, groups })

function inputGrad(dy: Tensor, w: Tensor, x: Spec, window: Window): Tensor {
  return apply(convInputGradOp, [dy, w], { ...windowOf(window), input: x.shape.slice(2), channels: at(x.shape, 1) })
}

function weightGrad(x: Tensor, dy: Tensor, w: Spec, window: Window): Tensor {
  return apply(convWeightGradOp, [x, dy], { ...windowOf(window), kernel: w.shape.slice(2) })
}

function checkForm(op: string, x: readonly number[], w: readonly number[], y: readonly number[], window: Window): void {
  const { stride, padding, output, dilation, groups } = window
  const axes = x.length - 2
  const lists = [stride, padding, output, dilation, w.slice(2), y.slice(2)]
  const fits = axes >= 1 && lists.every((list) => list.length === axes) && at(w, 1) * groups === at(x, 1) && at(w, 0) % groups === 0 && at(y, 0) === at(x, 0) && at(y, 1) === at(w, 0)
  if (!fits || !sameShape(y.slice(2), output)) {
    throw new ShapeError(`${op}: x ${formatShape(x)}, w ${formatShape(w)} and y ${formatShape(y)} are not [N,C,…], [O,C/${groups},…] and [N,O,${output.join()}]; make their channels, batch and number of axes agree`)
  }
}
