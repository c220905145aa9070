/**
 * Products of hand-written kernels that wait for their epilogue: the elementwise ops that alone read them. A waiting
 * product may be reshaped and permuted. When it is launched, the views of what it meets and of where it is written go
 * the same way back, so that the kernel sees the shape of its own output.
 */
import type { Expression } from '../../kernels/ir/expression.ts'
import type { Movement } from '../op.ts'
import type { Load } from './fragment.ts'
import type { Step } from './lower.ts'
import { labelOf } from './plan.ts'
import type { OpLaunch } from './plan.ts'
import { bufferView, moveView } from './view.ts'
import type { View } from './view.ts'

export interface PendingProduct {
  readonly kind: 'product'
  readonly step: Step
  /** The kernel's operands. */
  readonly loads: readonly Load[]
  /** In which memory order the kernel writes its output, the fastest axis last; `any`: along one of its last two axes. */
  readonly order: readonly number[] | 'any'
  /** Where the value would lie in a buffer of its own: the movements so far, applied to the kernel's output. */
  readonly view: View
  /** From the value's shape back to the shape of the kernel's output. */
  readonly back: readonly Movement[]
}

function inverse(m: Movement, { shape }: View): Movement | undefined {
  if (m.op === 'reshape') return { op: 'reshape', shape }
  return m.op === 'permute' ? { op: 'permute', axes: m.axes.map((_, i) => m.axes.indexOf(i)) } : undefined
}

const moveBack = (view: View, back: readonly Movement[]): View | undefined => back.reduce<View | undefined>((v, m) => v && moveView(v, m), view)

/** The product after a movement, if the movement can be undone. */
export function moveProduct(product: PendingProduct, m: Movement): PendingProduct | undefined {
  const undo = inverse(m, product.view)
  const moved = moveView(product.view, m)
  if (undo === undefined || moved === undefined) return undefined
  const back = [undo, ...product.back]
  // A kernel that can is to write what is permuted at once so that it is row-major afterwards.
  const wishes = product.order === 'any' && m.op === 'permute' && product.back.length === 0 ? [bufferView(moved.shape), moved] : [moved]
  const view = wishes.find((wish) => writes(product.order, moveBack(wish, back)))
  return view && { ...product, view, back }
}

/** Whether a kernel of that order can write so: one of the axes that it writes along is adjacent. */
function writes(order: PendingProduct['order'], view: View | undefined): boolean {
  const along = order === 'any' ? [-1, -2] : [order.at(-1) ?? -1]
  return view !== undefined && view.mask === undefined && along.some((axis) => view.strides.at(axis) === 1 || view.shape.at(axis) === 1)
}

/** The product's own buffer, in the shape of the kernel's output. */
export const ownView = ({ view, back }: PendingProduct): View | undefined => moveBack(view, back)

/**
 * The launch of a product with `expression` as its epilogue, or undefined where its kernel cannot store that: other
 * types than f32 and f16, padding, views that do not go back, no axis adjacent that the kernel writes along.
 */
export function launchProduct({ step, loads: inputs, order, back }: PendingProduct, expression: Expression, loads: readonly Load[], output: Load, ops: readonly string[]): OpLaunch | undefined {
  const placed = [...loads, output].flatMap((l) => {
    const view = moveBack(l.view, back)
    return view === undefined || view.mask !== undefined ? [] : [{ ...l, view }]
  })
  const target = placed[loads.length]
  if (target === undefined || (target.dtype !== 'f32' && target.dtype !== 'f16') || !writes(order, target.view)) return undefined
  const epilogue = expression.op === 'accumulator' ? undefined : { expression, loads: placed.slice(0, -1) }
  return { kind: 'op', step, inputs, outputs: [target], epilogue, inPlace: () => false, label: labelOf(step, [step.op.name, ...(epilogue === undefined ? [] : ops)].join(' + ')) }
}
