import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { philoxStream } from '../../../kernels/ir/philox.ts'
import { philoxKernel } from '../../../kernels/wgsl/elementwise/random.ts'
import { gpu, runWgsl } from './run.ts'

/** Counter, key and words of Random123's known answers for Philox4x32-10. */
const known = [
  [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
  [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
  [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]],
] as const

describe.skipIf(gpu === undefined)('philoxKernel', () => {
  it.each(known)('gives the known answer of Random123 for counter %j', async ([low, high, ...upper], key, words) => {
    const kernel = philoxKernel({ rows: 1, length: 4 })
    // Streams have zeros in the upper half of the counter.
    const dispatches = kernel.dispatches.map((dispatch) => ({ ...dispatch, source: dispatch.source.replace('0u, 0u);', `${upper[0]}u, ${upper[1]}u);`) }))
    const output = new Uint32Array(4)
    await runWgsl({ ...kernel, dispatches }, [Uint32Array.from(key), Uint32Array.of(low, high), output])
    expect([...output]).toEqual(words)
  })

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
