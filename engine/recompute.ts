/**
 * Functions with a backward of their own: `stopGradient`, `customGradient`, and `recompute`, which stores nothing of a
 * function but its inputs and computes the rest again for the backward (Chen et al., "Training Deep Nets with
 * Sublinear Memory Cost", arXiv:1604.06174).
 */
import { inCreationOrder, reach } from './compile/capture.ts'
import { GradientError } from './error.ts'
import { finished } from './finished.ts'
import { pullback } from './grad.ts'
import { Node, Tensor } from './graph.ts'
import type { TensorLike } from './graph.ts'
import { apply, applyMany } from './op.ts'
import type { Cotangents, Fused, Primitive } from './op.ts'
import { formatShape } from './shape.ts'

export const stopGradientOp: Fused<readonly [Tensor]> = {
  kind: 'fused',
  name: 'stopGradient',
  blocksGradient: true,
  shape: ([x]) => x,
  decompose: ([x]) => x,
  vjp: () => [undefined],
}

/** The same value, through which no gradient flows. */
export function stopGradient(x: TensorLike): Tensor {
  return apply(stopGradientOp, [x])
}

/** x, not to be merged with anything computed from x directly, and not before `after` exists. */
export const barrierOp: Primitive<readonly [x: Tensor, after: Tensor], object, 'barrier'> = {
  kind: 'primitive',
  name: 'barrier',
  role: () => ({ kind: 'movement' }),
  shape: ([x]) => x,
  vjp: (dy) => [dy, undefined],
}

type Rule = (dys: Cotangents, inputs: readonly Tensor[], ys: readonly Tensor[]) => Cotangents

/** Its inputs are the values it passes on, then what its rule gives cotangents for. Functions are not part of a plan's key. */
export const customGradientOp: Fused<readonly Tensor[], { count: number; rule: Rule }> = {
  kind: 'fused',
  name: 'customGradient',
  shape: (inputs, { count }) => inputs.slice(0, count).map(({ shape, dtype }) => ({ shape, dtype })),
  decompose: (inputs, { count }) => inputs.slice(0, count),
  vjpMany: (dys, inputs, ys, { count, rule }) => [...ys.map(() => undefined), ...rule(dys, inputs.slice(count), ys)],
}

/** A tensor for each input. */
type Tensors<I extends readonly TensorLike[]> = { -readonly [K in keyof I]: Tensor }

/**
 * The value of `forward(...inputs)`, whose gradient is `backward(dy, inputs, y)`: one cotangent per input, absent for
 * none. What `forward` reads besides its inputs gets no gradient.
 */
export function customGradient<const I extends readonly TensorLike[]>(inputs: I, forward: (...inputs: Tensors<I>) => Tensor, backward: (dy: Tensor, inputs: Tensors<I>, y: Tensor) => Cotangents): Tensor {
  const tensors = inputs.map((x) => x.read()) as Tensors<I>
  const rule: Rule = ([dy], xs, [y]) => (dy === undefined || y === undefined ? [] : backward(dy, xs as Tensors<I>, y))
  const [y] = applyMany(customGradientOp, [forward(...tensors), ...tensors], { count: 1, rule })
  if (y === undefined) throw new RangeError('one output')
  return y
}

/**
 * The value of `fn(...inputs)`, whose intermediates are not kept for the backward but computed again there, from the
 * same draws, the same versions of variables and the same numbers: the gradients are bit for bit those without it.
 */
export function recompute<T extends Tensor | readonly Tensor[]>(fn: (...inputs: Tensor[]) => T, ...inputs: readonly TensorLike[]): T {
  const [head] = inputs
  if (head === undefined) throw new GradientError('recompute: pass the tensors the function is applied to after the function')
  const first = head.device.nextNodeId()
  const result = finished('recompute', fn(...inputs.map((x) => x.read())), 'return a tensor, or a list of tensors')
  const ys: readonly Tensor[] = result instanceof Tensor ? [result] : result
  const inner = inCreationOrder(reach(ys).nodes).filter((node) => node.id > first)
  const boundary = boundaryOf(inner)
  const rule: Rule = (dys, outside) => {
    const after = dys.find((dy) => dy !== undefined)
    if (after === undefined) return []
    const gone = inner.find((node) => node.realized)
    if (gone !== undefined) throw new GradientError(`recompute: a tensor inside the function (${gone.op.name} ${formatShape(gone.outputs[0]?.shape ?? [])}) was realised before the gradient was taken and has let go of its graph; take the gradient first, then realise both`)
    const fresh = outside.map((x) => apply(barrierOp, [x, after]))
    const again = replay(inner, boundary, fresh)
    return pullback(ys.map(again), dys, fresh)
  }
  const kept = applyMany(customGradientOp, [...ys, ...boundary], { count: ys.length, rule })
  return (result instanceof Tensor ? kept[0] : kept) as T
}

const same = (x: Tensor, y: Tensor): boolean => x.node === y.node && x.output === y.output

/** What the nodes read from outside: leaves, and tensors made before them. */
function boundaryOf(nodes: readonly Node[]): Tensor[] {
  const own = new Set(nodes)
  const outside: Tensor[] = []
  for (const node of nodes) for (const t of node.inputs) if (!own.has(t.node) && !outside.some((o) => same(o, t))) outside.push(t)
  return outside
}

/** Makes the nodes again on other inputs; returns the map from their tensors to the new ones. */
function replay(nodes: readonly Node[], from: readonly Tensor[], to: readonly Tensor[]): (t: Tensor) => Tensor {
  const copies = new Map<Node, Node>()
  const image = (t: Tensor): Tensor => {
    const copy = copies.get(t.node)
    return copy === undefined ? (to[from.findIndex((o) => same(o, t))] ?? t) : new Tensor(copy, t.output)
  }
  for (const node of nodes) copies.set(node, node.device.withPath(node.path, () => new Node(node.device, node.op, node.inputs.map(image), node.attributes, node.outputs)))
  return image
}
