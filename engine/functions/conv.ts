/** Convolutions as users call them: cross-correlation and its transpose, in one, two or three dimensions. */
import type { DType } from '../dtype.ts'
import { ConfigError, ShapeError, checkWord, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import { at, formatShape, sameShape } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { convInputGradOp, convOp, perChannel } from '../ops/conv.ts'
import { add, cast } from '../ops/elementwise.ts'
import { productType } from '../ops/operands.ts'

/** One number for all spatial axes, or one for each. */
export type PerAxis = number | readonly number[]
/** For all axes, for each axis, or for each axis [before, after], such as [[top, bottom], [left, right]]. */
export type Padding = number | readonly (number | readonly [before: number, after: number])[]

const paddingWords = ['same', 'valid'] as const
export type PaddingWord = (typeof paddingWords)[number]

export interface ConvOptions {
  /** [O]. */
  readonly bias?: TensorLike | undefined
  /** Default 1. */
  readonly stride?: PerAxis
  /** Zeros around x, default 0. `same` keeps the size at stride 1, with the odd zero behind; `valid` is none. */
  readonly padding?: Padding | PaddingWord
  /** Distance between the kernel's elements, default 1. */
  readonly dilation?: PerAxis
  /** Channels and outputs fall into this many parts that do not mix. Default 1. */
  readonly groups?: number
}

export interface ConvTransposeOptions extends Omit<ConvOptions, 'padding'> {
  /** Takes that much off the result's borders. Default 0. */
  readonly padding?: Padding
  /** Adds that much behind each axis, to choose among the sizes that a stride makes equal. Default 0. */
  readonly outputPadding?: PerAxis
}

/** A list with one integer of at least `least` per spatial axis. */
export function perAxis(op: string, name: string, value: PerAxis, axes: number, least = 1): number[] {
  const list = typeof value === 'number' ? new Array<number>(axes).fill(value) : [...value]
  if (list.length !== axes) throw new ConfigError(`${op}: ${name} ${formatShape(list)} has ${list.length} numbers for ${axes} spatial axes; give one number, or one per axis`)
  for (const n of list) if (!Number.isInteger(n) || n < least) throw new ConfigError(`${op}: ${name} is ${n}; use an integer of at least ${least}`)
  return list
}

/** Padding as [before, after] per spatial axis. */
export function paddingPairs(op: string, padding: Padding, axes: number): (readonly [number, number])[] {
  const list = typeof padding === 'number' ? new Array<number>(axes).fill(padding) : padding
  if (typeof list === 'string') throw new ConfigError(`${op}: padding is "${String(list)}"; give one number, or one number or pair per axis`)
  const pairs = list.map((p) => (typeof p === 'number' ? ([p, p] as const) : p))
  const numbers = pairs.flat()
  if (pairs.length !== axes) throw new ConfigError(`${op}: padding has ${pairs.length} entries for ${axes} spatial axes; give one number, or one number or pair per axis`)
  for (const n of numbers) if (!Number.isInteger(n) || n < 0) throw new ConfigError(`${op}: padding is ${n}; use an integer of at least 0`)
  return pairs
}

const spatialNames = ['W', 'H', 'D']
/** `[N,C,H,W]` for two spatial axes. */
export const layout = (axes: number, first: string, second: string): string => `[${first},${second},${spatialNames.slice(0, axes).toReversed().join()}]`

function checkOperands(op: string, axes: number, x: Shape, w: Shape, weightLayout: readonly [string, string]): void {
  if (x.length !== axes + 2) throw new ShapeError(`${op}: input ${formatShape(x)} needs ${axes + 2} axes ${layout(axes, 'N', 'C')}; reshape it${x.length === axes + 1 ? ', for one sample with a first axis of 1' : ''}`)
  if (w.length !== axes + 2) throw new ShapeError(`${op}: weight ${formatShape(w)} needs ${axes + 2} axes ${layout(axes, ...weightLayout)}; reshape it`)
}

function checkBias(op: string, bias: TensorLike | undefined, outputs: number): void {
  if (bias !== undefined && !sameShape(bias.shape, [outputs])) throw new ShapeError(`${op}: bias is ${formatShape(bias.shape)} but there are ${outputs} output channels; pass a bias of shape [${outputs}]`)
}

function checkGroups(op: string, groups: number, counts: Readonly<Record<string, number>>): void {
  if (!Number.isInteger(groups) || groups < 1) throw new ConfigError(`${op}: groups is ${groups}; use an integer of at least 1`)
  for (const [name, count] of Object.entries(counts)) {
    if (count % groups !== 0) throw new ConfigError(`${op}: ${count} ${name} do not divide into ${groups} groups; choose groups that divide ${count}`)
  }
}

function convolve(op: string, axes: number, x: TensorLike, weight: TensorLike, { bias, stride = 1, padding = 0, dilation = 1, groups = 1, ...others }: ConvOptions): Tensor {
  refuseOthers(op, others)
  const dtype = productType(op, { input: x, weight, bias })
  checkOperands(op, axes, x.shape, weight.shape, ['O', 'C/groups'])
  const [channels, outputs] = [at(x.shape, 1), at(weight.shape, 0)]
  checkGroups(op, groups, { 'input channels': channels, 'output channels': outputs })
  if (channels !== at(weight.shape, 1) * groups) {
    const expected = `${at(weight.shape, 1) * groups}${groups === 1 ? '' : ` (${groups} groups of ${at(weight.shape, 1)})`}`
    throw new ShapeError(`${op}: input has ${channels} channels but weight expects ${expected} (input ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}); change the weight's second axis or the input`)
  }
  checkBias(op, bias, outputs)
  const steps = perAxis(op, 'stride', stride, axes)
  const gaps = perAxis(op, 'dilation', dilation, axes)
  const extent = weight.shape.slice(2).map((k, i) => at(gaps, i) * (k - 1) + 1)
  const pairs = convPadding(op, padding, steps, extent)
  const output = x.shape.slice(2).map((size, i) => {
    const padded = size + at(pairs, i)[0] + at(pairs, i)[1]
    if (padded < at(extent, i)) {
      throw new ShapeError(`${op}: the kernel covers ${at(extent, i)} positions of axis ${i + 2}, which has ${size} and ${padded - size} of padding (input ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}, dilation ${at(gaps, i)}); pad more or use a smaller kernel`)
    }
    return Math.floor((padded - at(extent, i)) / at(steps, i)) + 1
  })
  const window = { stride: steps, padding: pairs.map(([before]) => before), output, dilation: gaps, groups }
  return plusBias(apply(convOp, [cast(x, dtype), cast(weight, dtype)], window), bias, dtype)
}

const plusBias = (y: Tensor, bias: TensorLike | undefined, dtype: DType): Tensor => (bias === undefined ? y : add(y, perChannel(cast(bias, dtype), y.rank)))

/** Padding of convolutions as [before, after] per axis. `same` depends on how far kernels reach: `extent`. */
export function convPadding(op: string, padding: Padding | PaddingWord, stride: readonly number[], extent: readonly number[]): (readonly [number, number])[] {
  if (typeof padding !== 'string') return paddingPairs(op, padding, extent.length)
  checkWord(op, 'padding', padding, paddingWords, ', or numbers')
  if (padding === 'valid') return extent.map(() => [0, 0])
  const long = stride.find((s) => s !== 1)
  if (long !== undefined) throw new ConfigError(`${op}: padding 'same' keeps the size, which stride ${long} does not; give the padding as numbers`)
  return extent.map((e) => [Math.floor((e - 1) / 2), Math.ceil((e - 1) / 2)])
}

function transposed(op: string, axes: number, x: TensorLike, weight: TensorLike, { bias, stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1, ...others }: ConvTransposeOptions): Tensor {
  refuseOthers(op, others)
  const dtype = productType(op, { input: x, weight, bias })
  checkOperands(op, axes, x.shape, weight.shape, ['C', 'O/groups'])
  const channels = at(x.shape, 1)
  if (channels !== at(weight.shape, 0)) {
    throw new ShapeError(`${op}: input has ${channels} channels but weight expects ${at(weight.shape, 0)} (input ${formatShape(x.shape)}, weight ${formatShape(weight.shape)} = ${layout(axes, 'C', 'O/groups')}); change the weight's first axis or the input`)
  }
  checkGroups(op, groups, { 'input channels': channels })
  const outputs = at(weight.shape, 1) * groups
  checkBias(op, bias, outputs)
  const steps = perAxis(op, 'stride', stride, axes)
  const gaps = perAxis(op, 'dilation', dilation, axes)
  const extra = perAxis(op, 'outputPadding', outputPadding, axes, 0)
  const pairs = paddingPairs(op, padding, axes)
  const input = x.shape.slice(2).map((size, i) => {
    const [step, gap] = [at(steps, i), at(gaps, i)]
    if (at(extra, i) >= Math.max(step, gap)) throw new ConfigError(`${op}: outputPadding ${at(extra, i)} must be smaller than the stride ${step} or the dilation ${gap}; lower it`)
    const full = (size - 1) * step + gap * (at(weight.shape, i + 2) - 1) + 1 + at(extra, i) - at(pairs, i)[0] - at(pairs, i)[1]
    if (full < 1) throw new ShapeError(`${op}: padding ${formatShape(at(pairs, i))} leaves nothing of axis ${i + 2} (input ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}); pad less`)
    return full
  })
  const window = { stride: steps, padding: pairs.map(([before]) => before), output: x.shape.slice(2), dilation: gaps, groups, input, channels: outputs }
  return plusBias(apply(convInputGradOp, [cast(x, dtype), cast(weight, dtype)], window), bias, dtype)
}

/**
 * Cross-correlation over one axis. x [N, C, W], weight [O, C/groups, K], bias [O] → [N, O, W'], where
 * W' = ⌊(W + padding − dilation·(K − 1) − 1) / stride⌋ + 1.
 * Throws ShapeError where channels or sizes do not fit, ConfigError for options out of range, DTypeError for integers.
 */
export function conv1d(x: TensorLike, weight: TensorLike, options: ConvOptions = {}): Tensor {
  return convolve('conv1d', 1, x, weight, options)
}

/** Cross-correlation over two axes, as conv1d on each. x [N, C, H, W], weight [O, C/groups, KH, KW] → [N, O, H', W']. */
export function conv2d(x: TensorLike, weight: TensorLike, options: ConvOptions = {}): Tensor {
  return convolve('conv2d', 2, x, weight, options)
}

/** Cross-correlation over three axes, as conv1d on each. x [N, C, D, H, W], weight [O, C/groups, KD, KH, KW]. */
export function conv3d(x: TensorLike, weight: TensorLike, options: ConvOptions = {}): Tensor {
  return convolve('conv3d', 3, x, weight, options)
}

/**
 * The transpose of conv1d's linear map, as in PyTorch. x [N, C, W], weight [C, O/groups, K], bias [O] → [N, O, W'],
 * where W' = (W − 1)·stride − padding + dilation·(K − 1) + outputPadding + 1. Errors as conv1d.
 */
export function convTranspose1d(x: TensorLike, weight: TensorLike, options: ConvTransposeOptions = {}): Tensor {
  return transposed('convTranspose1d', 1, x, weight, options)
}

/** As convTranspose1d on each of two axes. x [N, C, H, W], weight [C, O/groups, KH, KW]. */
export function convTranspose2d(x: TensorLike, weight: TensorLike, options: ConvTransposeOptions = {}): Tensor {
  return transposed('convTranspose2d', 2, x, weight, options)
}

/** As convTranspose1d on each of three axes. x [N, C, D, H, W], weight [C, O/groups, KD, KH, KW]. */
export function convTranspose3d(x: TensorLike, weight: TensorLike, options: ConvTransposeOptions = {}): Tensor {
  return transposed('convTranspose3d', 3, x, weight, options)
}
