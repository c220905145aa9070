/**
 * Convolution and its input gradient as products of matrices (see `correlation.ts`).
 * The gradient of a strided convolution falls into phases: input positions that leave the same
 * remainder by the stride meet the same taps, and among themselves look like an unstrided convolution.
 */
import { boxPositions, convBytes, convFlops, dot } from '../../ir/convShape.ts'
import type { ConvDescriptor, Epilogue } from '../../ir/descriptor.ts'
import { inBytes } from './taps.ts'
import { type Correlation, correlationKernel, type Phase } from './correlation.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { planeConvKernel, type PlaneCorrelation } from './planeConv.ts'
import { linesAndColumns, planesOf, takesPlanes } from './planeShape.ts'

export { convWeightGradKernel } from './weightGrad.ts'

function shared(d: ConvDescriptor): Pick<Correlation, 'batch' | 'groups' | 'flops' | 'bytes'> {
  return { batch: d.batch, groups: d.groups, flops: convFlops(d), bytes: convBytes(d) }
}

/** What both directions over planes have in common. */
function overPlanes(d: ConvDescriptor, epilogue: Epilogue | undefined): Pick<PlaneCorrelation, 'batch' | 'kernel' | 'dilation' | 'epilogue' | 'flops' | 'bytes'> {
  return { batch: d.batch, kernel: linesAndColumns(d.kernel, 1), dilation: linesAndColumns(d.dilation, 1), epilogue, flops: convFlops(d), bytes: convBytes(d) }
}

function planesForward(d: ConvDescriptor, target: WasmTarget, epilogue: Epilogue | undefined): WasmKernel {
  const { offset, strides: [targetChannel = 0, sourceChannel = 0, ...taps] } = inBytes(d.w)
  return planeConvKernel({
    ...overPlanes(d, epilogue),
    source: planesOf(d.x, d.inChannels, d.input),
    target: planesOf(d.y, d.outChannels, d.output),
    weight: { offset, sourceChannel, targetChannel, taps: linesAndColumns(taps, 0) },
    padding: linesAndColumns(d.padding, 0),
  }, target)
}

/** Without strides, input position p meets tap t at output position p + padding − t·dilation: taps in reverse order make that a convolution. */
function planesBackward(d: ConvDescriptor, target: WasmTarget, epilogue: Epilogue | undefined): WasmKernel {
  const { offset, strides: [sourceChannel = 0, targetChannel = 0, ...taps] } = inBytes(d.w)
  const last = d.kernel.map((k) => k - 1)
  return planeConvKernel({
    ...overPlanes(d, epilogue),
    source: planesOf(d.y, d.outChannels, d.output),
    target: planesOf(d.x, d.inChannels, d.input),
    weight: { offset: offset + dot(last, taps), sourceChannel, targetChannel, taps: linesAndColumns(taps.map((t) => -t), 0) },
    padding: linesAndColumns(last.map((k, i) => k * (d.dilation[i] ?? 1) - (d.padding[i] ?? 0)), 0),
  }, target)
}

/** y = x ⋆ w, or an epilogue of it over y's axes. Buffers: x, w, the epilogue's inputs, y. */
export function convKernel(d: ConvDescriptor, target: WasmTarget, epilogue?: Epilogue): WasmKernel {
  if (takesPlanes(d)) return planesForward(d, target, epilogue)
  const [x, w, y] = [inBytes(d.x), inBytes(d.w), inBytes(d.y)]
  const [outStride = 0, inStride = 0, ...taps] = w.strides
  const spatial = x.strides.slice(2)
  const outChannels = d.outChannels / d.groups
  const phase: Phase = {
    grid: d.output,
    first: d.output.map(() => 0),
    taps: boxPositions(d.kernel).map((t) => {
      const coordinate = t.map((k, i) => k * (d.dilation[i] ?? 1) - (d.padding[i] ?? 0))
      return { coordinate, sourceBytes: dot(coordinate, spatial), weightBytes: dot(t, taps) }
    }),
  }
  return correlationKernel({
    ...shared(d),
    source: { ...x, channels: d.inChannels / d.groups, extent: d.input },
    weight: { offset: w.offset, group: outChannels * outStride, sourceChannel: inStride, targetChannel: outStride },
    target: { ...y, channels: outChannels, extent: d.output },
    epilogue,
    sourceStep: d.stride,
    targetStep: d.stride.map(() => 1),
    phases: [phase],
  }, target)
}

/**
 * The gradient of x, given that of y; also transposed convolution. Writes all of x: the gradient, or an epilogue of it
 * over x's axes. Buffers: y, w, the epilogue's inputs, x.
 */
export function convInputGradKernel(d: ConvDescriptor, target: WasmTarget, epilogue?: Epilogue): WasmKernel {
  if (takesPlanes(d)) return planesBackward(d, target, epilogue)
  const [x, w, y] = [inBytes(d.x), inBytes(d.w), inBytes(d.y)]
  const [outStride = 0, inStride = 0, ...taps] = w.strides
  const sourceSpatial = y.strides.slice(2)
  const outChannels = d.outChannels / d.groups
  const phases = boxPositions(d.stride).map((first): Phase => ({
    grid: d.input.map((size, i) => Math.max(0, Math.ceil((size - (first[i] ?? 0)) / (d.stride[i] ?? 1)))),
    first,
    taps: boxPositions(d.kernel).flatMap((t) => {
      // Output p met tap t at input position p·stride + t·dilation − padding.
      const reach = t.map((k, i) => (first[i] ?? 0) + (d.padding[i] ?? 0) - k * (d.dilation[i] ?? 1))
      if (reach.some((r, i) => r % (d.stride[i] ?? 1) !== 0)) return []
      const coordinate = reach.map((r, i) => r / (d.stride[i] ?? 1))
      return [{ coordinate, sourceBytes: dot(coordinate, sourceSpatial), weightBytes: dot(t, taps) }]
    }),
  }))
  return correlationKernel({
    ...shared(d),
    source: { ...y, channels: outChannels, extent: d.output },
    weight: { offset: w.offset, group: outChannels * outStride, sourceChannel: outStride, targetChannel: inStride },
    target: { ...x, channels: d.inChannels / d.groups, extent: d.input },
    epilogue,
    sourceStep: d.stride.map(() => 1),
    targetStep: d.stride,
    phases,
  }, target)
}
