/** Tensors made from nothing: constants, ranges, the identity, and triangles. */
import { scalar } from '../create.ts'
import type { CreateOptions } from '../create.ts'
import { getDefaultDevice } from '../device/device.ts'
import type { Device } from '../device/device.ts'
import type { DType } from '../dtype.ts'
import { ConfigError, ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { applyOn } from '../op.ts'
import { at, checkShape, formatShape, resolveAxis } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { add, cast, equal, less, lessEqual, literal, literalOp, mul, sub, where } from '../ops/elementwise.ts'
import { iota } from '../ops/iota.ts'
import { expand, reshape } from '../ops/movement.ts'

function constant(op: string, shape: Shape, value: number, { dtype = 'f32', device = getDefaultDevice(op), ...others }: CreateOptions): Tensor {
  refuseOthers(op, others)
  return expand(applyOn(device, literalOp, { value, dtype }), checkShape(op, shape))
}

function filledWith(op: string, shape: Shape, value: number, { dtype = 'f32', device = getDefaultDevice(op), ...others }: CreateOptions): Tensor {
  refuseOthers(op, others)
  return expand(scalar(value, { dtype, device }), checkShape(op, shape))
}

/** Zeros; f32 unless `dtype` is given. */
export function zeros(shape: Shape, options: CreateOptions = {}): Tensor {
  return constant('zeros', shape, 0, options)
}
/** Ones; f32 unless `dtype` is given. */
export function ones(shape: Shape, options: CreateOptions = {}): Tensor {
  return constant('ones', shape, 1, options)
}
/** `value` everywhere. The number is data: another one compiles nothing. */
export function full(shape: Shape, value: number, options: CreateOptions = {}): Tensor {
  return filledWith('full', shape, value, options)
}
/** Zeros in the shape, type and place of `x`, unless `options` say otherwise. */
export function zerosLike(x: TensorLike, options: CreateOptions = {}): Tensor {
  return constant('zerosLike', x.shape, 0, like(x, options))
}
/** Ones in the shape, type and place of `x`, unless `options` say otherwise. */
export function onesLike(x: TensorLike, options: CreateOptions = {}): Tensor {
  return constant('onesLike', x.shape, 1, like(x, options))
}
/** `value` in the shape, type and place of `x`, unless `options` say otherwise. */
export function fullLike(x: TensorLike, value: number, options: CreateOptions = {}): Tensor {
  return filledWith('fullLike', x.shape, value, like(x, options))
}

const like = (x: TensorLike, options: CreateOptions): CreateOptions => ({ dtype: x.dtype, device: x.device, ...options })

export interface RangeOptions extends CreateOptions {
  /** Default 1. */
  readonly step?: number
}

/**
 * `arange(n)`: 0, 1, …, n − 1. `arange(start, stop, { step })`: start, start + step, … up to but without stop.
 * i32 if all numbers are integers, else f32, unless `dtype` is given. How many there are is structure; start and step are data.
 */
export function arange(startOrCount: number, stop?: number, { step, dtype, device = getDefaultDevice('arange'), ...others }: RangeOptions = {}): Tensor {
  refuseOthers('arange', others)
  const [start, end] = stop === undefined ? [0, startOrCount] : [startOrCount, stop]
  const by = step ?? 1
  const count = Math.ceil((end - start) / by)
  if (by === 0 || !Number.isSafeInteger(count)) throw new ConfigError(`arange: from ${start} to ${end} in steps of ${by} is no range; use finite numbers and a step that is not 0`)
  const type: DType = dtype ?? ([start, end, by].every(Number.isInteger) ? 'i32' : 'f32')
  const places = cast(iota(device, Math.max(0, count)), type)
  if (stop === undefined && step === undefined) return places
  const number = (value: number): Tensor => scalar(value, { dtype: type, device })
  return add(mul(places, number(by)), number(start))
}

/** `count` evenly spaced numbers from `start` to `stop`, both included exactly; f32 unless `dtype` is given. */
export function linspace(start: number, stop: number, count: number, { dtype = 'f32', device = getDefaultDevice('linspace'), ...others }: CreateOptions = {}): Tensor {
  refuseOthers('linspace', others)
  const [size] = checkShape('linspace', [count])
  const number = (value: number): Tensor => scalar(value, { dtype, device })
  const place = iota(device, size ?? 0)
  const step = number(count > 1 ? (stop - start) / (count - 1) : 0)
  const fromStart = add(number(start), mul(cast(place, dtype), step))
  if (count < 2) return fromStart
  // The second half is counted from the end, so that rounding errors are the same on both sides.
  const fromStop = sub(number(stop), mul(cast(sub(literal(count - 1), place), dtype), step))
  return where(less(place, literal(Math.floor(count / 2))), fromStart, fromStop)
}

/** The identity [n, columns]: ones where row and column agree. */
export function eye(n: number, columns: number = n, { dtype = 'f32', device = getDefaultDevice('eye'), ...others }: CreateOptions = {}): Tensor {
  refuseOthers('eye', others)
  checkShape('eye', [n, columns])
  return cast(equal(rows(device, n), iota(device, columns)), dtype)
}

const rows = (device: Device, n: number): Tensor => reshape(iota(device, n), [n, 1])

/** Column − row, against `diagonal`. */
function belowDiagonal(op: string, x: TensorLike, diagonal: number): Tensor {
  if (x.shape.length < 2) throw new ShapeError(`${op}: x has shape ${formatShape(x.shape)}, but a triangle takes [..., rows, columns]; reshape it`)
  if (!Number.isInteger(diagonal)) throw new ConfigError(`${op}: diagonal ${diagonal} is not an integer; 0 is the main one, 1 the one above it`)
  const size = (axis: number): number => at(x.shape, resolveAxis(op, axis, x.shape))
  return lessEqual(sub(iota(x.device, size(-1)), rows(x.device, size(-2))), literal(diagonal))
}

/** The lower triangle of the last two axes, zeros above the `diagonal` (0 the main one, positive above it). */
export function tril(x: TensorLike, diagonal = 0): Tensor {
  return where(belowDiagonal('tril', x, diagonal), x, literal(0))
}

/** The upper triangle of the last two axes, zeros below the `diagonal` (0 the main one, positive above it). */
export function triu(x: TensorLike, diagonal = 0): Tensor {
  return where(belowDiagonal('triu', x, diagonal - 1), literal(0), x)
}
