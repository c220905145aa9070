/**
 * Reverse-mode differentiation: a walk over the graph from the loss to what is asked for, in reverse creation order.
 * Gradients are tensors made of ops, so gradients of gradients need nothing more.
 */
import { reach, inCreationOrder } from './compile/capture.ts'
import type { Reached } from './compile/capture.ts'
import { isFloat } from './dtype.ts'
import { DTypeError, GradientError, checkWord, refuseOthers } from './error.ts'
import { Tensor } from './graph.ts'
import type { Node, TensorLike } from './graph.ts'
import { apply, applyOn } from './op.ts'
import type { Cotangents, Fused, InputCotangents } from './op.ts'
import { add, literalOp } from './ops/elementwise.ts'
import { expand } from './ops/movement.ts'
import { formatShape } from './shape.ts'
import { Variable, isTensorLike } from './variable.ts'

/** Another name for a tensor: a node of its own with the same value and an unchanged gradient. */
export const aliasOp: Fused<readonly [Tensor]> = {
  kind: 'fused',
  name: 'alias',
  shape: ([x]) => x,
  decompose: ([x]) => x,
  vjp: (dy) => [dy],
}

/** Vector-Jacobian products: the cotangents of `wrt` given those of `ys`; absent where none flows. */
export function pullback(ys: readonly Tensor[], dys: Cotangents, wrt: readonly Tensor[], reached: Reached = reach(ys)): (Tensor | undefined)[] {
  const wanted = new Set(wrt.map((t) => t.node))
  const nodes = inCreationOrder(reached.nodes)
  const useful = leadingTo(nodes, wanted)
  const cotangents = new Map<Node, (Tensor | undefined)[]>()
  const accumulate = ({ node, output, dtype }: Tensor, d: Tensor | undefined): void => {
    if (d === undefined || !isFloat(dtype)) return
    const known = cotangents.get(node)
    const before = known?.[output]
    if (known === undefined) cotangents.set(node, node.outputs.map((_, i) => (i === output ? d : undefined)))
    else known[output] = before === undefined ? d : add(before, d)
  }
  ys.forEach((y, i) => accumulate(y, dys[i]))
  for (const node of nodes.toReversed()) {
    const outputs = useful.has(node) ? cotangents.get(node) : undefined
    if (outputs === undefined) continue
    const inputs = node.device.withPath(node.path, () => vjpOf(node, outputs))
    node.inputs.forEach((t, i) => {
      if (!useful.has(t.node) && !wanted.has(t.node)) return
      const d = inputs[i]
      accumulate(t, typeof d === 'function' ? node.device.withPath(node.path, d) : d)
    })
  }
  return wrt.map((t) => cotangents.get(t.node)?.[t.output])
}

/** The nodes through which a gradient can reach `wanted`. */
function leadingTo(nodes: readonly Node[], wanted: ReadonlySet<Node>): Set<Node> {
  const useful = new Set<Node>()
  for (const node of nodes) if (node.inputs.some((t) => wanted.has(t.node) || useful.has(t.node))) useful.add(node)
  return useful
}

function vjpOf(node: Node, dys: Cotangents): InputCotangents {
  const { op, inputs, attributes } = node
  const ys = node.outputs.map((_, i) => new Tensor(node, i))
  const [dy] = dys
  const [y] = ys
  switch (op.kind) {
    case 'leaf':
      return []
    case 'elementwise':
    case 'primitive':
      return dy === undefined || y === undefined || op.vjp === undefined ? [] : op.vjp(dy, inputs, y, attributes)
    case 'fused': {
      if (op.vjpMany !== undefined) return op.vjpMany(dys, inputs, ys, attributes)
      if (op.vjp !== undefined) return dy === undefined || y === undefined ? [] : op.vjp(dy, inputs, y, attributes)
      // Two inputs may be one tensor; aliases keep their gradients apart.
      const aliases = inputs.map((x) => apply(aliasOp, [x]))
      const ends = op.decompose(aliases, attributes)
      return pullback('node' in ends ? [ends] : ends, dys, aliases)
    }
    default:
      return op satisfies never
  }
}

export type Wrt = TensorLike | readonly TensorLike[] | Readonly<Record<string, TensorLike>>
export type Gradients<W extends Wrt> = W extends TensorLike ? Tensor : { [K in keyof W]: Tensor }

export interface GradientOptions {
  /** What an unreached tensor or variable gets. Default `error`: zeros would let weight decay shrink frozen weights. */
  readonly unreached?: 'error' | 'zeros'
}

