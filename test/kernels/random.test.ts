import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { philoxStream } from '../../kernels/philox.ts'
import { philoxKernel } from '../../kernels/wasm/random.ts'
import { argsortKernel } from '../../kernels/wasm/sort.ts'
import { anyLayout, at, fill, launch, layout, random } from './launch-rows.ts'

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
    const special = [0, -0, Number.NaN, Infinity, -Infinity, 1, -1, 2]
    fc.assert(fc.property(fc.constantFrom(0, 1, 3), fc.constantFrom(0, 1, 2, 3, 4, 5, 31, 32, 33, 100, 257), fc.constantFrom('f32' as const, 'i32' as const, 'u32' as const), fc.boolean(), fc.tuple(anyLayout, anyLayout), fc.nat(1000), (rows, length, dtype, descending, layouts, seed) => {
      const [x, y] = [layout([rows, length], layouts[0]), layout([rows, length], layouts[1])]
      const next = random(seed)
      const element = (): number => {
        const scaled = Math.floor((next() - 0.5) * (next() < 0.5 ? 8 : 2 ** 32))
        return dtype === 'f32' ? (special[Math.floor(next() * 16)] ?? scaled) : scaled
      }
      const [input, output] = [fill(dtype, x.size, element), fill('i32', y.size, () => 0)]
      launch(argsortKernel({ rows, length, dtype, descending, x, y }), [input, output], seed)
      const compare = (a: number, b: number): number => (Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) ? -1 : a < b ? -1 : a > b ? 1 : 0)
      for (let r = 0; r < rows; r++) {
        const row = Array.from({ length }, (_, i) => at(input, x, [r, i]))
        const expected = row.map((_, i) => i).sort((i, j) => (descending ? -1 : 1) * compare(row[i] ?? 0, row[j] ?? 0))
        expect(row.map((_, i) => at(output, y, [r, i]))).toEqual(expected)
      }
    }))
  })
})
