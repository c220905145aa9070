/**
 * Convolutions and their gradients as products of matrices that are never stored (implicit GEMM: Chetlur et al. 2014,
 * "cuDNN"). The image's side of the product is read by where a position of one index meets a tap of the other:
 *   y   rows: images and output positions, columns: output channels, depth: taps and input channels;
 *   dx  rows: images and input positions that leave one remainder by the stride, columns: input channels, depth: the taps
 *       that those positions meet, which are evenly spaced, and output channels; a product for each remainder;
 *   dw  rows: taps and input channels, columns: output channels, depth: images and output positions.
 * A 1 × 1 convolution's coordinates never leave the image, its axes merge, and it is a product of plain matrices.
 */
import { boxPositions, convBytes, convFlops } from '../../ir/convShape.ts'
import type { ConvDescriptor, Epilogue, Strided } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import type { FloatType } from '../../ir/expression.ts'
import type { Axes } from '../core/digits.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../core/kernel.ts'
import { bytesOf } from '../core/stridedOperands.ts'
import { type BlockedProduct, productDispatches } from '../matmul/blocked.ts'
import type { Side } from '../matmul/side.ts'
import { checkProduct, epilogueCost } from '../matmul/store.ts'

/** One dimension of an image's side: coordinate = base + position · step + tap · tapStep. */
interface Dimension {
  readonly positions: number
  readonly step: number
  readonly taps: number
  readonly tapStep: number
  readonly base: number
  readonly extent: number
}

const axes = (sizes: readonly number[], ...strides: (readonly number[])[]): Axes => ({ sizes, strides })

interface Image {
  readonly dimensions: readonly Dimension[]
  readonly batch: number
  readonly groups: number
  /** Of a group. */
  readonly channels: number
}

/** An image's side but for its lines and depth: images and positions, or taps and channels. */
interface ImageSide extends Pick<Side, 'buffer' | 'offset' | 'problems' | 'coordinates'> {
  readonly positions: Axes
  readonly taps: Axes
}

function image(at: Strided, buffer: number, { dimensions, batch, channels, groups }: Image): ImageSide {
  const [imageStride = 0, channelStride = 0, ...strides] = at.strides
  const ends = dimensions.map(({ positions, step, taps, tapStep, base }) =>
    [Math.min(0, (positions - 1) * step) + Math.min(0, (taps - 1) * tapStep), Math.max(0, (positions - 1) * step) + Math.max(0, (taps - 1) * tapStep)].map((end) => base + end))
  // Only dimensions that reach past an edge have coordinates.
  const checked = dimensions.flatMap(({ extent }, i) => ((ends[i]?.[0] ?? 0) < 0 || (ends[i]?.[1] ?? 0) >= extent ? [i] : []))
  const moves = (step: (d: Dimension) => number): number[][] => checked.map((c) => dimensions.map((d, i) => (i === c ? step(d) : 0)))
  const along = (step: (d: Dimension) => number): number[] => dimensions.map((d, i) => step(d) * (strides[i] ?? 0))
  return {
    buffer,
    offset: dimensions.reduce((offset, { base }, i) => offset + base * (strides[i] ?? 0), at.offset),
    problems: axes([groups], [channels * channelStride]),
    coordinates: checked.map((c) => ({ base: dimensions[c]?.base ?? 0, extent: dimensions[c]?.extent ?? 0 })),
    positions: axes([batch, ...dimensions.map((d) => d.positions)], [imageStride, ...along((d) => d.step)], ...moves((d) => d.step).map((m) => [0, ...m])),
    taps: axes([...dimensions.map((d) => d.taps), channels], [...along((d) => d.tapStep), channelStride], ...moves((d) => d.tapStep).map((m) => [...m, 0])),
  }
}

/** Positions p of the output meet taps t at p·stride + t·dilation − padding. */
const forwardDimensions = (d: ConvDescriptor): Dimension[] => d.output.map((positions, i) =>
  ({ positions, step: d.stride[i] ?? 1, taps: d.kernel[i] ?? 1, tapStep: d.dilation[i] ?? 1, base: -(d.padding[i] ?? 0), extent: d.input[i] ?? 0 }))