/** The gradient of `loss`, a float scalar, with respect to each of `wrt`, in the same structure; see `valueAndGrad`. */
export function grad<const W extends Wrt>(loss: TensorLike, wrt: W, { unreached = 'error', ...others }: GradientOptions = {}): Gradients<W> {
  refuseOthers('grad', others)
  return valueAndGrad(loss, wrt, { unreached }).grads
}

/**
 * `loss` and its gradients: realise them together, since a gradient cannot pass through a tensor that is realised.
 * `wrt` is a tensor or variable, a list, or a record of them; gradients have their shapes.
 * Throws GradientError for a loss that is not a scalar or is realised, and for what the loss does not depend on;
 * DTypeError for integers.
 */
export function valueAndGrad<const W extends Wrt>(loss: TensorLike, wrt: W, { unreached = 'error', ...others }: GradientOptions = {}): { value: Tensor; grads: Gradients<W> } {
  refuseOthers('valueAndGrad', others)
  checkWord('grad', 'unreached', unreached, ['error', 'zeros'])
  const value = loss.read()
  if (value.size !== 1) throw new GradientError(`grad: the loss has shape ${formatShape(value.shape)}, but only a scalar has a gradient; reduce it with sum or mean first`)
  if (!isFloat(value.dtype)) throw new DTypeError(`grad: the loss is ${value.dtype}, which has no gradient; compute it in f32`)
  if (value.node.realized) throw new GradientError('grad: the loss was realised before its gradient was taken and has let go of its graph; take the gradient first, then realise both (valueAndGrad gives both)')
  const list = isTensorLike(wrt) ? [wrt] : Object.values(wrt)
  const names = isTensorLike(wrt) ? ['wrt'] : Object.keys(wrt)
  const targets = list.map((t) => t.read())
  const label = (i: number): string => {
    const target = list[i]
    return target instanceof Variable && target.name !== '' ? `variable ${target.name}` : `${names[i] ?? i}`
  }
  targets.forEach((t, i) => {
    if (!isFloat(t.dtype)) throw new DTypeError(`grad: ${label(i)} is ${t.dtype}, and integers have no gradient; cast it to f32 before the ops that read it`)
  })
  const reached = reach([value])
  if (reached.leaves.some(({ tensor, leaf }) => leaf.kind === 'stored' && tensor.node.variables !== 0)) assertWhole(value, targets, list)
  const gradients = pullback([value], [full(value, 1)], targets, reached)
  const found = targets.map((t, i) => gradients[i] ?? absent(value, t, label(i), unreached))
  const [first] = found
  if (isTensorLike(wrt)) return { value, grads: first as Gradients<W> }
  const grads = Array.isArray(wrt) ? found : Object.fromEntries(names.map((name, i) => [name, found[i]]))
  return { value, grads: grads as Gradients<W> }
}

/** Throws where a path from the loss to a variable was cut because a tensor on it was realised: the gradient would lack a part. */
function assertWhole(loss: Tensor, targets: readonly Tensor[], wrt: readonly TensorLike[]): void {
  const marks = wrt.reduce((all, t) => (t instanceof Variable ? all | t.mark : all), 0)
  const cut = reach([loss], (node) => (node.variables & marks) !== 0).leaves.find(({ tensor, leaf }) => leaf.kind === 'stored' && (tensor.node.variables & marks) !== 0 && !targets.some((t) => t.node === tensor.node))
  if (cut === undefined) return
  throw new GradientError(`grad: the loss reads ${cut.tensor.node.op.name} ${formatShape(cut.tensor.shape)}, which was computed from variables and then realised: the gradient through it is lost. Take the gradient before realising it; if none is meant to flow, pass it through stopGradient`)
}

/** A literal in the shape and type of `like`. */
const full = (like: Tensor, value: number): Tensor => expand(applyOn(like.device, literalOp, { value, dtype: like.dtype }), like.shape)

function absent(loss: Tensor, target: Tensor, label: string, unreached: 'error' | 'zeros'): Tensor {
  if (unreached === 'zeros') return full(target, 0)
  const through = reach([loss]).leaves.some(({ tensor }) => tensor.node.realized)
  const why = through ? 'the path to it passes through a tensor that was realised and has let go of its graph; take the gradient before realising it' : 'it does not take part in the loss; leave it out, or pass { unreached: "zeros" }'
  throw new GradientError(`grad: the loss does not reach ${label} ${formatShape(target.shape)}: ${why}`)
}
