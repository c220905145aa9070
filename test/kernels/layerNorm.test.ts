import fc from 'fast-check'
import { expect, it } from 'vitest'
import { layerNormGradKernel, layerNormKernel } from '../../kernels/wasm/layerNorm.ts'
import { anyLayout, at, expectClose, floats, launch, layout, target } from './launch-rows.ts'

const sizes = fc.record({
  rows: fc.constantFrom(1, 3, 5), length: fc.constantFrom(1, 3, 4, 15, 16, 33, 100, 4099, 9000), centred: fc.boolean(), shift: fc.constantFrom(0, 100), a: anyLayout, b: anyLayout, c: anyLayout,
})
const epsilon = 1e-5
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** Of one row, in float64. */
function statistics(row: readonly number[], centred: boolean): { mu: number; rstd: number } {
  const mu = centred ? mean(row) : 0
  return { mu, rstd: 1 / Math.sqrt(mean(row.map((v) => (v - mu) ** 2)) + epsilon) }
}

it('equals float64 loops', () => {
  fc.assert(fc.property(sizes, fc.nat(1000), ({ rows, length, centred, shift, a, b }, seed) => {
    const [x, y] = [layout([rows, length], a), layout([rows, length], b)]
    const [input, weight, bias] = [floats(x.size, seed, shift), floats(length, seed + 1), floats(length, seed + 2)]
    const [output, means, rstds] = [new Float32Array(y.size), new Float32Array(rows), new Float32Array(rows)]
    launch(layerNormKernel({ rows, length, centred, x, y, epsilon }, target), [input, weight, bias, output, means, rstds], seed)
    for (let r = 0; r < rows; r++) {
      const row = Array.from({ length }, (_, i) => at(input, x, [r, i]))
      const { mu, rstd } = statistics(row, centred)
      expectClose(means[r] ?? NaN, mu, 1e-6, 'mean')
      expectClose(rstds[r] ?? NaN, rstd, length === 1 && centred ? 1 : shift > 0 ? 1e-4 : 5e-6, 'rstd') // of one element, the rounding of its mean
      row.forEach((v, i) => expectClose(at(output, y, [r, i]), (v - (means[r] ?? 0)) * (rstds[r] ?? 0) * (weight[i] ?? 0) + (bias[i] ?? 0), 3e-6, `y ${r},${i}`))
    }
  }), { numRuns: 60 })
})

it('equals the gradient in float64', () => {
  fc.assert(fc.property(sizes, fc.nat(1000), ({ rows, length, centred, a, b, c }, seed) => {
    const [dy, x, dx] = [layout([rows, length], a), layout([rows, length], b), layout([rows, length], c)]
    const [upstream, input, weight, output] = [floats(dy.size, seed), floats(x.size, seed + 1), floats(length, seed + 2), new Float32Array(dx.size)]
    const all = Array.from({ length: rows }, (_, r) => statistics(Array.from({ length }, (__, i) => at(input, x, [r, i])), centred))
    launch(layerNormGradKernel({ rows, length, centred, dy, x, dx }, target), [upstream, input, weight, Float32Array.from(all, (s) => s.mu), Float32Array.from(all, (s) => s.rstd), output], seed)
    all.forEach(({ mu, rstd }, r) => {
      const g = Array.from({ length }, (_, i) => at(upstream, dy, [r, i]) * (weight[i] ?? 0))
      const hat = Array.from({ length }, (_, i) => (at(input, x, [r, i]) - mu) * rstd)
      const [first, second] = [centred ? mean(g) : 0, mean(g.map((v, i) => v * (hat[i] ?? 0)))]
      g.forEach((v, i) => expectClose(at(output, dx, [r, i]), rstd * (v - first - (hat[i] ?? 0) * second), 4e-6 * (1 + rstd), `dx ${r},${i}`))
    })
  }), { numRuns: 60 })
})

it('does nothing without rows', () => {
  const strided = { strides: [5, 1], offset: 0 }
  expect(layerNormKernel({ rows: 0, length: 5, centred: true, x: strided, y: strided, epsilon }, target).items).toBe(0)
})
