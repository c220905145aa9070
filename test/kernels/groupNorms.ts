/** Float64 loops for group norm and its gradient, to which the tests of every device's kernels hold them. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { GroupNormDescriptor, GroupNormGradDescriptor } from '../../kernels/ir/descriptor.ts'
import { anyLayout, at, expectClose, floats, layout, type LayoutName, place, positions, type Precision, type Run, singles } from './launch-rows.ts'

export interface GroupNormCase {
  readonly batch: number
  readonly groups: number
  readonly perGroup: number
  readonly spatial: number
  readonly silu: boolean
  readonly shift: number
  readonly x: LayoutName
  readonly y: LayoutName
  readonly dy: LayoutName
}

export const groupNormCases: fc.Arbitrary<GroupNormCase> = fc.record({
  batch: fc.integer({ min: 1, max: 3 }), groups: fc.integer({ min: 1, max: 9 }), perGroup: fc.integer({ min: 1, max: 9 }),
  spatial: fc.constantFrom(1, 2, 3, 4, 15, 16, 17, 33, 300), silu: fc.boolean(), x: anyLayout, y: anyLayout, dy: anyLayout, shift: fc.constantFrom(0, 100, 10_000),
})

const eps = 1e-5
const ulp = (x: number): number => 2 ** -23 * Math.abs(x)
const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z))

/** Statistics of every group in float64. */
function statistics({ batch, groups, perGroup, spatial }: GroupNormCase, x: (n: number, c: number, s: number) => number): { mean: number[]; rstd: number[] } {
  const mean: number[] = []
  const rstd: number[] = []
  for (let n = 0; n < batch; n++) {
    for (let g = 0; g < groups; g++) {
      const values: number[] = []
      for (let c = g * perGroup; c < (g + 1) * perGroup; c++) for (let s = 0; s < spatial; s++) values.push(x(n, c, s))
      const m = values.reduce((a, b) => a + b, 0) / values.length
      mean.push(m)
      rstd.push(1 / Math.sqrt(values.reduce((a, b) => a + (b - m) ** 2, 0) / values.length + eps))
    }
  }
  return { mean, rstd }
}

export async function checkGroupNorm(o: GroupNormCase, seed: number, run: Run<GroupNormDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const channels = o.groups * o.perGroup
  const shape = [o.batch, channels, o.spatial]
  const [x, y] = [layout(shape, o.x), layout(shape, o.y)]
  const input = floats(x.size, seed, o.shift).map(round)
  const [weight, bias] = [floats(channels, seed + 1), floats(channels, seed + 2)]
  const [output, mean, rstd] = [new Float32Array(y.size), new Float32Array(o.batch * o.groups), new Float32Array(o.batch * o.groups)]
  await run({ batch: o.batch, channels, groups: o.groups, spatial: o.spatial, silu: o.silu, x, y, eps }, [input, weight, bias, output, mean, rstd])
  const expected = statistics(o, (n, c, s) => at(input, x, [n, c, s]))
  mean.forEach((m, i) => expectClose(m, expected.mean[i] ?? 0, 1e-6, `mean ${i}`))
  rstd.forEach((r, i) => expectClose(r, expected.rstd[i] ?? 0, 5e-6 + 0.3 * ulp(o.shift), `rstd ${i}`))
  const written = new Set<number>()
  for (const [n = 0, c = 0, s = 0] of positions(shape)) {
    const g = n * o.groups + Math.floor(c / o.perGroup)
    const scale = (expected.rstd[g] ?? 0) * (weight[c] ?? 0)
    const z = (at(input, x, [n, c, s]) - (expected.mean[g] ?? 0)) * scale + (bias[c] ?? 0)
    // As much as a mean in f32 is off by.
    expectClose(at(output, y, [n, c, s]), o.silu ? z * sigmoid(z) : z, 5e-6 + Math.abs(scale) * ulp(o.shift) + tolerance, `y ${[n, c, s].join()}`)
    written.add(place(y, [n, c, s]))
  }
  output.forEach((v, i) => written.has(i) || expect(v).toBe(0))
}

