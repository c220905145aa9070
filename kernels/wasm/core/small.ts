/**
 * Smaller launches of the same code, over parts of the same operands: sizes are arguments, and small ones with ragged edges take a
 * kernel's paths in microseconds. What is here may turn out to have other code; then it is of no use.
 */
import type { AttentionSizes, ConvDescriptor, GroupNormSizes, MatmulDescriptor } from '../../ir/descriptor.ts'
import type { WasmKernel } from './kernel.ts'

/** `make`, whose kernels know the first of the smaller descriptors that has their code. */
export function withSmall<D, Rest extends readonly unknown[]>(make: (d: D, ...rest: Rest) => WasmKernel, smaller: (d: D) => readonly D[]): (d: D, ...rest: Rest) => WasmKernel {
  return (d, ...rest) => {
    const kernel = make(d, ...rest)
    return {
      ...kernel,
      small: () => {
        for (const s of smaller(d)) {
          const small = make(s, ...rest)
          if (small.key === kernel.key) return { kernel: small }
        }
        return undefined
      },
    }
  }
}

/** How many rows there are decides on the tile, or columns if the product is computed transposed; from 512 terms on, what is there is added to. */
export function smallMatmul(d: MatmulDescriptor): MatmulDescriptor[] {
  const cut = (m: number, n: number): MatmulDescriptor => ({ ...d, m: Math.min(d.m, m), n: Math.min(d.n, n), k: Math.min(d.k, d.k > 512 ? 531 : 37) })
  return [...[13, 23, 35].map((rows) => cut(rows, 35)), ...[13, 23].map((columns) => cut(35, columns))]
}

/** `side` positions along each dimension of the output. */
export const smallConv = (side: number) => (d: ConvDescriptor): ConvDescriptor[] => {
  const output = d.output.map((size) => Math.min(size, side))
  const input = d.input.map((size, i) => {
    const reach = ((output[i] ?? 1) - 1) * (d.stride[i] ?? 1) + ((d.kernel[i] ?? 1) - 1) * (d.dilation[i] ?? 1) + 1 - (d.padding[i] ?? 0)
    return Math.max(1, Math.min(size, reach))
  })
  return [{ ...d, batch: Math.min(d.batch, 2), output, input }]
}

export const smallNorm = <D extends GroupNormSizes>(d: D): D[] => [{ ...d, spatial: Math.min(d.spatial, 83) }]

/** From 256 keys on, sums so far are scaled. */
export const smallAttention = <D extends AttentionSizes>(d: D): D[] => [{ ...d, queries: Math.min(d.queries, d.queries > 64 ? 71 : 37), keys: Math.min(d.keys, d.keys > 256 ? 273 : 37) }]
