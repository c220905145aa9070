import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { philoxStream } from '../../../kernels/philox.ts'
import { philoxKernel } from '../../../kernels/wgsl/random.ts'
import { gpu, runWgsl } from './run.ts'

describe.skipIf(gpu === undefined)('philoxKernel', () => {
  it('gives the stream of each row, bit for bit', async () => {
    const word = fc.oneof(fc.constant(0xffffffff), fc.integer({ min: 0, max: 0xffffffff }))
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(word, word, word, word), { maxLength: 4 }), fc.constantFrom(0, 1, 3, 4, 15, 16, 17, 100, 1023, 1024, 1025, 2100), async (rows, length) => {
      const output = new Uint32Array(rows.length * length)
      await runWgsl(philoxKernel({ rows: rows.length, length }), [Uint32Array.from(rows.flatMap((r) => r.slice(0, 2))), Uint32Array.from(rows.flatMap((r) => r.slice(2))), output])
      rows.forEach(([k0, k1, low, high], r) => {
        const expected = new Uint32Array(length)
        philoxStream([k0, k1], [low, high], expected)
        expect(output.subarray(r * length, (r + 1) * length)).toEqual(expected)
      })
    }), { numRuns: 40 })
  })
})
