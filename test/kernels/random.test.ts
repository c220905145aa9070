import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { philoxStream } from '../../kernels/ir/philox.ts'
import { philoxKernel } from '../../kernels/wasm/elementwise/random.ts'
import { argsortKernel } from '../../kernels/wasm/indexing/sort.ts'
import { launch } from './launch-rows.ts'
import { argsortCase, argsortCases } from './sorting.ts'

describe('philoxKernel', () => {
  it('gives the stream of each row, bit for bit', () => {
    const word = fc.oneof(fc.constant(0xffffffff), fc.integer({ min: 0, max: 0xffffffff }))
    fc.assert(fc.property(fc.array(fc.tuple(word, word, word, word), { minLength: 0, maxLength: 4 }), fc.constantFrom(0, 1, 3, 4, 15, 16, 17, 100, 1023, 1024, 1025, 2100), (rows, length) => {
      const output = new Uint32Array(rows.length * length)
      launch(philoxKernel({ rows: rows.length, length }), [Uint32Array.from(rows.flatMap((r) => r.slice(0, 2))), Uint32Array.from(rows.flatMap((r) => r.slice(2))), output])
      rows.forEach(([k0, k1, low, high], r) => {
        const expected = new Uint32Array(length)
        philoxStream([k0, k1], [low, high], expected)
        expect(output.subarray(r * length, (r + 1) * length)).toEqual(expected)
      })
    }))
  })
})

describe('argsortKernel', () => {
  it('is stable, with NaN greatest', () => {
    fc.assert(fc.property(argsortCases([0, 1, 2, 3, 4, 5, 31, 32, 33, 100, 257]), (drawn) => {
      const { descriptor, buffers, check } = argsortCase(drawn)
      launch(argsortKernel(descriptor), buffers, drawn.seed)
      check()
    }))
  })
})