function costs(d: ConvDescriptor, dtype: FloatType, shape: readonly number[] = [], epilogue?: Epilogue, out = dtype): { readonly flops: number; readonly bytes: number } {
  const cost = epilogue === undefined ? { flops: 0, bytes: 0 } : epilogueCost(epilogue, shape)
  return { flops: convFlops(d) + cost.flops, bytes: (bytesOf(dtype) / 4) * convBytes(d) + (bytesOf(out) - bytesOf(dtype)) * product(shape) + cost.bytes }
}

/** The dispatches of products one after the other, each with temporary buffers of its own. */
function inOrder(products: readonly BlockedProduct[], firstTemporary: number): Pick<WgslKernel, 'dispatches' | 'temporaries'> {
  const dispatches: Dispatch[] = []
  const temporaries: number[] = []
  for (const p of products) {
    const more = productDispatches(p, firstTemporary + temporaries.length)
    dispatches.push(...more.dispatches)
    temporaries.push(...more.temporaries)
  }
  return { dispatches, temporaries }
}

/** y = x ⋆ w, or an epilogue of it over y's axes. Buffers: x, w, the epilogue's inputs, y. Factors are of type `dtype`, sums of f32. */
export function convKernel(d: ConvDescriptor, target: WgslTarget, epilogue?: Epilogue, dtype: FloatType = 'f32', out: FloatType = dtype): WgslKernel {
  checkProduct('conv', target, [dtype, out], epilogue)
  const [inChannels, outChannels] = [d.inChannels / d.groups, d.outChannels / d.groups]
  const [wOut = 0, wIn = 0, ...wTaps] = d.w.strides
  const { positions, taps, ...x } = image(d.x, 0, { dimensions: forwardDimensions(d), batch: d.batch, channels: inChannels, groups: d.groups })
  const outs: readonly Strided[] = [d.y, ...(epilogue?.inputs ?? [])]
  const y: BlockedProduct['out'] = {
    buffer: 1 + outs.length, offsets: outs.map((o) => o.offset), dtype: out, epilogue: epilogue && { ...epilogue, first: 2 },
    problems: axes([d.groups], ...outs.map(({ strides }) => [outChannels * (strides[1] ?? 0)])),
    rows: axes([d.batch, ...d.output], ...outs.map(({ strides: [each = 0, , ...spatial] }) => [each, ...spatial])),
    columns: axes([outChannels], ...outs.map(({ strides }) => [strides[1] ?? 0])),
  }
  const w: Side = {
    buffer: 1, offset: d.w.offset, coordinates: [],
    problems: axes([d.groups], [outChannels * wOut]), lines: axes([outChannels], [wOut]), depth: axes([...d.kernel, inChannels], [...wTaps, wIn]),
  }
  return { ...inOrder([{ label: 'conv', a: { ...x, lines: positions, depth: taps }, b: w, out: y, dtype }], 2 + outs.length), ...costs(d, dtype, [d.batch, d.outChannels, ...d.output], epilogue, out) }
}

/** The taps that input positions of remainder `first` meet, along one dimension, and where in the output. */
function phase(d: ConvDescriptor, i: number, first: number): Dimension & { readonly firstTap: number; readonly tapsApart: number } {
  const [stride, dilation, kernel] = [d.stride[i] ?? 1, d.dilation[i] ?? 1, d.kernel[i] ?? 1]
  const met = Array.from({ length: kernel }, (_, t) => t).filter((t) => (first + (d.padding[i] ?? 0) - t * dilation) % stride === 0)
  const none = { positions: Math.max(0, Math.ceil(((d.input[i] ?? 0) - first) / stride)), step: 1, taps: 0, tapStep: 0, base: 0, extent: d.output[i] ?? 0, firstTap: 0, tapsApart: 0 }
  const [firstTap, secondTap = (firstTap ?? 0) + stride] = met
  if (firstTap === undefined) return none
  const tapsApart = secondTap - firstTap
  return { ...none, taps: met.length, tapStep: (-tapsApart * dilation) / stride, base: (first + (d.padding[i] ?? 0) - firstTap * dilation) / stride, firstTap, tapsApart }
}

