/**
 * Lowering: the captured graph with every fused op the device has no kernel for replaced by its decomposition, dead
 * code gone and common subexpressions merged. From here on values are positions, not tensors.
 */
import { leafTensor } from '../create.ts'
import type { Backend } from '../device/backend.ts'
import type { Device } from '../device/device.ts'
import type { Leaf, Node, Spec, Tensor } from '../graph.ts'
import type { Elementwise, Fused, Primitive } from '../op.ts'
import { at } from '../shape.ts'
import type { Variable } from '../variable.ts'
import { inCreationOrder, isHostLeaf, reach } from './capture.ts'
import type { Capture } from './capture.ts'

/** A value of the lowered graph: a leaf or one output of a step. */
export interface Value {
  readonly id: number
  readonly spec: Spec
}

export interface Step {
  readonly op: Elementwise | Primitive | Fused
  readonly inputs: readonly Value[]
  readonly attributes: object
  readonly outputs: readonly Value[]
  /** The node of the captured graph that it is of, by its place there, and the path of that node's module in the graph that was compiled. */
  readonly origin: number | undefined
  readonly path: string
}

export interface LoweredLeaf {
  readonly value: Value
  readonly kind: 'scalar' | 'data' | 'buffer'
}

export interface LoweredResult {
  readonly value: Value
  /** The leaf whose memory the result takes over at the end of the run, for a variable that the graph also reads. */
  readonly overwrites: number | undefined
}

export interface LoweredGraph {
  readonly leaves: readonly LoweredLeaf[]
  readonly steps: readonly Step[]
  readonly results: readonly LoweredResult[]
  readonly valueCount: number
  /** Whether every op is to have a launch of its own. Default: what can be fused is. */
  readonly separate?: boolean
}

type Environment = Map<Node, readonly Value[]>

class Lowering {
  readonly steps: Step[] = []
  private readonly backend: Backend
  private readonly device: Device
  private readonly merged = new Map<string, readonly Value[]>()
  private values = 0
  private origin = 0
  private path = ''

  constructor(device: Device) {
    this.device = device
    this.backend = device.backend
  }

  get valueCount(): number {
    return this.values
  }

  value(spec: Spec): Value {
    return { id: this.values++, spec: { shape: spec.shape, dtype: spec.dtype } }
  }

  /** The nodes of a graph, in order. */
  lowerAll(nodes: readonly Node[], environment: Environment): void {
    nodes.forEach((node, i) => {
      ;[this.origin, this.path] = [i, node.path]
      this.lowerNode(node, environment)
    })
  }

  private lowerNode(node: Node, environment: Environment): void {
    const inputs = node.inputs.map((t) => lookup(environment, t))
    environment.set(node, this.lowerCall(node, inputs))
  }

  private lowerCall({ op, attributes, outputs }: Node, inputs: readonly Value[]): readonly Value[] {
    if (op.kind === 'leaf') throw new RangeError(`${op.name} is not computed`)
    if (op.kind === 'fused' && !this.backend.accepts(op, inputs.map((v) => v.spec), attributes)) return this.expandCall(op, inputs, attributes)
    const key = `${this.device.plans.interner.op(op)}(${inputs.map((v) => v.id).join()})${attributeKey(attributes)}`
    const known = this.merged.get(key)
    if (known !== undefined) return known
    const values = outputs.map((spec) => this.value(spec))
    this.steps.push({ op, inputs, attributes, outputs: values, origin: this.origin, path: this.path })
    this.merged.set(key, values)
    return values
  }

  private expandCall(op: Fused, inputs: readonly Value[], attributes: object): readonly Value[] {
    const stand = inputs.map(({ spec }) => leafTensor(this.device, { kind: 'placeholder' }, spec.shape, spec.dtype))
    const environment: Environment = new Map(stand.map((t, i) => [t.node, [inputs[i] ?? missing()]]))
    const ends = op.decompose(stand, attributes)
    const outputs = 'node' in ends ? [ends] : ends
    for (const node of inCreationOrder(reach(outputs).nodes)) this.lowerNode(node, environment)
    return outputs.map((t) => lookup(environment, t))
  }
}

/** JSON, but for the numbers it has no word for. */
function attributeKey(attributes: object): string {
  return JSON.stringify(attributes, (_, v: unknown) => (typeof v === 'number' && (!Number.isFinite(v) || Object.is(v, -0)) ? `number ${Object.is(v, -0) ? '-0' : v}` : v))
}

function missing(): never {
  throw new RangeError('a value that was never lowered')
}

function lookup(environment: Environment, t: Tensor): Value {
  return environment.get(t.node)?.[t.output] ?? missing()
}

const leafKind = (leaf: Leaf): LoweredLeaf['kind'] => (leaf.kind === 'scalar' ? 'scalar' : isHostLeaf(leaf) ? 'data' : 'buffer')

export function lower({ nodes, leaves, results, cells }: Capture, device: Device): LoweredGraph {
  const lowering = new Lowering(device)
  const environment: Environment = new Map()
  const lowered: LoweredLeaf[] = []
  const cellLeaves = new Map<Variable, number>()
  for (const { tensor, leaf } of leaves) {
    const value = lowering.value(tensor)
    const outputs = [...(environment.get(tensor.node) ?? [])]
    // Several tensors may read one variable; what overwrites it must see that they are one value.
    const first = leaf.kind === 'cell' ? cellLeaves.get(leaf.cell) : undefined
    if (leaf.kind === 'cell' && first === undefined) cellLeaves.set(leaf.cell, lowered.length)
    outputs[tensor.output] = first === undefined ? value : at(lowered, first).value
    environment.set(tensor.node, outputs)
    lowered.push({ value, kind: leafKind(leaf) })
  }
  lowering.lowerAll(nodes, environment)
  const ends = results.map((t, i): LoweredResult => {
    const cell = cells[i]
    return { value: lookup(environment, t), overwrites: cell && cellLeaves.get(cell) }
  })
  return { leaves: lowered, steps: prune(lowering.steps, ends), results: ends, valueCount: lowering.valueCount, separate: device.watch?.kind === 'anomalies' }
}

/** Drops steps nothing reads: a decomposition may compute more outputs than are used. */
function prune(steps: readonly Step[], results: readonly LoweredResult[]): Step[] {
  const live = new Set(results.map((r) => r.value.id))
  return steps
    .toReversed()
    .filter((step) => {
      const used = step.outputs.some((v) => live.has(v.id))
      if (used) for (const v of step.inputs) live.add(v.id)
      return used
    })
    .toReversed()
}
