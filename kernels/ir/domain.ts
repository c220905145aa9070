/**
 * A kernel's domain made small: axes of size 1 are dropped and neighbours are merged wherever every
 * operand allows, so that most kernels run over one or two axes whatever their tensors' rank.
 */
import type { Expression } from './expression.ts'
import type { Operand } from './descriptor.ts'

type Range = readonly [lo: number, hi: number]

/** One loop. Strides are in elements, one per operand; a range absent is the whole axis. */
export interface Axis {
  readonly size: number
  /** The axis of the descriptor whose position this loop counts, where an `index` asks for it. */
  readonly index: number | undefined
  readonly strides: readonly number[]
  readonly ranges: readonly (Range | undefined)[]
}

/** Axes named by the `index` nodes of `roots`. */
export function indexedAxes(roots: readonly Expression[]): ReadonlySet<number> {
  const seen = new Set<Expression>()
  const axes = new Set<number>()
  const visit = (e: Expression): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.op === 'index') axes.add(e.value)
    e.args.forEach(visit)
  }
  roots.forEach(visit)
  return axes
}

function rangeOf(operand: Operand, axis: number, size: number): Range | undefined {
  const [lo, hi] = operand.mask?.[axis] ?? [0, size]
  return lo <= 0 && hi >= size ? undefined : [Math.max(lo, 0), Math.min(hi, size)]
}

/** The operand reads as zero everywhere. */
export function isBlank(operand: Operand, shape: readonly number[]): boolean {
  return shape.some((size, axis) => {
    const [lo, hi] = rangeOf(operand, axis, size) ?? [0, size]
    return size > 0 && lo >= hi
  })
}

/** The axes `first` ≤ a < `first + shape.length` of the operands' strides, one loop each. */
export function axesOf(shape: readonly number[], first: number, operands: readonly Operand[], indexed: ReadonlySet<number>): Axis[] {
  return shape.flatMap((size, i) => {
    const axis = first + i
    if (size === 1) return []
    const ranges = operands.map((o) => rangeOf(o, axis, size))
    return [{ size, index: indexed.has(axis) ? axis : undefined, strides: operands.map((o) => o.strides[axis] ?? 0), ranges }]
  })
}

/** Outermost the axis along which operand `primary` has the longest stride; axes it does not move along come first. */
export function sortAxes(axes: readonly Axis[], primary: number): Axis[] {
  const length = (a: Axis): number => Math.abs(a.strides[primary] ?? 0) || Infinity
  return axes.toSorted((a, b) => (length(a) === length(b) ? 0 : length(b) - length(a)))
}

/** Merges every axis into its outer neighbour where one stride does for both. */
export function mergeAxes(axes: readonly Axis[]): Axis[] {
  const merged: Axis[] = []
  for (const inner of axes) {
    const outer = merged.at(-1)
    const one = outer !== undefined && outer.index === undefined && inner.index === undefined
      && inner.ranges.every((r) => r === undefined)
      && inner.strides.every((stride, o) => outer.strides[o] === stride * inner.size)
    if (!one) {
      merged.push(inner)
      continue
    }
    // A range of the outer axis holds whole runs of the inner one.
    const ranges = outer.ranges.map((r): Range | undefined => r && [r[0] * inner.size, r[1] * inner.size])
    merged[merged.length - 1] = { size: outer.size * inner.size, index: undefined, strides: inner.strides, ranges }
  }
  return merged
}

export const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1)

/** Bytes an operand covers once: what the kernel has to move at least. */
export const footprint = (axes: readonly Axis[], operand: number, elementBytes: number): number =>
  elementBytes * product(axes.map((a) => (a.strides[operand] === 0 ? 1 : a.size)))

/** The input that moves along the most axes: the one whose layout the loops follow. */
export function leadingInput(inputs: readonly Operand[], loads: ReadonlySet<number>): number | undefined {
  const spread = (i: number): number => inputs[i]?.strides.filter((s) => s !== 0).length ?? 0
  return [...loads].reduce<number | undefined>((best, i) => (best === undefined || spread(i) > spread(best) ? i : best), undefined)
}

/** A reduction of rows shorter than this runs along the kept axis. */
const shortRow = 8

/** Whether neighbouring lanes should have neighbours along the last kept axis rather than the last reduced one. */
export function prefersColumns(kept: Axis | undefined, reduced: Axis | undefined, loads: ReadonlySet<number>): boolean {
  if (kept === undefined || reduced === undefined) return kept !== undefined
  const score = (axis: Axis): number => [...loads].reduce((sum, o) => sum + (axis.strides[o] === 1 ? 1 : axis.strides[o] === 0 ? 0 : -1), 0)
  return score(kept) > score(reduced) || (reduced.size < shortRow && kept.size >= shortRow)
}
