/** Matrix products on the GPU against float64 loops: every variant of the tiles, any strides, split depths. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Epilogue } from '../../../kernels/ir/descriptor.ts'
import { accumulator, binary, choose, constant, type Expression, index, load, unary } from '../../../kernels/ir/expression.ts'
import { matmulKernel } from '../../../kernels/wgsl/matmul/matmul.ts'
import { floor } from '../../../kernels/wgsl/core/kernel.ts'
import { anyLayoutOf, matmulError } from '../naiveMatmul.ts'
import { address, type Layout, normals, place, positions } from '../strided.ts'
import { gpu, runWgsl, target } from './run.ts'

interface Case {
  readonly batch: readonly number[]
  readonly m: number
  readonly k: number
  readonly n: number
  readonly layouts: { readonly a: Layout; readonly b: Layout; readonly out: Layout }
}

async function check({ batch, m, k, n, layouts }: Case): Promise<void> {
  const [a, b, out] = [place([...batch, m, k], layouts.a), place([...batch, k, n], layouts.b), place([...batch, m, n], layouts.out)]
  const inputs = [a, b].map((o, i) => normals(o.size, 17 * i + m + n))
  const values = new Float32Array(out.size).fill(-12345.5)
  await runWgsl(matmulKernel({ batch, m, k, n, a, b, out }, floor), [...inputs, values])
  const { worst, written } = matmulError({ batch, m, k, n, a, b, out }, inputs, values)
  expect(worst).toBeLessThan(2 ** -24 * (4 + k))
  expect(values.findIndex((v, e) => !written.has(e) && v !== -12345.5)).toBe(-1)
}

const [plain, flipped] = [{ order: [0, 1] }, { order: [1, 0] }]
const transposes = [...[plain, flipped].flatMap((a) => [plain, flipped].map((b) => ({ a, b, out: plain }))), { a: plain, b: flipped, out: flipped }]
const inBatches = (layout: Layout): Layout => ({ order: [0, ...layout.order.map((axis) => axis + 1)] })

describe.skipIf(gpu === undefined)('matmul in WGSL', { timeout: 300_000 }, () => {
  it('handles the smallest sizes', async () => {
    for (const [m, k, n] of [[0, 3, 1], [1, 0, 5], [1, 1, 1], [5, 3, 0], [5, 3, 9]] as const) await check({ batch: [], m, k, n, layouts: { a: plain, b: plain, out: plain } })
  })

  it.each(transposes)('computes transposes in vectors: $a.order · $b.order = $out.order', async (layouts) => {
    await check({ batch: [], m: 68, k: 48, n: 36, layouts })
  })

  // Few rows or columns, depths in parts; in vectors or not.
  it.each([[1, 300, 132, plain], [3, 96, 260, flipped], [130, 96, 2, plain], [33, 31, 65, plain], [33, 31, 65, flipped], [16, 1040, 80, flipped], [97, 300, 12, plain], [72, 520, 68, plain]] as const)('computes %i × %i × %i', async (m, k, n, b) => {
    await check({ batch: [], m, k, n, layouts: { a: plain, b, out: plain } })
  })

  it('computes in tiles of 128', async () => {
    await check({ batch: [256], m: 68, k: 8, n: 68, layouts: { a: inBatches(plain), b: inBatches(plain), out: inBatches(plain) } })
  })

  const size = fc.oneof(fc.constantFrom(0, 1, 4, 8, 31, 32, 33, 64), fc.integer({ min: 1, max: 70 }))
  it('computes any strides and batches', { timeout: 400_000 }, async () => {
    const anyCase = fc.integer({ min: 0, max: 2 }).chain((rank) =>
      fc.record({
        batch: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: rank, maxLength: rank }), m: size, n: size, k: fc.oneof(size, fc.constantFrom(300, 600)),
        layouts: fc.record({ a: anyLayoutOf(rank + 2, true), b: anyLayoutOf(rank + 2, true), out: anyLayoutOf(rank + 2, false) }),
      }))
    await fc.assert(fc.asyncProperty(anyCase, check), { numRuns: 6 })
  })

  const bias = { dtype: 'f32', strides: [0, 0, 1], offset: 1 } as const
  const keep = { dtype: 'bool', strides: [0, 1, 0], offset: 0 } as const
  it.each([[2, 36, 20, 40], [1, 33, 300, 35]])('finishes elements by an epilogue: %i of %i × %i × %i', async (batch, m, k, n) => {
    const residual = { dtype: 'f32', strides: [m * n, 1, m], offset: 0 } as const
    const value = choose(load(1, 'bool'), binary('max', binary('add', accumulator('f32'), load(0, 'f32')), constant(0, 'f32')), binary('sub', load(2, 'f32'), accumulator('f32')))
    const epilogue: Epilogue = { inputs: [bias, keep, residual], value }
    const d = { batch: [batch], m, k, n, a: { strides: [m * k, k, 1], offset: 0 }, b: { strides: [k * n, n, 1], offset: 0 }, out: { strides: [m * n, n, 1], offset: 0 } }
    const [a, b, shift, added, product, out] = [batch * m * k, batch * k * n, n + 1, batch * m * n, batch * m * n, batch * m * n].map((size, i) => normals(size, i))
    const kept = Uint32Array.from({ length: m }, (_, i) => i % 3 % 2)
    if (a === undefined || b === undefined || shift === undefined || added === undefined || product === undefined || out === undefined) throw new Error('a buffer is missing')
    await runWgsl(matmulKernel(d, floor), [a, b, product])
    await runWgsl(matmulKernel(d, floor, epilogue), [a, b, shift, kept, added, out])
    for (const position of positions([batch, m, n])) {
      const at = address(d.out, position)
      const [x, y, z] = [product[at] ?? Number.NaN, shift[address(bias, position)] ?? Number.NaN, added[address(residual, position)] ?? Number.NaN]
      expect(out[at]).toBe(kept[address(keep, position)] === 1 ? Math.max(Math.fround(x + y), 0) : Math.fround(z - x))
    }
    expect(matmulKernel(d, floor, epilogue).flops - matmulKernel(d, floor).flops).toBe(4 * batch * m * n)
    expect(matmulKernel(d, floor, epilogue).bytes - matmulKernel(d, floor).bytes).toBe(4 * (n + m + batch * m * n))
  })

  it.skipIf(!target.f16)('multiplies in f16, adding in f32', async () => {
    const [m, k, n] = [33, 300, 36]
    const [a, b, bias, out] = [normals(m * k, 1), normals(k * n, 2), normals(n, 3), new Float32Array(m * n)].map((values) => Float16Array.from(values))
    if (a === undefined || b === undefined || bias === undefined || out === undefined) throw new Error('a buffer is missing')
    const d = { batch: [], m, k, n, a: { strides: [k, 1], offset: 0 }, b: { strides: [n, 1], offset: 0 }, out: { strides: [n, 1], offset: 0 } }
    const epilogue: Epilogue = { inputs: [{ dtype: 'f16', strides: [0, 1], offset: 0 }], value: binary('add', accumulator('f32'), load(0, 'f32')) }
    await runWgsl(matmulKernel(d, target, epilogue, 'f16'), [a, b, bias, out].map((values) => new Uint16Array(values.buffer)))
    for (const [i, j] of positions([m, n])) {
      const terms = [bias[j ?? 0] ?? Number.NaN, ...Array.from({ length: k }, (_, t) => (a[(i ?? 0) * k + t] ?? Number.NaN) * (b[t * n + (j ?? 0)] ?? Number.NaN))]
      const [sum, size] = [terms.reduce((x, y) => x + y), terms.reduce((x, y) => x + Math.abs(y), 0)]
      expect(Math.abs((out[(i ?? 0) * n + (j ?? 0)] ?? Number.NaN) - sum)).toBeLessThanOrEqual(2 ** -11 * Math.abs(sum) + 2 ** -24 * (k + 4) * size)
    }
    expect(matmulKernel(d, target, epilogue, 'f16').bytes).toBe(2 * (m * k + k * n + m * n + n))
    expect(() => matmulKernel(d, floor, undefined, 'f16')).toThrow('matmul: this device has no f16: use f32')
  })

  it('binds a buffer once for all slices of it that an epilogue reads', async () => {
    const [m, k, n, slices] = [5, 7, 9, 11]
    const d = { batch: [], m, k, n, a: { strides: [k, 1], offset: 0 }, b: { strides: [n, 1], offset: 0 }, out: { strides: [n, 1], offset: 0 } }
    const [a, b, rows, shift] = [normals(m * k, 1), normals(k * n, 2), normals(slices * n, 3), normals(m, 4)]
    const inputs: Epilogue['inputs'] = [...Array.from({ length: slices }, (_, s) => ({ dtype: 'f32' as const, strides: [0, 1], offset: s * n })), { dtype: 'f32', strides: [1, 0], offset: 0 }]
    const value = inputs.reduce((sum, _, i) => binary('add', sum, load(i, 'f32')), accumulator('f32'))
    const kernel = matmulKernel(d, floor, { inputs, value, buffers: inputs.map((_, i) => (i < slices ? 30 : 4)) })
    expect(kernel.dispatches.map((one) => one.bindings.map(({ buffer }) => buffer))).toEqual([[0, 1, 2 + slices + 1, 2, 2 + slices]])
    const out = new Float32Array(m * n)
    await runWgsl(kernel, [a, b, ...Array.from({ length: slices }, () => rows), shift, out])
    const expected = Float32Array.from(out, (_, at) => {
      const [i, j] = [Math.floor(at / n), at % n]
      return Array.from({ length: k }, (__, l) => (a[i * k + l] ?? 0) * (b[l * n + j] ?? 0)).reduce((x, y) => x + y, 0) + Array.from({ length: slices }, (__, s) => rows[s * n + j] ?? 0).reduce((x, y) => x + y, 0) + (shift[i] ?? 0)
    })
    out.forEach((x, at) => expect(Math.abs(x - (expected[at] ?? NaN))).toBeLessThan(1e-5))
  })

  it('refuses epilogues that it cannot compute', () => {
    const make = (value: Expression, inputs: Epilogue['inputs'] = [], buffers?: readonly number[]) => (): unknown => matmulKernel({ batch: [], m: 1, k: 1, n: 1, a: { strides: [1, 1], offset: 0 }, b: { strides: [1, 1], offset: 0 }, out: { strides: [1, 1], offset: 0 } }, floor, { inputs, value, ...(buffers && { buffers }) })
    expect(make(unary('cast', index(0), 'f32'))).toThrow('positions have no numbers here')
    expect(make(unary('cast', accumulator('f32'), 'i32'))).toThrow('f32 memory cannot hold i32 values')
    const inputs = Array.from({ length: 6 }, () => ({ dtype: 'f32' as const, strides: [0, 0], offset: 0 }))
    expect(make(accumulator('f32'), inputs)).toThrow('epilogue: 6 buffers, of which a dispatch can bind 5 besides those of the product: compute part of it before')
    expect(make(accumulator('f32'), inputs, [0, 1, 2, 3, 4, 4])).not.toThrow()
  })

  it('has one source for products of one kind', () => {
    const source = (m: number, k: number, n: number): (string | undefined)[] =>
      matmulKernel({ batch: [], m, k, n, a: { strides: [k, 1], offset: 0 }, b: { strides: [n, 1], offset: 0 }, out: { strides: [n, 1], offset: 0 } }, floor).dispatches.map((d) => d.source)
    expect(source(2048, 1024, 4096)).toEqual(source(4096, 512, 2048))
    expect(source(72, 512, 68)).toEqual(source(80, 1024, 64))
  })
})
