/** Random cases of argsort for the tests of both devices' kernels. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { ArgsortDescriptor } from '../../kernels/ir/descriptor.ts'
import { anyLayout, at, fill, layout, random, type LayoutName, type Values } from './launch-rows.ts'

interface ArgsortCase {
  readonly rows: number
  readonly length: number
  readonly dtype: ArgsortDescriptor['dtype']
  readonly descending: boolean
  readonly layouts: readonly [x: LayoutName, y: LayoutName]
  readonly seed: number
}

export const argsortCases = (lengths: readonly number[]): fc.Arbitrary<ArgsortCase> => fc.record({
  rows: fc.constantFrom(0, 1, 3), length: fc.constantFrom(...lengths), dtype: fc.constantFrom('f32', 'i32', 'u32'), descending: fc.boolean(), layouts: fc.tuple(anyLayout, anyLayout), seed: fc.nat(1000),
})

const special = [0, -0, Number.NaN, Infinity, -Infinity, 1, -1, 2]
const compare = (a: number, b: number): number => (Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) ? -1 : a < b ? -1 : a > b ? 1 : 0)

export function argsortCase({ rows, length, dtype, descending, layouts, seed }: ArgsortCase): { readonly descriptor: ArgsortDescriptor; readonly buffers: Values[]; readonly check: () => void } {
  const [x, y] = [layout([rows, length], layouts[0]), layout([rows, length], layouts[1])]
  const next = random(seed)
  const element = (): number => {
    const scaled = Math.floor((next() - 0.5) * (next() < 0.5 ? 8 : 2 ** 32))
    return dtype === 'f32' ? (special[Math.floor(next() * 16)] ?? scaled) : scaled
  }
  const [input, output] = [fill(dtype, x.size, element), fill('i32', y.size, () => 0)]
  return {
    descriptor: { rows, length, dtype, descending, x, y },
    buffers: [input, output],
    check() {
      for (let r = 0; r < rows; r++) {
        const row = Array.from({ length }, (_, i) => at(input, x, [r, i]))
        const expected = row.map((_, i) => i).sort((i, j) => (descending ? -1 : 1) * compare(row[i] ?? 0, row[j] ?? 0))
        expect(row.map((_, i) => at(output, y, [r, i]))).toEqual(expected)
      }
    },
  }
}
