/** Memory orders: axes from slowest to fastest, in which values are written that no kernel wants otherwise. */
import { at, longAxes, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'
import type { Fragment, Reduction } from './fragment.ts'
import { memoryOrder, repeatedBeside } from './view.ts'
import type { View } from './view.ts'

export const rowMajor = (shape: Shape): number[] => shape.map((_, i) => i)

/** The memory order of the largest operand, each repeated axis beside the one before it. */
export function followOrder(shape: Shape, parts: readonly Fragment[]): readonly number[] {
  const [accumulated] = parts.flatMap((f) => f.accumulated ?? [])
  if (accumulated?.kind === 'reduction') return foldedOrder(shape, accumulated)
  const views = parts.flatMap((f) => f.loads.map((l) => l.view))
  if (accumulated !== undefined) views.splice(accumulated.order === 'any' ? views.length : 0, 0, accumulated.view)
  const largest = largestView(views, shape.length)
  return largest === undefined ? rowMajor(shape) : repeatedBeside(largest)
}

function largestView(all: readonly View[], rank: number): View | undefined {
  const moving = (v: View): number => sizeOf(v.shape.filter((_, i) => v.strides[i] !== 0))
  const views = all.filter((v) => v.shape.length === rank && v.mask === undefined && moving(v) > 1)
  return views.reduce<View | undefined>((best, v) => (best === undefined || moving(v) > moving(best) ? v : best), undefined)
}

/** The axes that a fold keeps, in the order in which its largest operand has them. */
function foldedOrder(shape: Shape, { shape: whole, axes, loads }: Reduction): readonly number[] {
  const largest = largestView(loads.map((l) => l.view), whole.length)
  const [kept, own] = [longAxes(whole).filter((a) => !axes.includes(a)), longAxes(shape)]
  if (largest === undefined || kept.length !== own.length) return rowMajor(shape)
  const order = memoryOrder(largest).filter((a) => kept.includes(a)).map((a) => at(own, kept.indexOf(a)))
  return [...rowMajor(shape).filter((a) => !own.includes(a)), ...order]
}
