/** From the compiler's map and reduce launches to the kernel generators' descriptors. */
import type { Epilogue, MapDescriptor, Operand, ReduceDescriptor } from '../../../kernels/ir/descriptor.ts'
import type { Expression, StorageType } from '../../../kernels/ir/expression.ts'
import { replaceLeaves } from '../../compile/fragment.ts'
import type { Load } from '../../compile/fragment.ts'
import type { MapLaunch, OpLaunch, ReduceLaunch } from '../../compile/plan.ts'
import { memoryOrder } from '../../compile/view.ts'
import type { Range } from '../../compile/view.ts'
import type { DType } from '../../dtype.ts'
import { DTypeError } from '../../error.ts'
import { at, longAxes, sizeOf } from '../../shape.ts'

export function storageType(dtype: DType): StorageType {
  if (dtype === 'f64') throw new DTypeError(`${dtype} is not a type of this device; use f32`)
  return dtype
}

/** The operand over domain axes that are the view's `axes`, and 0 on `extra` further ones. */
function operand({ view, dtype }: Load, axes: readonly number[], extra = 0): Operand {
  const zeros = new Array<number>(extra).fill(0)
  const base = { dtype: storageType(dtype), strides: [...axes.map((a) => at(view.strides, a)), ...zeros], offset: view.offset }
  if (view.mask === undefined) return base
  const { mask } = view
  const all: Range = [0, Number.MAX_SAFE_INTEGER]
  // An axis of size 1 that the domain leaves out may be padding: then there is nothing to read anywhere.
  const blank = mask.some(([lo, hi], a) => lo >= hi && !axes.includes(a))
  return { ...base, mask: [...axes.map((a) => at(mask, a)), ...zeros.map(() => all)].map((range) => (blank ? [0, 0] : range)) }
}

/** The loads an expression really reads, and the expression that numbers them from `first`. */
function number(expression: Expression, loads: readonly Load[], first: number): { used: Load[]; expression: Expression } {
  const used: Load[] = []
  const numbered = replaceLeaves(expression, 'load', (e) => {
    const l = loads.find((k) => k.id === e.value)
    if (l === undefined) throw new RangeError(`load ${e.value} has no operand`)
    if (!used.includes(l)) used.push(l)
    return { ...e, value: first + used.indexOf(l) }
  })
  return { used, expression: numbered }
}

/** What a map launch computes, and the buffers of its operands. */
export function describeMap({ expression, loads, output }: MapLaunch): { readonly descriptor: MapDescriptor; readonly buffers: readonly number[] } {
  const order = memoryOrder(output.view)
  const { used, expression: value } = number(expression, loads, 0)
  const descriptor: MapDescriptor = {
    shape: order.map((a) => at(output.view.shape, a)),
    inputs: used.map((l) => operand(l, order)),
    outputs: [{ operand: operand(output, order), value }],
  }
  return { descriptor, buffers: [...used.map((l) => l.buffer), output.buffer] }
}

/** What a reduction computes, and the buffers it reads. */
export function describeReduction({ reduction, expression, loads, output, parts }: ReduceLaunch): { readonly descriptor: ReduceDescriptor; readonly reads: readonly number[] } {
  const { shape, axes, op } = reduction
  const kept = longAxes(shape).filter((a) => !axes.includes(a))
  // The result's axes other than those of size 1 are the kept ones, in the same order.
  const own = longAxes(output.view.shape)
  const order = memoryOrder(output.view).filter((a) => own.includes(a))
  const keptOrder = order.map((a) => at(kept, own.indexOf(a)))
  const element = number(reduction.element, reduction.loads, 0)
  const epilogue = number(expression, loads, element.used.length)
  const leading = element.used.reduce<Load | undefined>((best, l) => (best === undefined || spread(l) > spread(best) ? l : best), undefined)
  const reducedOrder = leading === undefined ? axes : memoryOrder(leading.view).filter((a) => axes.includes(a))
  const descriptor: ReduceDescriptor = {
    shape: keptOrder.map((a) => at(shape, a)),
    reduced: reducedOrder.map((a) => at(shape, a)),
    op,
    inputs: [...element.used.map((l) => operand(l, [...keptOrder, ...reducedOrder])), ...epilogue.used.map((l) => operand(l, order, reducedOrder.length))],
    element: element.expression,
    outputs: [{ operand: operand(output, order), value: epilogue.expression }],
    ...(parts === undefined ? {} : { parts: { count: parts, stride: sizeOf(output.view.shape) } }),
  }
  return { descriptor, reads: [...element.used, ...epilogue.used].map((l) => l.buffer) }
}

/** An epilogue over the axes of its kernel's output. */
export function epilogueOf({ expression, loads }: NonNullable<OpLaunch['epilogue']>): Epilogue & { readonly buffers: readonly number[] } {
  const { used, expression: value } = number(expression, loads, 0)
  const inputs = used.map((l) => operand(l, [...l.view.shape.keys()]))
  return { inputs, value, buffers: used.map((l) => l.buffer) }
}

/** Axes of a load that move in memory. */
const spread = ({ view }: Load): number => view.strides.filter((s) => s !== 0).length
