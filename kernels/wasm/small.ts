/**
 * Smaller launches of the same code, over parts of the same operands: sizes are arguments, and small ones with ragged edges take a
 * kernel's paths in microseconds. What is here may turn out to have other code; then it is of no use.
 */
import type { AttentionSizes, ConvDescriptor, GroupNormSizes, MatmulDescriptor } from '../descriptor.ts'
import type { WasmKernel } from './kernel.ts'

/** `make`, whose kernels know the first of the smaller descriptors that has their code. */
export function withSmall<D, Rest extends readonly unknown[]>(make: (d: D, ...rest: Rest) => WasmKernel, smaller: (d: D) => readonly D[]): (d: D, ...rest: Rest) => WasmKernel {
  return (d, ...rest) => {
    const kernel = make(d, ...rest)
    return {
      ...kernel,
      small: () => {
        const small = smaller(d).map((s) => make(s, ...rest)).find(({ key }) => key === kernel.key)
        return small && { kernel: small }
      },
    }
  }
}

/** How many rows there are decides on the tile. */
export const smallMatmul = (d: MatmulDescriptor): MatmulDescriptor[] =>
  [13, 23, 35].map((rows) => ({ ...d, m: Math.min(d.m, rows), n: Math.min(d.n, 35), k: Math.min(d.k, 37) })).flatMap((s) => [s, { ...s, m: Math.min(d.m, 35), n: Math.min(d.n, s.m) }])

export function smallConv(d: ConvDescriptor): ConvDescriptor[] {
  const output = d.output.map((size) => Math.min(size, 7))
  const input = d.input.map((size, i) => {
    const reach = ((output[i] ?? 1) - 1) * (d.stride[i] ?? 1) + ((d.kernel[i] ?? 1) - 1) * (d.dilation[i] ?? 1) + 1 - (d.padding[i] ?? 0)
    return Math.max(1, Math.min(size, reach))
  })
  return [{ ...d, batch: Math.min(d.batch, 2), output, input }]
}

export const smallNorm = <D extends GroupNormSizes>(d: D): D[] => [{ ...d, spatial: Math.min(d.spatial, 83) }]

export const smallAttention = <D extends AttentionSizes>(d: D): D[] => [{ ...d, queries: Math.min(d.queries, 37), keys: Math.min(d.keys, 37) }]