/**
 * The gradient of x, given that of y; also transposed convolution. Writes all of x: the gradient, or an epilogue of it
 * over x's axes. Buffers: y, w, the epilogue's inputs, x. Factors are of type `dtype`, sums of f32.
 */
export function convInputGradKernel(d: ConvDescriptor, target: WgslTarget, epilogue?: Epilogue, dtype: FloatType = 'f32', out: FloatType = dtype): WgslKernel {
  checkProduct('conv input gradient', target, [dtype, out], epilogue)
  const [inChannels, outChannels] = [d.inChannels / d.groups, d.outChannels / d.groups]
  const [wOut = 0, wIn = 0, ...wTaps] = d.w.strides
  const outs: readonly Strided[] = [d.x, ...(epilogue?.inputs ?? [])]
  const products = boxPositions(d.stride).map((first): BlockedProduct => {
    const dimensions = first.map((remainder, i) => phase(d, i, remainder))
    const { positions, taps, ...y } = image(d.y, 0, { dimensions, batch: d.batch, channels: outChannels, groups: d.groups })
    return {
      label: 'conv input gradient', dtype,
      a: { ...y, lines: positions, depth: taps },
      b: {
        buffer: 1, offset: dimensions.reduce((offset, m, i) => offset + m.firstTap * (wTaps[i] ?? 0), d.w.offset), coordinates: [],
        problems: axes([d.groups], [outChannels * wOut]), lines: axes([inChannels], [wIn]),
        depth: axes([...dimensions.map((m) => m.taps), outChannels], [...dimensions.map((m, i) => m.tapsApart * (wTaps[i] ?? 0)), wOut]),
      },
      out: {
        buffer: 1 + outs.length, dtype: out, epilogue: epilogue && { ...epilogue, first: 2 },
        offsets: outs.map(({ offset, strides: [, , ...spatial] }) => first.reduce((at, remainder, i) => at + remainder * (spatial[i] ?? 0), offset)),
        problems: axes([d.groups], ...outs.map(({ strides }) => [inChannels * (strides[1] ?? 0)])),
        rows: axes([d.batch, ...dimensions.map((m) => m.positions)], ...outs.map(({ strides: [each = 0, , ...spatial] }) => [each, ...spatial.map((s, i) => s * (d.stride[i] ?? 1))])),
        columns: axes([inChannels], ...outs.map(({ strides }) => [strides[1] ?? 0])),
      },
    }
  })
  return { ...inOrder(products, 2 + outs.length), ...costs(d, dtype, [d.batch, d.inChannels, ...d.input], epilogue, out) }
}

/** The gradient of w, given x and the gradient of y. Buffers: x, y, w. All are of type `dtype`. */
export function convWeightGradKernel(d: ConvDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  checkProduct('conv weight gradient', target, [dtype])
  const [inChannels, outChannels] = [d.inChannels / d.groups, d.outChannels / d.groups]
  const [wOut = 0, wIn = 0, ...wTaps] = d.w.strides
  const [yImage = 0, yChannel = 0, ...ySpatial] = d.y.strides
  const { positions, taps, ...x } = image(d.x, 0, { dimensions: forwardDimensions(d), batch: d.batch, channels: inChannels, groups: d.groups })
  const y: Side = {
    buffer: 1, offset: d.y.offset, coordinates: [],
    problems: axes([d.groups], [outChannels * yChannel]), lines: axes([outChannels], [yChannel]), depth: axes([d.batch, ...d.output], [yImage, ...ySpatial]),
  }
  const w: BlockedProduct['out'] = {
    buffer: 2, offsets: [d.w.offset], dtype, epilogue: undefined,
    problems: axes([d.groups], [outChannels * wOut]), rows: axes([...d.kernel, inChannels], [...wTaps, wIn]), columns: axes([outChannels], [wOut]),
  }
  return { ...inOrder([{ label: 'conv weight gradient', a: { ...x, lines: taps, depth: positions }, b: y, out: w, dtype }], 3), ...costs(d, dtype) }
}