/** Values that are all one, of which several sizes are added up in several ways: nothing is left but the bias. */
export async function checkConstantGroups(run: Run<GroupNormDescriptor>): Promise<void> {
  for (const [channels, spatial] of [[1, 1], [4, 81], [4, 3600], [32, 4096], [3, 70_001]] as const) {
    for (const [value, lastChannels] of [[0.1, false], [12_345.678, true], [-1e6, false], [2 ** -120, true]] as const) {
      const x = { strides: lastChannels ? [0, 1, channels] : [0, spatial, 1], offset: 0 }
      const [input, bias] = [new Float32Array(channels * spatial).fill(value), floats(channels, 7)]
      const [y, mean, rstd] = [new Float32Array(input.length), new Float32Array(1), new Float32Array(1)]
      await run({ batch: 1, channels, groups: 1, spatial, silu: false, x, y: x, eps }, [input, floats(channels, 3), bias, y, mean, rstd])
      expect([mean[0], rstd[0]], `${channels} × ${spatial} of ${value}`).toEqual([Math.fround(value), expect.closeTo(1 / Math.sqrt(eps), 3)])
      const wrong = y.findIndex((v, i) => !(Math.abs(v - (bias[lastChannels ? i % channels : Math.floor(i / spatial)] ?? NaN)) < 1e-5))
      expect(wrong, `${channels} × ${spatial} of ${value}: element ${wrong} is ${y[wrong]}`).toBe(-1)
    }
  }
}

export async function checkGroupNormGrad(o: GroupNormCase, seed: number, run: Run<GroupNormGradDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const channels = o.groups * o.perGroup
  const shape = [o.batch, channels, o.spatial]
  const [dy, x, dx] = [layout(shape, o.dy), layout(shape, o.x), layout(shape, o.y)]
  const [upstream, input] = [floats(dy.size, seed).map(round), floats(x.size, seed + 3).map(round)]
  const [weight, bias] = [floats(channels, seed + 1), floats(channels, seed + 2)]
  const { mean, rstd } = statistics(o, (n, c, s) => at(input, x, [n, c, s]))
  const output = new Float32Array(dx.size)
  const [dweight, dbias] = [new Float32Array(o.batch * channels), new Float32Array(o.batch * channels)]
  await run({ batch: o.batch, channels, groups: o.groups, spatial: o.spatial, silu: o.silu, dy, x, dx }, [upstream, input, weight, bias, Float32Array.from(mean), Float32Array.from(rstd), output, dweight, dbias])
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
        let [toBias, toWeight, size] = [0, 0, 0]
        for (let s = 0; s < o.spatial; s++) {
          toBias += dz(n, c, s)
          toWeight += dz(n, c, s) * hat(n, c, s)
          size += Math.abs(dz(n, c, s)) * Math.max(1, Math.abs(hat(n, c, s)))
        }
        const rounding = 1e-5 + size * 2 ** -23 // A sum in f32 loses in proportion to what is added, not to what is left of it.
        expectClose(dbias[n * channels + c] ?? 0, toBias, rounding, 'dbias')
        expectClose(dweight[n * channels + c] ?? 0, toWeight, rounding, 'dweight')
        first += (weight[c] ?? 0) * toBias
        second += (weight[c] ?? 0) * toWeight
      }
      const count = o.perGroup * o.spatial
      const r = rstd[n * o.groups + g] ?? 0
      for (let c = g * o.perGroup; c < (g + 1) * o.perGroup; c++) {
        for (let s = 0; s < o.spatial; s++) {
          const expected = r * (dz(n, c, s) * (weight[c] ?? 0) - first / count - (hat(n, c, s) * second) / count)
          expectClose(at(output, dx, [n, c, s]), expected, 2e-6 * (1 + r) + tolerance, `dx ${[n, c, s].join()}`)
        }
      }
    }
  }
}
