/**
 * The three kinds of op, and `apply`, which records a call. Composed functions are not ops: they have no record.
 * - elementwise: one row, a scalar expression and its derivative;
 * - primitive: what every device implements, with its gradient;
 * - fused: a decomposition into other ops that is its meaning, its fallback and its default gradient.
 */
import type { Expression } from '../kernels/ir/expression.ts'
import { DTypeError, DeviceError } from './error.ts'
import { Node, Tensor } from './graph.ts'
import type { Attributes, Spec, TensorLike } from './graph.ts'

type Inputs = readonly Tensor[]
/** One cotangent per output, or per input; absent where no gradient flows. */
export type Cotangents = readonly (Tensor | undefined)[]
/** One per input; a function makes one that is only computed where a gradient is asked for. */
export type InputCotangents = readonly (Tensor | (() => Tensor | undefined) | undefined)[]

interface OpBase<I extends Inputs, A extends Attributes> {
  readonly name: string
  /** Whether no gradient ever flows to the inputs. */
  readonly blocksGradient?: true
  /** The shape rule: checks the inputs and returns what comes out; throws errors that name the op. */
  shape(inputs: I, attributes: A): Spec | readonly Spec[]
}

/** y = expression(x…) at every position; inputs have equal shapes (broadcasting is an explicit expand). */
export interface Elementwise<I extends Inputs = Inputs, A extends Attributes = object> extends OpBase<I, A> {
  readonly kind: 'elementwise'
  expression(args: readonly Expression[], attributes: A, output: Spec): Expression
  vjp?(dy: Tensor, inputs: I, y: Tensor, attributes: A): InputCotangents
}

/** An op every device has a kernel for. `P` is its name, so that a device's table can be checked for completeness. */
export interface Primitive<I extends Inputs = Inputs, A extends Attributes = object, P extends string = string> extends OpBase<I, A> {
  readonly kind: 'primitive'
  readonly name: P
  vjp?(dy: Tensor, inputs: I, y: Tensor, attributes: A): InputCotangents
}

export interface Fused<I extends Inputs = Inputs, A extends Attributes = object> extends OpBase<I, A> {
  readonly kind: 'fused'
  /** The same values from other ops: the definition. */
  decompose(inputs: I, attributes: A): Tensor | readonly Tensor[]
  /** With one output, as for a primitive. Without either gradient rule, the decomposition is differentiated. */
  vjp?(dy: Tensor, inputs: I, y: Tensor, attributes: A): InputCotangents
  /** With several outputs: cotangents that do not exist are absent. */
  vjpMany?(dys: Cotangents, inputs: I, ys: readonly Tensor[], attributes: A): InputCotangents
}

/** A value the graph does not compute: data, a scalar, a variable's value, a realised tensor. */
export interface LeafOp extends OpBase<Inputs, object> {
  readonly kind: 'leaf'
}

export type AnyOp = Elementwise | Primitive | Fused | LeafOp

function record(op: AnyOp, operands: readonly TensorLike[], attributes: Attributes): Node {
  const inputs = operands.map((x) => x.read())
  const device = inputs[0]?.device
  if (device === undefined) throw new DeviceError(`${op.name}: has no inputs to take a device from; use applyOn`)
  for (const x of inputs) {
    if (x.device !== device) throw new DeviceError(`${op.name}: inputs live on ${device.nameBeside(x.device)} and ${x.device.nameBeside(device)}; move one of them with .to(device)`)
  }
  return recordOn(device, op, inputs, attributes)
}

function recordOn(device: Node['device'], op: AnyOp, inputs: Inputs, attributes: Attributes): Node {
  device.assertOpen(op.name)
  const specs = op.shape(inputs, attributes)
  const outputs = 'shape' in specs ? [{ shape: specs.shape, dtype: specs.dtype }] : specs
  for (const spec of outputs) {
    if (!device.supports(spec.dtype)) throw new DTypeError(`${op.name}: device ${device.name} has no ${spec.dtype}; cast to f32, or use a device that has it`)
  }
  return new Node(device, op, inputs, attributes, outputs)
}

/** Records a call of an op with one output. */
export function apply<const I extends readonly TensorLike[]>(op: AnyOp, inputs: I, attributes: Attributes = {}): Tensor {
  return new Tensor(record(op, inputs, attributes))
}

/** Records a call of an op with several outputs. */
export function applyMany(op: AnyOp, inputs: readonly TensorLike[], attributes: Attributes = {}): Tensor[] {
  const node = record(op, inputs, attributes)
  return node.outputs.map((_, i) => new Tensor(node, i))
}

/** Records a call of an op without inputs. */
export function applyOn(device: Node['device'], op: AnyOp, attributes: Attributes = {}): Tensor {
  return new Tensor(recordOn(device, op, [], attributes))
}
