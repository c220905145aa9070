import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { groupNormKernel } from '../../kernels/wasm/groupNorm.ts'
import { groupNormGradKernel } from '../../kernels/wasm/groupNormGrad.ts'
import { anyLayout, at, expectClose, floats, launch, layout, place, positions, target } from './launch-rows.ts'

const sizes = fc.record({
  batch: fc.integer({ min: 1, max: 3 }), groups: fc.integer({ min: 1, max: 9 }), perGroup: fc.integer({ min: 1, max: 9 }),
  spatial: fc.constantFrom(1, 2, 3, 4, 15, 16, 17, 33, 300), silu: fc.boolean(), x: anyLayout, y: anyLayout, shift: fc.constantFrom(0, 0, 100),
})
const epsilon = 1e-5

interface Case { batch: number; groups: number; perGroup: number; spatial: number; silu: boolean }

/** Statistics and normalised values in float64. */
function reference({ batch, groups, perGroup, spatial }: Case, x: (n: number, c: number, s: number) => number): { mean: number[]; rstd: number[] } {
  const mean: number[] = []
  const rstd: number[] = []
  for (let n = 0; n < batch; n++) {
    for (let g = 0; g < groups; g++) {
      const values: number[] = []
      for (let c = g * perGroup; c < (g + 1) * perGroup; c++) for (let s = 0; s < spatial; s++) values.push(x(n, c, s))
      const m = values.reduce((a, b) => a + b, 0) / values.length
      mean.push(m)
      rstd.push(1 / Math.sqrt(values.reduce((a, b) => a + (b - m) ** 2, 0) / values.length + epsilon))
    }
  }
  return { mean, rstd }
}
const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z))

describe('groupNormKernel', () => {
  it('equals float64 loops', () => {
    fc.assert(fc.property(sizes, fc.nat(1000), (o, seed) => {
      const channels = o.groups * o.perGroup
      const shape = [o.batch, channels, o.spatial]
      const [x, y] = [layout(shape, o.x), layout(shape, o.y)]
      const input = floats(x.size, seed, o.shift)
      const [weight, bias] = [floats(channels, seed + 1), floats(channels, seed + 2)]
      const [output, mean, rstd] = [new Float32Array(y.size), new Float32Array(o.batch * o.groups), new Float32Array(o.batch * o.groups)]
      launch(groupNormKernel({ ...o, channels, x, y, epsilon }, target), [input, weight, bias, output, mean, rstd], seed)
      const expected = reference(o, (n, c, s) => at(input, x, [n, c, s]))
      mean.forEach((m, i) => expectClose(m, expected.mean[i] ?? 0, 1e-6, `mean ${i}`))
      rstd.forEach((r, i) => expectClose(r, expected.rstd[i] ?? 0, o.shift > 0 ? 1e-4 : 5e-6, `rstd ${i}`))
      const written = new Set<number>()
      for (const [n = 0, c = 0, s = 0] of positions(shape)) {
        const g = n * o.groups + Math.floor(c / o.perGroup)
        const z = (at(input, x, [n, c, s]) - (mean[g] ?? 0)) * (rstd[g] ?? 0) * (weight[c] ?? 0) + (bias[c] ?? 0)
        expectClose(at(output, y, [n, c, s]), o.silu ? z * sigmoid(z) : z, 3e-6, `y ${[n, c, s].join()}`)
        written.add(place(y, [n, c, s]))
      }
      output.forEach((v, i) => written.has(i) || expect(v).toBe(0))
    }), { numRuns: 60 })
  })
})

describe('groupNormGradKernel', () => {
  it('equals the gradient in float64', () => {
    fc.assert(fc.property(sizes, anyLayout, fc.nat(1000), (o, dyLayout, seed) => {
      const channels = o.groups * o.perGroup
      const shape = [o.batch, channels, o.spatial]
      const [dy, x, dx] = [layout(shape, dyLayout), layout(shape, o.x), layout(shape, o.y)]
      const [upstream, input] = [floats(dy.size, seed), floats(x.size, seed + 3)]
      const [weight, bias] = [floats(channels, seed + 1), floats(channels, seed + 2)]
      const { mean, rstd } = reference(o, (n, c, s) => at(input, x, [n, c, s]))
      const output = new Float32Array(dx.size)
      const [dweight, dbias] = [new Float32Array(o.batch * channels), new Float32Array(o.batch * channels)]
      launch(groupNormGradKernel({ ...o, channels, dy, x, dx }, target), [upstream, input, weight, bias, Float32Array.from(mean), Float32Array.from(rstd), output, dweight, dbias], seed)
      const hat = (n: number, c: number, s: number): number => {
        const g = n * o.groups + Math.floor(c / o.perGroup)
        return (at(input, x, [n, c, s]) - (mean[g] ?? 0)) * (rstd[g] ?? 0)
      }
      const dz = (n: number, c: number, s: number): number => {
        const z = hat(n, c, s) * (weight[c] ?? 0) + (bias[c] ?? 0)
        return at(upstream, dy, [n, c, s]) * (o.silu ? sigmoid(z) * (1 + z * (1 - sigmoid(z))) : 1)
      }
      for (let n = 0; n < o.batch; n++) {
        for (let g = 0; g < o.groups; g++) {
          let [first, second] = [0, 0]
          for (let c = g * o.perGroup; c < (g + 1) * o.perGroup; c++) {
            let [toBias, toWeight] = [0, 0]
            for (let s = 0; s < o.spatial; s++) {
              toBias += dz(n, c, s)
              toWeight += dz(n, c, s) * hat(n, c, s)
            }
            expectClose(dbias[n * channels + c] ?? 0, toBias, 1e-5, 'dbias')
            expectClose(dweight[n * channels + c] ?? 0, toWeight, 1e-5, 'dweight')
            first += (weight[c] ?? 0) * toBias
            second += (weight[c] ?? 0) * toWeight
          }
          const count = o.perGroup * o.spatial
          const r = rstd[n * o.groups + g] ?? 0
          for (let c = g * o.perGroup; c < (g + 1) * o.perGroup; c++) {
            for (let s = 0; s < o.spatial; s++) {
              const expected = r * (dz(n, c, s) * (weight[c] ?? 0) - first / count - (hat(n, c, s) * second) / count)
              expectClose(at(output, dx, [n, c, s]), expected, 2e-6 * (1 + r), `dx ${[n, c, s].join()}`)
            }
          }
        }
      }
    }), { numRuns: 60 })
  })
})
