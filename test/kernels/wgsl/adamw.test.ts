import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { adamwKernel } from '../../../kernels/wgsl/optim/adamw.ts'
import { squaredNormKernel } from '../../../kernels/wgsl/optim/squaredNorm.ts'
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
  const chunk = 1024
  /** Tensors, each alone in its buffer or behind others, where the next begins at a whole vector. */
  const tensors = fc.array(fc.record({ buffer: fc.nat(2), elements: fc.oneof({ arbitrary: size, weight: 4 }, { arbitrary: fc.constant(70_000), weight: 1 }) }), { maxLength: 9 })

  function place(wanted: readonly { readonly buffer: number; readonly elements: number }[]): { placed: { buffer: number; first: number; elements: number }[]; lengths: number[] } {
    const lengths = [0, 0, 0]
    const placed = wanted.map(({ buffer, elements }) => {
      const first = lengths[buffer] ?? 0
      lengths[buffer] = first + Math.ceil(elements / 4) * 4
      return { buffer, first, elements }
    })
    return { placed, lengths }
  }

  it('leaves the sum of squares of each chunk', async () => {
    await fc.assert(fc.asyncProperty(tensors, fc.nat(1000), async (wanted, seed) => {
      const { placed, lengths } = place(wanted)
      // So large that what lies between tensors would show.
      const buffers = lengths.map((n) => new Float32Array(n).fill(1e9))
      placed.forEach(({ buffer, first, elements }, i) => buffers[buffer]?.set(floats(elements, seed + i), first))
      const expected = placed.flatMap(({ buffer, first, elements }) => Array.from({ length: Math.ceil(elements / chunk) }, (_, c) => {
        const part = buffers[buffer]?.subarray(first + c * chunk, first + Math.min(elements, (c + 1) * chunk))
        return part?.reduce((sum, x) => sum + x * x, 0) ?? Number.NaN
      }))
      const sums = new Float32Array(expected.length).fill(Number.NaN)
      await runWgsl(squaredNormKernel({ chunk, tensors: placed, output: 3, operands: 4 }), [...buffers, sums])
      sums.forEach((x, i) => expectClose(x, expected[i] ?? Number.NaN, 1e-6, `chunk ${i}`))
    }), { numRuns: 25 })
  })

  it('has the same bits wherever a tensor lies', async () => {
    const x = floats(100_003, 1)
    const sums = [0, 1].map(() => new Float32Array(98))
    const behind = new Float32Array(100_012)
    behind.set(x, 8)
    for (const [i, buffer] of [x, behind].entries()) await runWgsl(squaredNormKernel({ chunk, tensors: [{ buffer: 0, first: 8 * i, elements: x.length }], output: 1, operands: 2 }), [buffer, sums[i] ?? x])
    expect(sums[0]).toEqual(sums[1])
  })
})
