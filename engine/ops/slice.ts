/** Parts of tensors: ranges with steps, single places, splits, and rolling around. None copies. */
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { at, formatShape, resolveAxes, resolveAxis } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { concat } from './join.ts'
import { reshape, strideSlice } from './movement.ts'

/**
 * What to take of one axis:
 * - `[start, stop, step]`, as Python's `start:stop:step`: `stop` is excluded, negative places count from the back, what
 *   lies outside is clipped, a negative step runs backwards; `null` or absent is the end that the step comes from or goes to;
 * - `null`: all of it;
 * - a number: that one place, and the axis goes.
 */
export type Range = number | null | readonly [start?: number | null, stop?: number | null, step?: number | null]

interface Taken {
  readonly start: number
  readonly size: number
  readonly step: number
}

/**
 * A part of `x`, a range for each axis from the first; axes without one are taken whole, and '...' stands for as many
 * whole axes as the others leave: `slice(x, [[1, 7, 2], null, -1])` is x[1:7:2, :, -1] and `slice(x, ['...', [0, 3]])` is x[..., 0:3].
 * Throws ShapeError for too many ranges, a step of 0, and a single place outside its axis.
 */
export function slice(x: TensorLike, ranges: readonly (Range | '...')[]): Tensor {
  const full = completed(x.shape, ranges)
  const taken = x.shape.map((size, axis) => take(x.shape, axis, size, full[axis] ?? null))
  const part = strideSlice(x, { start: taken.map((t) => t.start), size: taken.map((t) => t.size), step: taken.map((t) => t.step) })
  return reshape(part, part.shape.filter((_, i) => typeof full[i] !== 'number'))
}

/** A range for every axis. */
function completed(shape: Shape, ranges: readonly (Range | '...')[]): (Range | undefined)[] {
  const given = ranges.flatMap((r) => (r === '...' ? [] : [r]))
  const dots = ranges.indexOf('...')
  if (given.length > shape.length || ranges.length - given.length > 1) {
    throw new ShapeError(`slice: ${given.length} ranges${ranges.length - given.length > 1 ? " and more than one '...'" : ''} for shape ${formatShape(shape)}; give at most one for each of its ${shape.length} axes, and '...' once`)
  }
  if (dots < 0) return given
  return [...given.slice(0, dots), ...new Array<null>(shape.length - given.length).fill(null), ...given.slice(dots)]
}

function take(shape: Shape, axis: number, size: number, range: Range): Taken {
  if (range === null) return { start: 0, size, step: 1 }
  if (typeof range === 'number') return { start: place('slice', shape, axis, range), size: 1, step: 1 }
  const step = range[2] ?? 1
  for (const v of range) {
    if (v !== null && v !== undefined && !Number.isInteger(v)) throw new ShapeError(`slice: ${v} in the range of axis ${axis} of ${formatShape(shape)} is not an integer; round it`)
  }
  if (step === 0) throw new ShapeError(`slice: the range of axis ${axis} of ${formatShape(shape)} has step 0; use another step, negative to run backwards`)
  // Backwards, the places run from size − 1 down to 0, and −1 is before the first.
  const [lowest, highest] = step > 0 ? [0, size] : [-1, size - 1]
  const clip = (v: number): number => Math.min(Math.max(v < 0 ? v + size : v, lowest), highest)
  const start = typeof range[0] === 'number' ? clip(range[0]) : step > 0 ? lowest : highest
  const stop = typeof range[1] === 'number' ? clip(range[1]) : step > 0 ? highest : lowest
  const length = Math.max(0, Math.ceil((stop - start) / step))
  return length === 0 ? { start: 0, size: 0, step: 1 } : { start, size: length, step }
}

function place(op: string, shape: Shape, axis: number, index: number): number {
  const size = at(shape, axis)
  if (!Number.isInteger(index) || index < -size || index >= size) {
    throw new ShapeError(`${op}: place ${index} is outside axis ${axis} of ${formatShape(shape)}; use an integer from ${-size} to ${size - 1}`)
  }
  return index < 0 ? index + size : index
}

