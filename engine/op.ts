/**
 * The three kinds of op, and `apply`, which records a call. Composed functions are not ops: they have no record.
 * - elementwise: one row, a scalar expression and its derivative;
 * - primitive: what is composed of no others, with its gradient. Devices have kernels for it, or its role says what becomes of it;
 * - fused: a decomposition into other ops that is its meaning, its fallback and its default gradient.
 */
import type { PrimitiveDescriptors, ProductDescriptors, ReduceOp } from '../kernels/ir/descriptor.ts'
import type { Expression } from '../kernels/ir/expression.ts'
import { DTypeError, DeviceError } from './error.ts'
import { Node, Tensor } from './graph.ts'
import type { Attributes, Spec, TensorLike } from './graph.ts'
import type { SliceAttributes } from './ops/movement.ts'
import type { Shape } from './shape.ts'

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
  /** Whether it gives its operand in another type, and does nothing else. */
  readonly converts?: true
  expression(args: readonly Expression[], attributes: A, output: Spec): Expression
  vjp?(dy: Tensor, inputs: I, y: Tensor, attributes: A): InputCotangents
}

/** Where a result's elements are read from. */
export type Movement =
  | { readonly op: 'reshape'; readonly shape: Shape }
  | { readonly op: 'permute'; readonly axes: readonly number[] }
  | { readonly op: 'expand'; readonly shape: Shape }
  | ({ readonly op: 'slice' } & SliceAttributes)
  | { readonly op: 'pad'; readonly low: readonly number[]; readonly high: readonly number[] }

/** What becomes of a primitive's call for which devices need no kernel. */
export type Role =
  /** The first input, read from other places; without `movement` from its own. */
  | { readonly kind: 'movement'; readonly movement?: Movement }
  | { readonly kind: 'reduce'; readonly op: ReduceOp; readonly axes: readonly number[] }
  /** The inputs side by side, each written into a slice of one buffer; with `gaps`, zeros lie between. */
  | { readonly kind: 'join'; readonly slices: readonly SliceAttributes[]; readonly gaps?: boolean }

/** Primitives that devices have kernels for, then those that have a role. */
export type PrimitiveName = keyof ProductDescriptors | keyof PrimitiveDescriptors | 'reshape' | 'permute' | 'expand' | 'slice' | 'pad' | 'concat' | 'barrier' | ReduceOp

/** An op that is made of no others. `P` is its name, so that a device's table can be checked for completeness. */
export interface Primitive<I extends Inputs = Inputs, A extends Attributes = object, P extends PrimitiveName = PrimitiveName> extends OpBase<I, A> {
  readonly kind: 'primitive'
  readonly name: P
  /** Default: each device has a kernel for it. */
  role?(attributes: A, inputs: { readonly [K in keyof I]: Spec }): Role
  vjp?(dy: Tensor, inputs: I, y: Tensor, attributes: A): InputCotangents
}

export interface Fused<I extends Inputs = Inputs, A extends Attributes = object> extends OpBase<I, A> {
  readonly kind: 'fused'
  /**
   * Of an op that updates lists of `count` tensors each, one behind the other from input `first` on: for each whether the outputs
   * have new values of it, in the same order. A device may keep the tensors of a list side by side, and update them as one.
   */
  lists?(attributes: A): { readonly first: number; readonly count: number; readonly updated: readonly boolean[] }
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
