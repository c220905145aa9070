/** Statistics of values around a large mean, on every device: as accurate as those around 0, and of constants nothing is left. */
import { afterAll, expect } from 'vitest'
import { full, grad, groupNorm, layerNorm, mul, setDefaultDevice, std, sum, tensor, variance, withDefaultDevice } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { BatchNorm2d } from '../../nn/index.ts'
import { uniform } from '../../testing/samples.ts'
import { closeAll, onEach, openAll } from '../devices.ts'

const opened = await openAll()
afterAll(async () => closeAll(opened))

const shape = [2, 3, 61, 67]
const places = 61 * 67
const values = Float32Array.from({ length: 2 * 3 * places }, (_, i) => 1e4 + 3.46 * (uniform(5, i) - 0.5))
const slopes = Float32Array.from(values, (_, i) => uniform(6, i) - 0.5)

/** In float64, over the elements whose numbers `of` gives: y, and the gradient of Σ y·slope. */
function normal(of: readonly number[]): { readonly y: number[]; readonly dx: number[] } {
  const x = of.map((i) => values[i] ?? NaN)
  const average = (f: (k: number) => number): number => x.reduce((total, _, k) => total + f(k), 0) / x.length
  const mean = average((k) => x[k] ?? NaN)
  const rstd = 1 / Math.sqrt(average((k) => ((x[k] ?? NaN) - mean) ** 2) + 1e-5)
  const y = x.map((v) => (v - mean) * rstd)
  const g = of.map((i) => slopes[i] ?? NaN)
  const [first, second] = [average((k) => g[k] ?? NaN), average((k) => (g[k] ?? NaN) * (y[k] ?? NaN))]
  return { y, dx: y.map((v, k) => rstd * ((g[k] ?? NaN) - first - v * second)) }
}

const all = Array.from(values, (_, i) => i)
const inGroup = (group: (i: number) => number): number[][] => [...new Set(all.map(group))].map((own) => all.filter((i) => group(i) === own))
const norms: Readonly<Record<string, { readonly norm: (x: Tensor) => Tensor; readonly groups: readonly number[][] }>> = {
  groupNorm: { norm: (x) => groupNorm(x, 1), groups: inGroup((i) => Math.floor(i / (3 * places))) },
  layerNorm: { norm: (x) => layerNorm(x, [61, 67]), groups: inGroup((i) => Math.floor(i / places)) },
  BatchNorm2d: { norm: (x) => new BatchNorm2d(3, { affine: false }).call(x), groups: inGroup((i) => Math.floor(i / places) % 3) },
}

for (const [name, { norm, groups }] of Object.entries(norms)) {
  onEach(opened, `${name} and its gradient of mean 10⁴ and deviation 1`, async (device: Device) => {
    const [y, dx] = withDefaultDevice(device, () => {
      const x = tensor(values, shape)
      const result = norm(x)
      return [result, grad(sum(mul(result, tensor(slopes, shape))), x)]
    })
    const [gotY, gotDx] = [await y.data(), await dx.data()]
    for (const own of groups) {
      const exact = normal(own)
      const worst = (got: ArrayLike<number>, expected: readonly number[]): number => own.reduce((most, i, k) => Math.max(most, Math.abs((got[i] ?? NaN) - (expected[k] ?? NaN))), 0)
      expect(worst(gotY, exact.y)).toBeLessThan(5e-6)
      // Of the mean they have what f32 holds.
      expect(worst(gotDx, exact.dx)).toBeLessThan(2e-5)
    }
  })
}

onEach(opened, 'variance and std of constants, and of mean 10⁴', async (device: Device) => {
  setDefaultDevice(device)
  for (const value of [0.1, 1234.567, 12_345.678]) for (const n of [7, 324, 100_003]) expect([await variance(full([n], value)).item(), await std(full([n], value)).item()], `${n} of ${value}`).toEqual([0, 0])
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const exact = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1)
  expect(Math.abs((await variance(tensor(values)).item()) / exact - 1)).toBeLessThan(2e-7)
  const norm = new BatchNorm2d(2, { affine: false })
  expect(Math.max(...(await norm.call(full([2, 2, 30, 31], 12_345.678)).data()).map(Math.abs))).toBeLessThan(1e-3)
})
