/** Matrix products of strided matrices, in batches: out = a·b, or an epilogue of it. Transposes, broadcasts and flips are strides. See `blocked.ts`. */
import type { Epilogue, MatmulDescriptor, Strided } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import type { FloatType } from '../../ir/expression.ts'
import type { Axes } from '../core/digits.ts'
import type { WgslKernel, WgslTarget } from '../core/kernel.ts'
import { bytesOf } from '../core/stridedOperands.ts'
import { productDispatches } from './blocked.ts'
import { checkProduct, epilogueCost } from './store.ts'

/** Buffers: a, b, the epilogue's inputs, out. Factors are of type `dtype`, sums of f32. */
export function matmulKernel(d: MatmulDescriptor, target: WgslTarget, epilogue?: Epilogue, dtype: FloatType = 'f32', out: FloatType = dtype): WgslKernel {
  checkProduct('matmul', target, [dtype, out], epilogue)
  const [rank, inputs] = [d.batch.length, epilogue?.inputs ?? []]
  const batch = (...operands: readonly Strided[]): Axes => ({ sizes: d.batch, strides: operands.map((o) => o.strides.slice(0, rank)) })
  const axis = (size: number, which: 0 | 1, ...operands: readonly Strided[]): Axes => ({ sizes: [size], strides: operands.map((o) => [o.strides[rank + which] ?? 0]) })
  const cost = epilogue === undefined ? { flops: 0, bytes: 0 } : epilogueCost(epilogue, [...d.batch, d.m, d.n])
  const problems = product(d.batch)
  return {
    ...productDispatches({
      label: 'matmul',
      a: { buffer: 0, offset: d.a.offset, problems: batch(d.a), lines: axis(d.m, 0, d.a), depth: axis(d.k, 1, d.a), coordinates: [] },
      b: { buffer: 1, offset: d.b.offset, problems: batch(d.b), lines: axis(d.n, 1, d.b), depth: axis(d.k, 0, d.b), coordinates: [] },
      out: {
        buffer: 2 + inputs.length, offsets: [d.out, ...inputs].map((o) => o.offset), dtype: out, epilogue: epilogue && { ...epilogue, first: 2 },
        problems: batch(d.out, ...inputs), rows: axis(d.m, 0, d.out, ...inputs), columns: axis(d.n, 1, d.out, ...inputs),
      },
      dtype,
    }, 3 + inputs.length),
    flops: 2 * problems * d.m * d.n * d.k + cost.flops,
    bytes: problems * (bytesOf(dtype) * (d.m * d.k + d.k * d.n) + bytesOf(out) * d.m * d.n) + cost.bytes,
  }
}
