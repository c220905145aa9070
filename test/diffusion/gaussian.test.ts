/** The exact distribution of samples of Gaussian data (bench/gaussian.ts) against closed forms and against samples. */
import { describe, expect, test } from 'vitest'
import { device } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { gaussianDenoiser, imageLike, outcome, wasserstein } from '../../bench/gaussian.ts'
import { ancestralEuler, ddim, dpmSolver2M, dpmSolverSde, edmPath, flowPath, heun, karras, levels, saSolver, sample } from '../../diffusion/index.ts'
import { beginsWith } from '../../diffusion/sample.ts'

const reference = await device('reference')
const data = { means: [0.3, -1], deviations: [0.5, 0.05] }
const path = edmPath()

test('Euler’s method multiplies x − μ by Π (1 + (σ\' − σ)·σ/(σ² + s²))', async () => {
  const grid = levels(path, 12, karras())
  const found = await outcome(ddim(), path, grid, data, reference)
  for (const [i, s] of data.deviations.entries()) {
    const factor = grid.slice(1).reduce((product, { sigma }, k) => product * (1 + ((sigma - at(grid, k).sigma) * at(grid, k).sigma) / (at(grid, k).sigma ** 2 + s ** 2)), 1)
    expect(at(found.deviations, i)).toBeCloseTo(Math.abs(factor) * beginsWith(path, at(grid, 0)), 10)
    expect(at(found.means, i)).toBeCloseTo(at(data.means, i) * (1 - factor), 10)
  }
  expect(wasserstein(data, data)).toBe(0)
  expect(wasserstein({ means: [3], deviations: [1] }, { means: [0], deviations: [5] })).toBe(5)
})

describe('what is computed is what is sampled', () => {
  test.each([ddim(), ancestralEuler(), heun(), dpmSolver2M({ eta: 1 }), dpmSolverSde(), saSolver()].map((sampler) => [sampler.name, sampler] as const))('%s, in 8 steps', async (_, sampler) => {
    const cpu = await device('cpu')
    for (const [one, grid] of [[path, levels(path, 8, karras())], [flowPath(), levels(flowPath(), 8)]] as const) {
      const found = await outcome(sampler, one, grid, data, reference)
      const count = 20_000
      const denoise = gaussianDenoiser({ means: data.means.slice(0, 1), deviations: data.deviations.slice(0, 1) }, cpu)
      const x = [...(await (await sample((y, level) => denoise(y, level), { path: one, levels: grid, sampler, shape: [count], seeds: [3], device: cpu })).data())]
      const mean = x.reduce((sum, v) => sum + v, 0) / count
      const deviation = Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / count)
      expect(Math.abs(mean - at(found.means, 0))).toBeLessThan((3.5 * deviation) / Math.sqrt(count))
      expect(Math.abs(deviation / at(found.deviations, 0) - 1)).toBeLessThan(3.5 / Math.sqrt(2 * count))
    }
  })
})

test('more steps bring the distribution nearer, and the order of samplers is that of theory', async () => {
  const images = imageLike(16)
  expect(images.deviations.reduce((sum, s) => sum + s * s, 0) / 16).toBeCloseTo(0.25, 12)
  const distance = async (sampler: Parameters<typeof outcome>[0], steps: number): Promise<number> => wasserstein(await outcome(sampler, path, levels(path, steps, karras()), images, reference), images)
  for (const sampler of [ddim(), heun(), dpmSolver2M(), ancestralEuler()]) expect(await distance(sampler, 40)).toBeLessThan(0.6 * (await distance(sampler, 20)))
  expect(await distance(dpmSolver2M(), 20)).toBeLessThan(await distance(ddim(), 20))
})