/** `length` places of `axis` from `start` on; negative starts count from the back. Throws ShapeError if they are not all there. */
export function narrow(x: TensorLike, axis: number, start: number, length: number): Tensor {
  const along = resolveAxis('narrow', axis, x.shape)
  const size = at(x.shape, along)
  const first = start < 0 ? start + size : start
  if (!Number.isInteger(start) || !Number.isInteger(length) || first < 0 || length < 0 || first + length > size) {
    throw new ShapeError(`narrow: ${length} places from ${start} on are not all within axis ${axis} of ${formatShape(x.shape)}; stay within its ${size}`)
  }
  return part(x, along, first, length)
}

const part = (x: TensorLike, axis: number, start: number, length: number): Tensor =>
  strideSlice(x, { start: x.shape.map((_, i) => (i === axis ? start : 0)), size: x.shape.map((d, i) => (i === axis ? length : d)), step: x.shape.map(() => 1) })

/** `x` at one place of `axis`, which goes. Throws ShapeError for a place outside it. */
export function select(x: TensorLike, axis: number, index: number): Tensor {
  const along = resolveAxis('select', axis, x.shape)
  const one = part(x, along, place('select', x.shape, along, index), 1)
  return reshape(one, one.shape.filter((_, i) => i !== along))
}

/**
 * Cuts `axis` into parts: a number is how many, all of one size (NumPy's meaning, not PyTorch's, where it is their size);
 * a list is their sizes. Throws ShapeError where they do not make up the axis.
 */
export function split(x: TensorLike, parts: number | readonly number[], axis = 0): Tensor[] {
  const along = resolveAxis('split', axis, x.shape)
  const size = at(x.shape, along)
  const sizes = typeof parts === 'number' ? new Array<number>(Number.isInteger(parts) && parts > 0 ? parts : 0).fill(size / parts) : parts
  if (sizes.some((s) => !Number.isInteger(s) || s < 0) || sizes.reduce((n, s) => n + s, 0) !== size) {
    const what = typeof parts === 'number' ? `${parts} equal parts` : `parts of sizes ${formatShape(parts)}`
    throw new ShapeError(`split: axis ${axis} of ${formatShape(x.shape)} does not make ${what}; its size is ${size}`)
  }
  let from = 0
  return sizes.map((length) => {
    from += length
    return part(x, along, from - length, length)
  })
}

/** The tensors along `axis`, one for each of its places, without it. */
export function unstack(x: TensorLike, axis = 0): Tensor[] {
  const along = resolveAxis('unstack', axis, x.shape)
  return Array.from({ length: at(x.shape, along) }, (_, i) => select(x, along, i))
}

/** Moves elements `shifts` places up their axes; what leaves at the end comes in at the beginning. A shift for each axis. */
export function roll(x: TensorLike, shifts: number | readonly number[], axes: number | readonly number[]): Tensor {
  const [by, along] = [typeof shifts === 'number' ? [shifts] : shifts, typeof axes === 'number' ? [axes] : axes]
  if (by.length !== along.length) throw new ShapeError(`roll: ${by.length} shifts for ${along.length} axes of ${formatShape(x.shape)}; give each axis its shift`)
  const wrong = by.find((n) => !Number.isSafeInteger(n))
  if (wrong !== undefined) throw new ShapeError(`roll: shift ${wrong} of ${formatShape(x.shape)} is not an integer; round it`)
  resolveAxes('roll', along, x.shape)
  return along.reduce((rolled, axis, i) => rollAxis(rolled, at(by, i), resolveAxis('roll', axis, x.shape)), x.read())
}

function rollAxis(x: Tensor, by: number, axis: number): Tensor {
  const n = at(x.shape, axis)
  const shift = n === 0 ? 0 : ((by % n) + n) % n
  return shift === 0 ? x : concat([part(x, axis, n - shift, shift), part(x, axis, 0, n - shift)], axis)
}
