/** How products are cut: limits on scratch memory and depth, and items that do not depend on one another. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Arguments } from '../../kernels/wasm/core/arguments.ts'
import { Gemm } from '../../kernels/wasm/matmul/gemm.ts'
import { matmulKernel } from '../../kernels/wasm/matmul/matmul.ts'
import { maxDepth } from '../../kernels/wasm/matmul/tile.ts'
import { launch, normals } from './strided.ts'

const size = fc.oneof(fc.integer({ min: 0, max: 70 }), fc.integer({ min: 0, max: 100_000 }))

describe('blocked product', () => {
  it('packs bounded blocks of whole tiles', () => {
    fc.assert(fc.property(size, size, size, fc.constantFrom('rows' as const, 'interleaved' as const), fc.boolean(), fc.boolean(), (m, n, k, layout, wide, packed) => {
      const { tile, limits, scratch, items } = new Gemm(new Arguments(), { problems: 2, m, n, k }, { target: { relaxed: true, wide }, layout, packed })
      expect(limits.depth).toBeLessThanOrEqual(maxDepth)
      expect(limits.rows % tile.rows).toBe(0)
      expect(limits.columns % (4 * tile.vectors)).toBe(0)
      // The block of A stays in a second-level cache, that of B in the next.
      expect(4 * limits.rows * limits.depth).toBeLessThanOrEqual(128 * 1024)
      expect(scratch.bytes).toBeLessThanOrEqual(1152 * 1024)
      expect(items > 0).toBe(m > 0 && n > 0)
    }))
  })

  it('keeps sums in registers', () => {
    for (const m of [1, 5, 6, 12, 32, 100]) {
      for (const n of [1, 4, 5, 9, 64]) {
        const { tile } = new Gemm(new Arguments(), { problems: 1, m, n, k: 8 }, { target: { relaxed: true }, layout: 'rows' })
        expect(tile.rows * tile.vectors + tile.vectors + 1).toBeLessThanOrEqual(15)
      }
    }
  })

  const rows = (columns: number): { strides: number[]; offset: number } => ({ strides: [columns, 1], offset: 0 })

  it('gives the same bits when every item is a launch of its own', () => {
    const [m, k, n] = [250, 650, 530]
    const kernel = matmulKernel({ batch: [], m, k, n, a: rows(k), b: rows(n), out: rows(n) }, { relaxed: true })
    const inputs = [normals(m * k, 1), normals(k * n, 2)]
    expect(kernel.items).toBeGreaterThan(20)
    const cuts = Array.from({ length: kernel.items }, (_, i) => i)
    expect(launch(kernel, inputs, m * n, cuts).out).toEqual(launch(kernel, inputs, m * n).out)
  })

  it('writes in every item what no other item writes', () => {
    const [m, k, n] = [50, 400, 300]
    const kernel = matmulKernel({ batch: [], m, k, n, a: rows(k), b: rows(n), out: rows(n) }, { relaxed: true })
    const inputs = [normals(m * k, 1), normals(k * n, 2)]
    const share = (items: number): number => {
      const part = launch({ ...kernel, items }, inputs, m * n)
      return part.out.reduce((written, _, e) => written + (part.untouched(e) ? 0 : 1), 0)
    }
    const shares = Array.from({ length: kernel.items }, (_, i) => share(i + 1) - share(i))
    expect(Math.min(...shares)).toBeGreaterThan(0)
    expect(shares.reduce((sum, x) => sum + x, 0)).toBe(m * n)
  })

  it('sums long rows in blocks, so that errors grow with their number', () => {
    const k = 40_000
    const kernel = matmulKernel({ batch: [], m: 1, k, n: 1, a: rows(k), b: rows(1), out: rows(1) }, { relaxed: true })
    const a = Float32Array.from({ length: k }, (_, i) => 0.1 + (i % 7) / 50)
    const exact = a.reduce((sum, x) => sum + x, 0)
    const [sum = 0] = launch(kernel, [a, new Float32Array(k).fill(1)], 1).out
    expect(Math.abs(sum / exact - 1)).toBeLessThan(2 ** -24 * 64)
  })
})
