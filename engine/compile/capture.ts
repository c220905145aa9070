/**
 * What one realisation computes, read off the graph: its nodes in creation order, its leaves, its results, and the
 * exact encoding of all that is structure. Two captures with equal encodings run the same plan.
 */
import type { Leaf, Node, Tensor } from '../graph.ts'
import type { AnyOp } from '../op.ts'
import type { Variable } from '../variable.ts'

export interface CapturedLeaf {
  readonly tensor: Tensor
  readonly leaf: Leaf
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

/** Nodes that `roots` are made of, and their leaves, each once and in no order. `enter` keeps the walk out of a node's inputs. */
export function reach(roots: readonly Tensor[], enter: (node: Node) => boolean = () => true): { nodes: Node[]; leaves: CapturedLeaf[] } {
  const walk = roots[0]?.device.nextWalk() ?? 0
  const nodes: Node[] = []
  const leaves: CapturedLeaf[] = []
  const outputs = new Map<Node, Set<number>>()
  const stack = [...roots]
  for (let tensor = stack.pop(); tensor !== undefined; tensor = stack.pop()) {
    const { node, leaf } = tensor
    if (leaf !== undefined) {
      if (isFirst(tensor, walk, outputs)) leaves.push({ tensor, leaf })
    } else if (node.walk !== walk) {
      node.walk = walk
      nodes.push(node)
      if (enter(node)) stack.push(...node.inputs)
    }
  }
  return { nodes, leaves }
}

/** Whether the walk meets the leaf for the first time. Of a node with several outputs some may be leaves while others are computed. */
function isFirst({ node, output }: Tensor, walk: number, outputs: Map<Node, Set<number>>): boolean {
  if (node.outputs.length === 1) {
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

export function capture(results: readonly Tensor[], cells: readonly (Variable | undefined)[]): Capture {
  const { nodes, leaves } = reach(results)
  leaves.sort((x, y) => x.tensor.node.id - y.tensor.node.id || x.tensor.output - y.tensor.output)
  return { nodes: inCreationOrder(nodes), leaves, results, cells }
}

/** Creation order is a topological order. */
export function inCreationOrder(nodes: Node[]): Node[] {
  return nodes.sort((x, y) => x.id - y.id)
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

const valueCodes = { number: 0, string: 1, true: 2, false: 3, null: 4, undefined: 5, array: 6, object: 7 } as const

/** Every value starts with its kind, and lists and records with their length: no two values have one encoding. */
export function encodeValue(value: unknown, interner: Interner, out: number[]): void {
  switch (typeof value) {
    case 'number':
      out.push(valueCodes.number, value)
      return
    case 'string':
      out.push(valueCodes.string, interner.text(value))
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
        out.push(valueCodes.array, value.length)
        for (const v of value) encodeValue(v, interner, out)
      } else {
        const start = out.push(valueCodes.object, 0) - 1
        for (const name in value) {
          const v: unknown = Reflect.get(value, name)
          if (typeof v === 'function') continue // Functions belong to gradients, which are taken before anything is compiled.
          out[start] = (out[start] ?? 0) + 1
          out.push(interner.text(name))
          encodeValue(v, interner, out)
        }
      }
      return
    default:
      throw new TypeError(`attributes: a ${typeof value} is not structure`)
  }
}

/** Everything about a capture that is structure, as numbers. Scalars' values, data and versions are not. */
export function encode({ nodes, leaves, results, cells }: Capture, interner: Interner): number[] {
  const out: number[] = [leaves.length, nodes.length, results.length]
  const cellNumbers = new Map<Variable, number>()
  leaves.forEach(({ tensor, leaf }, i) => {
    tensor.node.note = i // Outputs of one node follow each other, so the last position and the output tell which.
    out.push(isHostLeaf(leaf) ? leafCodes.data : leafCodes[leaf.kind], interner.text(tensor.dtype), tensor.output, tensor.shape.length, ...tensor.shape)
    if (leaf.kind === 'cell') out.push(intern(cellNumbers, leaf.cell))
  })
  const reference = (t: Tensor): void => {
    out.push(t.node.note, t.output)
  }
  nodes.forEach((node, i) => {
    node.note = leaves.length + i
    out.push(interner.op(node.op), node.inputs.length)
    node.inputs.forEach(reference)
    encodeValue(node.attributes, interner, out)
  })
  results.forEach((t, i) => {
    reference(t)
    const cell = cells[i]
    out.push(cell === undefined ? -1 : (cellNumbers.get(cell) ?? -2))
  })
  return out
}
