/**
 * The graph: a `Tensor` is an immutable handle on one output of a `Node`. Every call makes a node with its own
 * identity, which autograd uses; two equal constants are two tensors. Nothing here computes.
 */
import { isFloat } from './dtype.ts'
import type { DType, TypedArray } from './dtype.ts'
import type { Device } from './device/device.ts'
import type { AnyOp } from './op.ts'
import { at, sizeOf } from './shape.ts'
import type { Shape } from './shape.ts'
import type { Storage } from './storage.ts'
import type { Version } from './variable.ts'

/** What is known of a value before it is computed. */
export interface Spec {
  readonly shape: Shape
  readonly dtype: DType
}

export type AttributeValue = number | string | boolean | null | undefined | readonly AttributeValue[] | { readonly [name: string]: AttributeValue }
/** Structural parameters: part of a plan's key. Numbers that may change from call to call are inputs instead. */
export type Attributes = object

/** A value the graph does not compute. */
export type Leaf =
  | { readonly kind: 'scalar'; readonly value: number }
  | { readonly kind: 'data'; readonly data: TypedArray }
  | Version
  | { readonly kind: 'stored'; readonly storage: Storage }
  | { readonly kind: 'placeholder' }

export class Node {
  readonly id: number
  readonly outputs: readonly Spec[]
  readonly device: Device
  /** The module that made it, such as `unet.down.1.attn`; errors, plans and profiles show it. */
  readonly path: string
  op: AnyOp
  inputs: readonly Tensor[]
  attributes: Attributes
  /** Set on leaves; and on a computed node once its value is realised, which lets go of the graph behind it. */
  leaf: Leaf | undefined
  /** The same for each of several outputs. */
  leaves: (Leaf | undefined)[] | undefined
  /** True once the node's graph was let go of, so that no gradient can pass. */
  realized = false
  /** Marks of the variables its floats were computed from; it outlives the graph, so that lost paths can be told. */
  readonly variables: number
  /** Marks of graph walks, which are many and short: the walk that last met the node, and a number it noted. */
  walk = -1
  note = 0

  constructor(device: Device, op: AnyOp, inputs: readonly Tensor[], attributes: Attributes, outputs: readonly Spec[], leaf?: Leaf) {
    this.id = device.nextNodeId()
    this.device = device
    this.op = op
    this.inputs = inputs
    this.attributes = attributes
    this.outputs = outputs
    this.path = device.path
    this.leaf = leaf
    this.leaves = undefined
    this.variables = leaf?.kind === 'cell' ? leaf.cell.mark : op.blocksGradient === true ? 0 : marksOf(inputs)
  }
}

function marksOf(inputs: readonly Tensor[]): number {
  let marks = 0
  for (const t of inputs) if (isFloat(t.dtype)) marks |= t.node.variables
  return marks
}

/** Anything that can be read as a tensor: a tensor itself, or a variable (its current value). */
export interface TensorLike {
  readonly shape: Shape
  readonly dtype: DType
  readonly device: Device
  read(): Tensor
}

export class Tensor implements TensorLike {
  readonly node: Node
  /** Which output of the node. */
  readonly output: number
  readonly shape: Shape
  readonly dtype: DType

  constructor(node: Node, output = 0) {
    const spec = node.outputs[output]
    if (spec === undefined) throw new RangeError(`${node.op.name} has no output ${output}`)
    this.node = node
    this.output = output
    this.shape = spec.shape
    this.dtype = spec.dtype
  }

  get device(): Device {
    return this.node.device
  }

  get spec(): Spec {
    return at(this.node.outputs, this.output)
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape)
  }

  read(): Tensor {
    return this
  }

  /** What this output holds if the graph does not compute it. */
  get leaf(): Leaf | undefined {
    const { leaf, leaves } = this.node
    return leaves === undefined ? leaf : leaves[this.output]
  }
}
