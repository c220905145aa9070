/** Float64 loops for softmax, layer norm and their gradients, to which the tests of every device's kernels hold them. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { LayerNormDescriptor, LayerNormGradDescriptor, SoftmaxDescriptor, SoftmaxGradDescriptor } from '../../kernels/ir/descriptor.ts'
import { anyLayout, at, expectClose, floats, layout, type LayoutName, type Precision, type Run, singles } from './launch-rows.ts'

export interface RowCase {
  readonly rows: number
  readonly length: number
  readonly shift: number
  readonly a: LayoutName
  readonly b: LayoutName
  readonly c: LayoutName
}
export interface LayerNormCase extends RowCase {
  readonly centred: boolean
}

const layouts = { a: anyLayout, b: anyLayout, c: anyLayout }
export const softmaxCases: fc.Arbitrary<RowCase> = fc.record({ rows: fc.constantFrom(0, 1, 3, 31, 33), length: fc.constantFrom(0, 1, 3, 4, 7, 8, 31, 32, 33, 100), shift: fc.constantFrom(0, 50, -1000), ...layouts })
export const layerNormCases: fc.Arbitrary<LayerNormCase> = fc.record({
  rows: fc.constantFrom(1, 3, 5), length: fc.constantFrom(1, 3, 4, 15, 16, 33, 100, 4099, 9000), centred: fc.boolean(), shift: fc.constantFrom(0, 100, 10_000), ...layouts,
})

const eps = 1e-5
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

export async function checkSoftmax({ rows, length, a, b, shift }: RowCase, seed: number, run: Run<SoftmaxDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const [x, y] = [layout([rows, length], a), layout([rows, length], b)]
  const [input, output] = [floats(x.size, seed, shift).map(round), new Float32Array(y.size)]
  await run({ rows, length, x, y }, [input, output])
  for (let r = 0; r < rows; r++) {
    const row = Array.from({ length }, (_, i) => at(input, x, [r, i]))
    const top = row.reduce((largest, v) => Math.max(largest, v), -Infinity)
    const sum = row.reduce((total, v) => total + Math.exp(v - top), 0)
    row.forEach((v, i) => expectClose(at(output, y, [r, i]), Math.exp(v - top) / sum, 5e-7 + tolerance, `row ${r} element ${i}`))
  }
}

export async function checkSoftmaxGrad({ rows, length, a, b, c }: RowCase, seed: number, run: Run<SoftmaxGradDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const [y, dy, dx] = [layout([rows, length], a), layout([rows, length], b), layout([rows, length], c)]
  const [input, upstream, output] = [floats(y.size, seed).map(round), floats(dy.size, seed + 1).map(round), new Float32Array(dx.size)]
  await run({ rows, length, y, dy, dx }, [input, upstream, output])
  for (let r = 0; r < rows; r++) {
    let [dot, largest] = [0, 0]
    for (let i = 0; i < length; i++) {
      dot += at(input, y, [r, i]) * at(upstream, dy, [r, i])
      largest += Math.abs(at(input, y, [r, i]) * at(upstream, dy, [r, i]))
    }
    const rounding = 2 ** -24 * largest
    for (let i = 0; i < length; i++) expectClose(at(output, dx, [r, i]), at(input, y, [r, i]) * (at(upstream, dy, [r, i]) - dot), 1e-5 + 2 * rounding + tolerance, `row ${r} element ${i}`)
  }
}

/** Of one row, in float64. */
function statistics(row: readonly number[], centred: boolean): { mu: number; rstd: number } {
  const mu = centred ? mean(row) : 0
  return { mu, rstd: 1 / Math.sqrt(mean(row.map((v) => (v - mu) ** 2)) + eps) }
}

export async function checkLayerNorm({ rows, length, centred, shift, a, b }: LayerNormCase, seed: number, run: Run<LayerNormDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const [x, y] = [layout([rows, length], a), layout([rows, length], b)]
  const [input, weight, bias] = [floats(x.size, seed, shift).map(round), floats(length, seed + 1), floats(length, seed + 2)]
  const [output, means, rstds] = [new Float32Array(y.size), new Float32Array(rows), new Float32Array(rows)]
  await run({ rows, length, centred, x, y, eps }, [input, weight, bias, output, means, rstds])
  for (let r = 0; r < rows; r++) {
    const row = Array.from({ length }, (_, i) => at(input, x, [r, i]))
    const { mu, rstd } = statistics(row, centred)
    expectClose(means[r] ?? NaN, mu, 1e-6, 'mean')
    expectClose(rstds[r] ?? NaN, rstd, 5e-6, 'rstd')
    row.forEach((v, i) => expectClose(at(output, y, [r, i]), (v - mu) * rstd * (weight[i] ?? 0) + (bias[i] ?? 0), 5e-6 + tolerance, `y ${r},${i}`))
  }
}

/** Rows whose values are all one: nothing is left but the bias. */
export async function checkConstantRows(run: Run<LayerNormDescriptor>): Promise<void> {
  for (const length of [1, 7, 324, 4099, 131_072]) {
    for (const value of [0.1, 12_345.678, -1e6, 2 ** -120]) {
      const [input, bias, y, means, rstds] = [new Float32Array(2 * length).fill(value), floats(length, 7), new Float32Array(2 * length), new Float32Array(2), new Float32Array(2)]
      const rows = { strides: [length, 1], offset: 0 }
      await run({ rows: 2, length, centred: true, x: rows, y: rows, eps }, [input, floats(length, 3), bias, y, means, rstds])
      expect([...means, rstds[1]], `${length} of ${value}`).toEqual([Math.fround(value), Math.fround(value), expect.closeTo(1 / Math.sqrt(eps), 3)])
      expect(y.findIndex((v, i) => !(Math.abs(v - (bias[i % length] ?? NaN)) < 1e-5)), `${length} of ${value}`).toBe(-1)
    }
  }
}

export async function checkLayerNormGrad({ rows, length, centred, a, b, c }: LayerNormCase, seed: number, run: Run<LayerNormGradDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const [dy, x, dx] = [layout([rows, length], a), layout([rows, length], b), layout([rows, length], c)]
  const [upstream, input, weight, output] = [floats(dy.size, seed).map(round), floats(x.size, seed + 1).map(round), floats(length, seed + 2), new Float32Array(dx.size)]
  const all = Array.from({ length: rows }, (_, r) => statistics(Array.from({ length }, (__, i) => at(input, x, [r, i])), centred))
  await run({ rows, length, centred, dy, x, dx }, [upstream, input, weight, Float32Array.from(all, (s) => s.mu), Float32Array.from(all, (s) => s.rstd), output])
  all.forEach(({ mu, rstd }, r) => {
    const g = Array.from({ length }, (_, i) => at(upstream, dy, [r, i]) * (weight[i] ?? 0))
    const hat = Array.from({ length }, (_, i) => (at(input, x, [r, i]) - mu) * rstd)
    const [first, second] = [centred ? mean(g) : 0, mean(g.map((v, i) => v * (hat[i] ?? 0)))]
    g.forEach((v, i) => expectClose(at(output, dx, [r, i]), rstd * (v - first - (hat[i] ?? 0) * second), 4e-6 * (1 + rstd) + tolerance, `dx ${r},${i}`))
  })
}
