/**
 * Pooling over windows. Averages and maxima of boxes are separable, so each spatial axis is pooled on its own: over a
 * kernel's positions as strided slices, or, where windows tile the axis, over an axis of their own.
 */
import { leafTensor } from '../create.ts'
import { hostArray } from '../dtype.ts'
import { ConfigError, ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { at, formatShape } from '../shape.ts'
import { layout, paddingPairs, perAxis } from './conv.ts'
import type { Padding, PerAxis } from './conv.ts'
import { add, div, equal, greater, literal, notEqual, where } from '../ops/elementwise.ts'
import { logicalOr } from '../ops/logic.ts'
import { reshape, strideSlice, sumKeep, zeroPad } from '../ops/movement.ts'
import { filled, floatType } from '../ops/operands.ts'
import { averagingMatrix, resampleAxis } from './resample.ts'

export interface PoolOptions {
  /** Default: the kernel's size, so that windows tile the input. */
  readonly stride?: PerAxis
  /** Default 0; at most half the kernel. */
  readonly padding?: Padding
  /** Whether a last window that does not fit whole counts too. Default false. */
  readonly ceilMode?: boolean
}
export interface AvgPoolOptions extends PoolOptions {
  /** Whether padding counts as zeros in the average, rather than not at all. Default true. */
  readonly countIncludePad?: boolean
}
export interface MaxPoolOptions extends PoolOptions {
  /** Distance between a window's elements, default 1. */
  readonly dilation?: PerAxis
}

/** Windows along one axis: `count` of them, each `kernel` elements `dilation` apart, `stride` from one to the next. */
interface Windows {
  readonly axis: number
  readonly size: number
  readonly kernel: number
  readonly stride: number
  readonly dilation: number
  readonly low: number
  readonly high: number
  readonly count: number
}

function windows(op: string, axes: number, x: TensorLike, kernel: PerAxis, { stride = kernel, padding = 0, ceilMode = false, dilation = 1, ...others }: MaxPoolOptions): Windows[] {
  refuseOthers(op, others)
  if (x.shape.length !== axes + 2) throw new ShapeError(`${op}: input ${formatShape(x.shape)} needs ${axes + 2} axes ${layout(axes, 'N', 'C')}; reshape it`)
  const lists = { kernels: perAxis(op, 'kernel', kernel, axes), strides: perAxis(op, 'stride', stride, axes), dilations: perAxis(op, 'dilation', dilation, axes), pads: paddingPairs(op, padding, axes) }
  return x.shape.slice(2).map((size, i) => {
    const [k, step, gap, [low, high]] = [at(lists.kernels, i), at(lists.strides, i), at(lists.dilations, i), at(lists.pads, i)]
    if (Math.max(low, high) > k / 2) throw new ConfigError(`${op}: padding ${Math.max(low, high)} is more than half of the kernel ${k}; pad less, or use a larger kernel`)
    const free = size + low + high - gap * (k - 1) - 1
    if (free < 0) throw new ShapeError(`${op}: the kernel covers ${gap * (k - 1) + 1} positions of axis ${i + 2}, which has ${size} and ${low + high} of padding (input ${formatShape(x.shape)}); use a smaller kernel`)
    const count = (ceilMode ? Math.ceil : Math.floor)(free / step) + 1
    // A window must begin on the input or the padding before it.
    const kept = ceilMode && (count - 1) * step >= size + low ? count - 1 : count
    return { axis: i + 2, size, kernel: k, stride: step, dilation: gap, low, high, count: kept }
  })
}

/** Every window's first elements, then its second ones, and so on: `kernel` tensors with `count` elements along the axis. */
function taps(x: Tensor, { axis, kernel, stride, dilation, count }: Windows): Tensor[] {
  return Array.from({ length: kernel }, (_, k) =>
    strideSlice(x, {
      start: x.shape.map((_, i) => (i === axis ? k * dilation : 0)),
      size: x.shape.map((d, i) => (i === axis ? count : d)),
      step: x.shape.map((_, i) => (i === axis ? stride : 1)),
    }),
  )
}

/** `x` with as much around the axis as its windows reach. */
function surrounded(x: Tensor, { axis, size, kernel, stride, dilation, low, count }: Windows): Tensor {
  const reach = (count - 1) * stride + dilation * (kernel - 1) + 1
  return zeroPad(x, x.shape.map((_, i) => (i === axis ? low : 0)), x.shape.map((_, i) => (i === axis ? Math.max(0, reach - size - low) : 0)))
}

function averageAxis(x: Tensor, w: Windows, countIncludePad: boolean): Tensor {
  const { axis, size, kernel, stride, low, high, count } = w
  const counts = Array.from({ length: count }, (_, o) => {
    const [from, to] = [o * stride - low, o * stride - low + kernel]
    return countIncludePad ? Math.min(to, size + high) - from : Math.min(to, size) - Math.max(from, 0)
  })
  const sums = stride === kernel && low === 0 && count * kernel <= size ? tileSums(x, w) : taps(surrounded(x, w), w).reduce((a, b) => add(a, b))
  return div(sums, counts.every((n) => n === kernel) ? literal(kernel) : alongAxis(x, axis, counts))
}

/** Windows side by side, as an axis of their own: one reduction. */
function tileSums(x: Tensor, { axis, kernel, count }: Windows): Tensor {
  const whole = strideSlice(x, { start: x.shape.map(() => 0), size: x.shape.map((d, i) => (i === axis ? count * kernel : d)), step: x.shape.map(() => 1) })
  const tiled = reshape(whole, x.shape.flatMap((d, i) => (i === axis ? [count, kernel] : [d])))
  return reshape(sumKeep(tiled, [axis + 1]), x.shape.map((d, i) => (i === axis ? count : d)))
}

/** Data along `axis`, with the other axes of size 1. */
function alongAxis(x: Tensor, axis: number, values: readonly number[]): Tensor {
  const data = hostArray(x.dtype, values.length)
  data.set(values)
  return leafTensor(x.device, { kind: 'data', data }, x.shape.map((_, i) => (i === axis ? values.length : 1)), x.dtype)
}

function maximumAxis(x: Tensor, w: Windows): Tensor {
  const padded = surrounded(x, w)
  const inside = surrounded(filled(x, x.shape, 1), w)
  const values = padded === x ? x : where(equal(inside, literal(0)), literal(-Infinity), padded)
  // The first of equal elements stays, and with it the gradient; NaN wins.
  return taps(values, w).reduce((most, tap) => where(logicalOr(greater(tap, most), notEqual(tap, tap)), tap, most))
}

function average(op: string, axes: number, x: TensorLike, kernel: PerAxis, { countIncludePad = true, stride = kernel, padding = 0, ceilMode = false, ...others }: AvgPoolOptions): Tensor {
  refuseOthers(op, others)
  floatType(op, { input: x })
  return windows(op, axes, x, kernel, { stride, padding, ceilMode }).reduceRight((y, w) => averageAxis(y, w, countIncludePad), x.read())
}

function maximum(op: string, axes: number, x: TensorLike, kernel: PerAxis, options: MaxPoolOptions): Tensor {
  floatType(op, { input: x })
  return windows(op, axes, x, kernel, options).reduceRight(maximumAxis, x.read())
}

/**
 * The mean of each window. x [N, C, W] → [N, C, W'], W' = ⌊(W + padding − kernel) / stride⌋ + 1.
 * Throws ShapeError where the kernel does not fit, ConfigError for options out of range, DTypeError for integers.
 */
export function avgPool1d(x: TensorLike, kernel: PerAxis, options: AvgPoolOptions = {}): Tensor {
  return average('avgPool1d', 1, x, kernel, options)
}
/** As avgPool1d on each of two axes: x [N, C, H, W]. */
export function avgPool2d(x: TensorLike, kernel: PerAxis, options: AvgPoolOptions = {}): Tensor {
  return average('avgPool2d', 2, x, kernel, options)
}
/** As avgPool1d on each of three axes: x [N, C, D, H, W]. */
export function avgPool3d(x: TensorLike, kernel: PerAxis, options: AvgPoolOptions = {}): Tensor {
  return average('avgPool3d', 3, x, kernel, options)
}

/**
 * The largest element of each window, with padding of −∞; the gradient goes to the first of equal ones. x [N, C, W] →
 * [N, C, W'], W' = ⌊(W + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1. Errors as avgPool1d.
 */
export function maxPool1d(x: TensorLike, kernel: PerAxis, options: MaxPoolOptions = {}): Tensor {
  return maximum('maxPool1d', 1, x, kernel, options)
}
/** As maxPool1d on each of two axes: x [N, C, H, W]. */
export function maxPool2d(x: TensorLike, kernel: PerAxis, options: MaxPoolOptions = {}): Tensor {
  return maximum('maxPool2d', 2, x, kernel, options)
}
/** As maxPool1d on each of three axes: x [N, C, D, H, W]. */
export function maxPool3d(x: TensorLike, kernel: PerAxis, options: MaxPoolOptions = {}): Tensor {
  return maximum('maxPool3d', 3, x, kernel, options)
}

/**
 * Means over windows chosen to give `size` results along each spatial axis: result i averages the elements
 * ⌊i·W/W'⌋ … ⌈(i + 1)·W/W'⌉ − 1. x [N, C, …] → [N, C, …size]; the number of spatial axes is free.
 * Throws ShapeError for an input without spatial axes, ConfigError for other sizes, DTypeError for integers.
 */
export function adaptiveAvgPool(x: TensorLike, size: PerAxis): Tensor {
  floatType('adaptiveAvgPool', { input: x })
  const axes = x.shape.length - 2
  if (axes < 1) throw new ShapeError(`adaptiveAvgPool: input ${formatShape(x.shape)} needs axes [N,C,…] and spatial ones; reshape it`)
  return perAxis('adaptiveAvgPool', 'size', size, axes).reduceRight((y, out, i) => {
    const from = at(x.shape, i + 2)
    if (from % out !== 0) return resampleAxis(y, i + 2, averagingMatrix(from, out))
    const kernel = from / out
    return averageAxis(y, { axis: i + 2, size: from, kernel, stride: kernel, dilation: 1, low: 0, high: 0, count: out }, true)
  }, x.read())
}
