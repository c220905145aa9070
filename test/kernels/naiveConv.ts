/** Convolution and its gradients in float64 loops over every tap. */
import type { ConvDescriptor } from '../../kernels/ir/descriptor.ts'
import { address, type Layout, place, type Placed, positions } from './strided.ts'

/** A convolution and its layouts; channels are those of a group. */
export interface ConvCase {
  readonly batch: number
  readonly inChannels: number
  readonly outChannels: number
  readonly groups: number
  /** One entry a dimension. */
  readonly dims: readonly {
    readonly output: number
    readonly kernel: number
    readonly stride: number
    readonly dilation: number
    readonly low: number
    readonly high: number
    /** Input positions that no window reaches. */
    readonly spare: number
  }[]
  readonly layouts: { readonly x: Layout; readonly w: Layout; readonly y: Layout }
}

export type PlacedConv = ConvDescriptor & { readonly x: Placed; readonly w: Placed; readonly y: Placed }

export function placeConv(c: ConvCase): PlacedConv {
  const pick = (field: keyof ConvCase['dims'][number]): number[] => c.dims.map((d) => d[field])
  const [inChannels, outChannels] = [c.inChannels * c.groups, c.outChannels * c.groups]
  const input = c.dims.map((d) => Math.max(0, (d.output - 1) * d.stride + (d.kernel - 1) * d.dilation + 1 + d.spare - d.low - d.high))
  const [output, kernel] = [pick('output'), pick('kernel')]
  return {
    batch: c.batch, inChannels, outChannels, groups: c.groups, input, kernel, output,
    stride: pick('stride'), padding: pick('low'), dilation: pick('dilation'),
    x: place([c.batch, inChannels, ...input], c.layouts.x),
    w: place([outChannels, c.inChannels, ...kernel], c.layouts.w),
    y: place([c.batch, outChannels, ...output], c.layouts.y),
  }
}

/** Calls `visit` with the positions in x, w and y of every product of the convolution. */
function everyProduct(d: PlacedConv, visit: (x: number, w: number, y: number) => void): void {
  const [inGroup, outGroup] = [d.inChannels / d.groups, d.outChannels / d.groups]
  for (const p of positions(d.output)) {
    for (const t of positions(d.kernel)) {
      const at = p.map((q, i) => q * (d.stride[i] ?? 1) + (t[i] ?? 0) * (d.dilation[i] ?? 1) - (d.padding[i] ?? 0))
      if (at.some((q, i) => q < 0 || q >= (d.input[i] ?? 0))) continue
      for (let n = 0; n < d.batch; n++) {
        const [xAt, yAt] = [address(d.x, [n, 0, ...at]), address(d.y, [n, 0, ...p])]
        for (let o = 0; o < d.outChannels; o++) {
          const wAt = address(d.w, [o, 0, ...t])
          const base = Math.floor(o / outGroup) * inGroup
          for (let c = 0; c < inGroup; c++) visit(xAt + (base + c) * (d.x.strides[1] ?? 0), wAt + c * (d.w.strides[1] ?? 0), yAt + o * (d.y.strides[1] ?? 0))
        }
      }
    }
  }
}

export type ConvOperand = 'x' | 'w' | 'y'

/** For each element of `into`: its sum, that of its terms' sizes, and how many they are. */
export function naiveConv(d: PlacedConv, into: ConvOperand, values: Readonly<Record<ConvOperand, Float32Array>>): { readonly sums: Float64Array; readonly sizes: Float64Array; readonly terms: Float64Array } {
  const [sums, sizes, terms] = [new Float64Array(d[into].size), new Float64Array(d[into].size), new Float64Array(d[into].size)]
  const pair = { y: ['x', 'w'], x: ['y', 'w'], w: ['x', 'y'] } as const
  const [left, right] = pair[into]
  everyProduct(d, (x, w, y) => {
    const at = { x, w, y }
    const value = (values[left][at[left]] ?? Number.NaN) * (values[right][at[right]] ?? Number.NaN)
    const to = at[into]
    sums[to] = (sums[to] ?? 0) + value
    sizes[to] = (sizes[to] ?? 0) + Math.abs(value)
    terms[to] = (terms[to] ?? 0) + 1
  })
  return { sums, sizes, terms }
}

export const channelsLast = (rank: number): Layout => ({ order: [0, ...Array.from({ length: rank }, (_, i) => i + 2), 1] })
export const channelsFirst = (rank: number): Layout => ({ order: Array.from({ length: rank + 2 }, (_, i) => i) })
