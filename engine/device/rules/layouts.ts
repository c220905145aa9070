/** How hand-written kernels want their operands to lie in memory, and in which types. */
import { isPacked, memoryOrder } from '../../compile/view.ts'
import type { View } from '../../compile/view.ts'
import type { Halves, Layouts } from '../../compile/kernelOperands.ts'
import { rowMajor } from '../../compile/order.ts'
import type { Step, Value } from '../../compile/lower.ts'
import { at, sizeOf } from '../../shape.ts'
import type { Shape } from '../../shape.ts'
import type { Strided } from '../../../kernels/ir/descriptor.ts'

type Order = readonly number[]

/** [N, C, …S] with channels fastest. */
export const channelsLast = (shape: Shape): number[] => [0, ...shape.slice(2).map((_, i) => i + 2), 1]

export const isRowMajor = (view: View): boolean => isPacked(view, rowMajor(view.shape))

/** As it is where the fastest axis is a given one, else copied into `order`. */
export function fastest(view: View, axis: number, order: Order): Order | 'any' {
  return view.mask === undefined && (at(view.strides, axis) === 1 || at(view.shape, axis) === 1) ? 'any' : order
}

/** All operands packed row-major. */
export function packed(step: Step): Layouts {
  return { inputs: step.inputs.map((v) => rowMajor(v.spec.shape)), outputs: step.outputs.map((v) => rowMajor(v.spec.shape)) }
}

/** Outputs row-major, inputs as they lie. */
export function strided(step: Step): Layouts {
  return { inputs: step.inputs.map(() => 'any'), outputs: step.outputs.map((v) => rowMajor(v.spec.shape)) }
}

/** The order in which a view lies if its last axis is the fastest, else row-major. */
export function orderKeepingLast(view: View): Order {
  const order = memoryOrder(view)
  return view.strides.every((s, i) => s !== 0 || at(view.shape, i) === 1) && order.at(-1) === view.shape.length - 1 ? order : rowMajor(view.shape)
}

/** Strides and offset of a view, its axes taken in groups that each lie evenly: one stride a group, the last axis's. */
export function grouped(view: View, ...groups: readonly (readonly number[])[]): Strided {
  return { strides: groups.map((axes) => axes.reduce((stride, a) => (at(view.shape, a) === 1 && stride !== 0 ? stride : at(view.strides, a)), 0)), offset: view.offset }
}

/** All strides of a view. */
export const all = ({ strides, offset }: View): Strided => ({ strides, offset })

/** All axes but one, then that one: its elements are neighbours. */
export function axisLast(shape: Shape, axis: number): number[] {
  return [...shape.keys()].filter((i) => i !== axis).concat(axis)
}

/** The axis of a step that works along one. */
export const alongAxis = (step: Step): number => (step.attributes as { axis: number }).axis

/** Operands packed with that axis last, so that it runs in rows. */
export function rowsAlongAxis(step: Step): Layouts {
  const order = ({ spec }: Value): number[] => axisLast(spec.shape, alongAxis(step))
  return { inputs: step.inputs.map(order), outputs: step.outputs.map(order) }
}

/** Of a view packed that way. */
export const rowSizes = ({ shape }: View, axis: number): { rows: number; length: number } => {
  const length = at(shape, axis)
  return { length, rows: length === 0 ? 0 : sizeOf(shape) / length }
}
export const rows = (view: View, axis: number): Strided => ({ strides: [at(view.shape, axis), 1], offset: view.offset })

/** Kernels are called with as many operands as their op has. */
export function known(view: View | undefined): View {
  if (view === undefined) throw new RangeError('a kernel got too few operands')
  return view
}

/** Of products that take an epilogue: both factors. */
export const factors = (): Halves => ({ inputs: [0, 1], outputs: [] })
