/**
 * What one realisation computes, read off the graph: its nodes in creation order, its leaves, its results, and the
 * exact encoding of all that is structure. Two captures with equal encodings run the same plan.
 */
import type { Device } from '../device/device.ts'
import type { Leaf, Node, Tensor } from '../graph.ts'
import type { AnyOp } from '../op.ts'
import { formatShape } from '../shape.ts'
import type { Variable } from '../variable.ts'

/** A class: V8 moves literals that lived through a few collections to its old space from their start, and there the dead keep what they refer to. */
export class CapturedLeaf {
  readonly tensor: Tensor
  readonly leaf: Leaf

  constructor(tensor: Tensor, leaf: Leaf) {
    this.tensor = tensor
    this.leaf = leaf
  }
}

export interface Capture {
  /** Nodes to compute, in creation order, which is a topological order. */
  readonly nodes: readonly Node[]
  readonly leaves: readonly CapturedLeaf[]
  /** The requested tensors, then the values that variables move to. */
  readonly results: readonly Tensor[]
  /** For each result: the variable it is written to, if any. */
  readonly cells: readonly (Variable | undefined)[]
}

export interface Reached {
  readonly nodes: Node[]
  readonly leaves: CapturedLeaf[]
}

/** What a walk does besides collecting. */
interface Visitor {
  /** At a node met for the first time; `false` keeps the walk out of its inputs. */
  enter?(node: Node): boolean
  /** At a node met before. */
  again?(node: Node): void
  /** At a leaf, as often as it is read. */
  read?(leaf: Leaf): void
}

/** A walk from roots to what they are made of, which collects nodes and leaves, each once and in no order. */
export class Walk implements Reached {
  readonly nodes: Node[] = []
  readonly leaves: CapturedLeaf[] = []
  private readonly number: number
  private readonly visitor: Visitor
  private readonly outputs = new Map<Node, Set<number>>()
  private readonly stack: Tensor[] = []

  constructor(device: Device, visitor: Visitor = {}) {
    this.number = device.nextWalk()
    this.visitor = visitor
  }

  from(root: Tensor): void {
    const { number, visitor, nodes, leaves, stack } = this
    for (let tensor: Tensor | undefined = root; tensor !== undefined; tensor = stack.pop()) {
      const { node, leaf } = tensor
      if (leaf !== undefined) {
        visitor.read?.(leaf)
        if (isFirst(tensor, number, this.outputs)) leaves.push(new CapturedLeaf(tensor, leaf))
      } else if (node.walk === number) visitor.again?.(node)
      else {
        node.walk = number
        nodes.push(node)
        if (visitor.enter?.(node) !== false) stack.push(...node.inputs)
      }
    }
  }
}

/** Nodes that `roots` are made of, and their leaves. `enter` keeps the walk out of a node's inputs. */
export function reach(roots: readonly Tensor[], enter: (node: Node) => boolean = () => true): Reached {
  const [first] = roots
  if (first === undefined) return { nodes: [], leaves: [] }
  const walk = new Walk(first.device, { enter })
  for (const t of roots) walk.from(t)
  return walk
}

/** Whether the walk meets the leaf for the first time. Of a node with several outputs some may be leaves while others are computed. */
function isFirst({ node, output }: Tensor, walk: number, outputs: Map<Node, Set<number>>): boolean {
  if (node.leaves === undefined) {
    const first = node.walk !== walk
    node.walk = walk
    return first
  }
  const met = outputs.get(node)
  if (met === undefined) outputs.set(node, new Set([output]))
  else if (met.has(output)) return false
  else met.add(output)
  return true
}

export function capture({ nodes, leaves }: Reached, results: readonly Tensor[], cells: readonly (Variable | undefined)[]): Capture {
  leaves.sort((x, y) => x.tensor.node.id - y.tensor.node.id || x.tensor.output - y.tensor.output)
  return { nodes: inCreationOrder(nodes), leaves, results, cells }
}

/** Creation order is a topological order. */
export function inCreationOrder(nodes: Node[]): Node[] {
  let [least, most] = [Infinity, -Infinity]
  for (const { id } of nodes) {
    least = Math.min(least, id)
    most = Math.max(most, id)
  }
  if (most - least > 4 * nodes.length) return nodes.sort((x, y) => x.id - y.id)
  // Made one after another, as the nodes of a step are, they need no comparing.
  const places = new Array<Node | undefined>(Math.max(0, most - least + 1)).fill(undefined)
  for (const node of nodes) places[node.id - least] = node
  return places.filter((node) => node !== undefined)
}

const leafCodes = { scalar: 0, data: 1, cell: 2, stored: 3, placeholder: 4 } as const satisfies Record<Leaf['kind'], number>

