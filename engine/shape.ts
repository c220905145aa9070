/** Shapes, strides, axes and broadcasting. Shapes are row-major and logical; how a value lies in memory is the planner's. */
import { ShapeError } from './error.ts'

export type Shape = readonly number[]

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  let size = 1
  for (const d of shape) size *= d
  return size
}

export function sameShape(x: Shape, y: Shape): boolean {
  if (x === y) return true
  if (x.length !== y.length) return false
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false
  return true
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`
}

/** Row-major strides, in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride
    stride *= at(shape, i)
  }
  return strides
}

/** The axes whose size is not 1. */
export function longAxes(shape: Shape): number[] {
  return shape.flatMap((d, i) => (d === 1 ? [] : [i]))
}

/** `list[i]`, which must exist. */
export function at<T>(list: ArrayLike<T>, i: number): T {
  const value = list[i]
  if (value === undefined) throw new RangeError(`position ${i} of a list of ${list.length}`)
  return value
}

/** An axis counted from the front; negative ones count from the back. */
export function resolveAxis(op: string, axis: number, shape: Shape): number {
  const resolved = axis < 0 ? axis + shape.length : axis
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= shape.length) {
    throw new ShapeError(`${op}: axis ${axis} is outside shape ${formatShape(shape)}; use an integer from ${-shape.length} to ${shape.length - 1}`)
  }
  return resolved
}

/** Axes in ascending order, without repeats; `undefined` means all. */
export function resolveAxes(op: string, axes: number | readonly number[] | undefined, shape: Shape): number[] {
  if (axes === undefined) return shape.map((_, i) => i)
  const resolved = (typeof axes === 'number' ? [axes] : axes).map((axis) => resolveAxis(op, axis, shape))
  if (new Set(resolved).size !== resolved.length) throw new ShapeError(`${op}: axes ${formatShape(typeof axes === 'number' ? [axes] : axes)} name an axis of ${formatShape(shape)} twice; list each once`)
  return resolved.sort((a, b) => a - b)
}

/** Sizes must be non-negative integers. */
export function checkShape(op: string, shape: Shape): Shape {
  for (const d of shape) {
    if (!Number.isSafeInteger(d) || d < 0) throw new ShapeError(`${op}: ${d} in shape ${formatShape(shape)} is not a size; use integers of at least 0`)
  }
  return shape
}

/** NumPy broadcasting: aligned at the back, a size of 1 stretches. */
export function broadcastShapes(op: string, ...shapes: readonly Shape[]): Shape {
  const [first = [], ...others] = shapes
  if (others.every((s) => sameShape(s, first))) return first
  const rank = shapes.reduce((most, s) => Math.max(most, s.length), 0)
  const result = new Array<number>(rank).fill(1)
  for (let i = 0; i < rank; i++) {
    for (const shape of shapes) {
      const [d, size] = [shape[i - rank + shape.length], at(result, i)]
      if (d === undefined || d === 1 || d === size) continue
      if (size !== 1) throw new ShapeError(`${op}: shapes ${shapes.map(formatShape).join(' and ')} do not broadcast: axis ${i - rank} has sizes ${size} and ${d}; make them equal, or one of them 1`)
      result[i] = d
    }
  }
  return result
}
