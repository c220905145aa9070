import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { adamwKernel } from '../../../kernels/wgsl/adamw.ts'
import { squaredNormKernel } from '../../../kernels/wgsl/squaredNorm.ts'
import { adamwStep, settings } from '../optimizer.ts'
import { expectClose, floats } from '../launch-rows.ts'
import { gpu, runWgsl } from './run.ts'

const size = fc.constantFrom(0, 1, 3, 4, 7, 31, 1023, 1024, 1025, 20_001)

describe.skipIf(gpu === undefined)('adamwKernel', () => {
  it('does the documented operations in place, or nothing', async () => {
    await fc.assert(fc.asyncProperty(size, fc.boolean(), fc.boolean(), fc.nat(1000), async (elements, ema, apply, seed) => {
      const [p, g, m, v, average] = [0, 1, 2, 3, 4].map((k) => floats(elements, seed + k).map((x) => (k === 3 ? Math.abs(x) : x)))
      const buffers = [p, g, m, v, average].flatMap((x) => x ?? []).slice(0, ema ? 5 : 4)
      if (!apply) g?.fill(Number.NaN)
      const before = buffers.map((x) => x.slice())
      await runWgsl(adamwKernel({ elements, ema }), [Float32Array.from([...Object.values(settings), apply ? 1 : 0]), ...buffers])
      for (let i = 0; i < elements; i++) {
        const [p0 = 0, g0 = 0, m0 = 0, v0 = 0, e0 = 0] = before.map((x) => x[i] ?? 0)
        const [p1, m1, v1, e1] = apply ? adamwStep(p0, g0, m0, v0, e0) : [p0, m0, v0, e0]
        buffers.forEach((x, k) => expectClose(x[i] ?? 0, [p1, g0, m1, v1, e1][k] ?? 0, apply ? 1e-6 : 0, `buffer ${k} at ${i}`))
      }
    }), { numRuns: 25 })
  })
})

describe.skipIf(gpu === undefined)('squaredNormKernel', () => {
  it('adds the squares of all segments', async () => {
    const segments = fc.constantFrom(0, 1, 3, 9).chain((count) => fc.array(fc.oneof({ arbitrary: size, weight: 4 }, { arbitrary: fc.constant(70_000), weight: 1 }), { minLength: count, maxLength: count }))
    await fc.assert(fc.asyncProperty(segments, fc.nat(1000), async (elements, seed) => {
      // So small that what lies behind a segment in memory would show.
      const scale = 2 ** -50
      const inputs = elements.map((n, i) => floats(n, seed + i).map((x) => scale * x))
      const norm = Float32Array.of(Number.NaN)
      await runWgsl(squaredNormKernel({ segments: elements }), [...inputs, norm])
      expectClose((norm[0] ?? Number.NaN) / scale ** 2, inputs.reduce((sum, x) => x.reduce((a, value) => a + (value / scale) ** 2, sum), 0), 1e-6, 'norm')
    }), { numRuns: 25 })
  })

  it('has the same bits whenever it runs', async () => {
    const x = floats(100_003, 1)
    const norms = [0, 1].map(() => new Float32Array(1))
    for (const norm of norms) await runWgsl(squaredNormKernel({ segments: [x.length] }), [x, norm])
    expect(norms[0]).toEqual(norms[1])
  })
})