/** Whether the value reaches the device through the host at each run. */
export function isHostLeaf(leaf: Leaf): boolean {
  return leaf.kind === 'data' || (leaf.kind === 'stored' && leaf.storage.small)
}

/** Numbers ops and attribute texts for the encoding; one per device. */
export class Interner {
  private readonly ops = new Map<AnyOp, number>()
  private readonly texts = new Map<string, number>()

  op(op: AnyOp): number {
    return intern(this.ops, op)
  }

  text(text: string): number {
    return intern(this.texts, text)
  }
}

function intern<K>(map: Map<K, number>, key: K): number {
  const known = map.get(key)
  if (known !== undefined) return known
  map.set(key, map.size)
  return map.size - 1
}

/** Ends a record; names are numbered from 0. */
const end = -1

const valueCodes = { number: 0, string: 1, true: 2, false: 3, null: 4, undefined: 5, array: 6, object: 7 } as const

/** What an encoding is written to. */
interface Sink {
  push(value: number): unknown
}

/** A plan's key under construction, in memory that is used again for the next: keys are long, and made at every step. */
export class Key implements Sink {
  /** The first `length` numbers count. */
  values: Float64Array<ArrayBuffer> = new Float64Array(8192)
  length = 0

  push(value: number): void {
    if (this.length === this.values.length) {
      const larger = new Float64Array(2 * this.length)
      larger.set(this.values)
      this.values = larger
    }
    this.values[this.length++] = value
  }
}

/** Every value starts with its kind, lists with their length, and records have an end: no two values have one encoding. */
export function encodeValue(value: unknown, interner: Interner, out: Sink): void {
  switch (typeof value) {
    case 'number':
      out.push(valueCodes.number)
      out.push(value)
      return
    case 'string':
      out.push(valueCodes.string)
      out.push(interner.text(value))
      return
    case 'boolean':
      out.push(value ? valueCodes.true : valueCodes.false)
      return
    case 'undefined':
      out.push(valueCodes.undefined)
      return
    case 'object':
      if (value === null) out.push(valueCodes.null)
      else if (Array.isArray(value)) {
        out.push(valueCodes.array)
        out.push(value.length)
        for (let i = 0; i < value.length; i++) encodeValue(value[i], interner, out)
      } else {
        out.push(valueCodes.object)
        const record = value as Readonly<Record<string, unknown>>
        for (const name in record) {
          const v = record[name]
          if (typeof v === 'function') continue // Functions belong to gradients, which are taken before anything is compiled.
          out.push(interner.text(name))
          encodeValue(v, interner, out)
        }
        out.push(end)
      }
      return
    default:
      throw new TypeError(`attributes: a ${typeof value} is not structure`)
  }
}

/**
 * Everything about a capture that is structure, as numbers. Scalars' values, data and versions are not.
 * Without iterators: this runs once a step, too seldom for V8 to take their objects away.
 */
export function encode({ nodes, leaves, results, cells }: Capture, interner: Interner, out: Key): Key {
  out.length = 0
  out.push(leaves.length)
  out.push(nodes.length)
  out.push(results.length)
  leaves.forEach(({ leaf }) => leaf.kind === 'cell' && (leaf.cell.note = -1))
  cells.forEach((cell) => cell !== undefined && (cell.note = -1))
  let numbered = 0
  leaves.forEach(({ tensor, leaf }, position) => {
    tensor.node.note = position // Outputs of one node follow each other, so the last position and the output tell which.
    if (leaf.kind !== 'cell') {
      out.push(isHostLeaf(leaf) ? leafCodes.data : leafCodes[leaf.kind])
      out.push(tensor.output)
      out.push(interner.text(tensor.dtype))
      encodeValue(tensor.shape, interner, out)
      return
    }
    const { cell } = leaf
    if (cell.kind < 0) cell.kind = interner.text(`${cell.dtype}${formatShape(cell.shape)}`)
    if (cell.note < 0) cell.note = numbered++
    out.push(leafCodes.cell)
    out.push(tensor.output)
    out.push(cell.kind)
    out.push(cell.note)
  })
  const reference = ({ node, output }: Tensor): void => out.push(output * 2 ** 32 + node.note)
  nodes.forEach((node, i) => {
    node.note = leaves.length + i
    out.push(interner.op(node.op))
    out.push(node.inputs.length)
    node.inputs.forEach(reference)
    encodeValue(node.attributes, interner, out)
  })
  results.forEach((t, i) => {
    reference(t)
    const cell = cells[i]
    out.push(cell === undefined ? -1 : cell.note < 0 ? -2 : cell.note)
  })
  return out
}
