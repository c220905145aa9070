/** Samplers on a mixture of Gaussians, whose score is known: the moments of what they draw, and their order, where the ODE is not linear. */
import { describe, expect, test } from 'vitest'
import { add, device, div, exp, mul, narrow, realize, square, sub, sum, tensor } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import {
  ancestralDpm2, ancestralEuler, ddim, ddpm, discretePath, dpmSolver2M, dpmSolver2S, dpmSolver3M, dpmSolver3S, dpmSolverSde, edmPath, edmStochastic, flowPath, heun, ipndm, karras, levels, midpoint, plms, rk4, saSolver, sample, scaledLinearBetas, unipc, zeroTerminalSnr,
} from '../../diffusion/index.ts'
import type { Denoiser, HostLevel, NoisePath, Sampler, SamplerState } from '../../diffusion/index.ts'
import { Prediction } from '../../diffusion/prediction.ts'

/** Points of the plane, x [B, 2, N]. */
const components = [
  { share: 0.35, mean: [-1, 0.5], deviation: 0.3 },
  { share: 0.65, mean: [0.8, -0.2], deviation: 0.5 },
] as const

/** E[x₀ | x] = Σ wₖ·(α·sₖ²·x + σ²·μₖ)/(α²·sₖ² + σ²), w the components' shares in x. */
const denoise: Denoiser = (x, level) => {
  const { alpha, sigma } = level
  const at64 = (values: readonly number[]): Tensor => tensor([...values], [1, 2, 1], { device: x.device, dtype: x.dtype === 'f64' ? 'f64' : 'f32' })
  const parts = components.map(({ share, mean, deviation }) => {
    const total = (alpha * deviation) ** 2 + sigma ** 2
    const distance = sum(square(sub(x, at64(mean.map((m) => alpha * m)))), 1, { keepDims: true })
    return { log: add(mul(distance, -0.5 / total), Math.log(share / total)), image: add(mul(x, (alpha * deviation ** 2) / total), at64(mean.map((m) => (m * sigma ** 2) / total))) }
  })
  const [one, two] = parts
  if (one === undefined || two === undefined) throw new Error('two components')
  const share = div(1, add(exp(sub(two.log, one.log).clamp(-60, 60)), 1))
  return Prediction.ofImage(add(mul(one.image, share), mul(two.image, sub(1, share))), x, level)
}

const moment = (of: (point: (typeof components)[number]) => number): number => components.reduce((total, one) => total + one.share * of(one), 0)
const means = [0, 1].map((i) => moment(({ mean }) => at(mean, i)))
const covariance = (i: number, j: number): number => moment(({ mean, deviation }) => (at(mean, i) - at(means, i)) * (at(mean, j) - at(means, j)) + (i === j ? deviation ** 2 : 0))

describe('mean and covariance, within three standard errors', () => {
  const paths: readonly (readonly [NoisePath, readonly HostLevel[]])[] = [
    [edmPath(), levels(edmPath(), 250, karras())],
    [flowPath(), levels(flowPath(), 400)],
    [zeroTerminalSnr(discretePath(scaledLinearBetas())), levels(zeroTerminalSnr(discretePath(scaledLinearBetas())), 1000)],
  ]
  const samplers: readonly Sampler[] = [ancestralEuler(), ddpm(), ddpm({ variance: 'large' }), edmStochastic({ churn: 40, least: 0.05, most: 50 }), ancestralDpm2(), dpmSolver2M({ eta: 1 }), dpmSolver2S({ eta: 1 }), dpmSolver3M({ eta: 1 }), dpmSolverSde(), saSolver()]
  test.each(paths.flatMap(([path, grid]) => samplers.map((sampler, i) => [`${path.name}: ${sampler.name} (${i})`, path, grid, sampler] as const)))('%s', async (_, path, grid, sampler) => {
    const count = 4000
    const x = await sample(denoise, { path, levels: grid, sampler, shape: [2, count], seeds: [17], device: await device('cpu') })
    const points = await Promise.all([0, 1].map(async (i) => [...(await narrow(x, 1, i, 1).data())]))
    const found = points.map((values) => values.reduce((total, v) => total + v, 0) / count)
    // What the steps leave is a hundredth of the data's variance at most.
    for (const i of [0, 1]) expect(Math.abs(at(found, i) - at(means, i))).toBeLessThan(3 * Math.sqrt(covariance(i, i) / count) + 0.01)
    for (const [i, j] of [[0, 0], [0, 1], [1, 1]] as const) {
      const products = at(points, i).map((v, k) => (v - at(found, i)) * (at(at(points, j), k) - at(found, j)))
      const mean = products.reduce((total, v) => total + v, 0) / count
      const error = Math.sqrt(products.reduce((total, v) => total + (v - mean) ** 2, 0)) / count
      expect(Math.abs(mean - covariance(i, j))).toBeLessThan(3 * error + 0.01)
    }
  })
})

describe('order, where the ODE is not linear', () => {
  const path = edmPath()
  const run = async (sampler: Sampler, steps: number): Promise<number[]> => {
    const reference = await device('reference')
    const grid = levels(path, steps, karras({ most: 20, least: 0.05 }), { end: 'last' })
    const none = (): Tensor => { throw new Error('no noise here') }
    let state: SamplerState = { step: 0, x: tensor(Float64Array.of(15, -8, 3, 20, -12, 1), [1, 2, 3], { device: reference, dtype: 'f64' }), memory: {}, numbers: {} }
    while (state.step + 1 < grid.length) {
      const { memory = {}, numbers = {}, step, x } = await sampler.step(state, { path, levels: grid, denoise: (y, level) => denoise(y, level, {}), noise: none })
      state = { step, x, memory, numbers }
      await realize(x, ...Object.values(memory))
    }
    return [...(await state.x.data())].map(Number)
  }
  const cases: readonly (readonly [Sampler, number])[] = [[ddim(), 1], [heun(), 2], [dpmSolver2M(), 2], [dpmSolver2S(), 2], [unipc({ order: 1 }), 2], [unipc(), 3], [dpmSolver3M(), 3], [dpmSolver3S(), 3], [saSolver({ tau: 0, predictor: 1 }), 2], [saSolver({ tau: 0, predictor: 2, corrector: 3 }), 3], [midpoint(), 2], [ipndm({ order: 2 }), 1], [plms(), 1]]
  test.each(cases.map(([sampler, order]) => [sampler.name, order, sampler] as const))('%s, %s', async (_, order, sampler) => {
    const exact = await run(rk4(), 600)
    const error = async (steps: number): Promise<number> => Math.max(...(await run(sampler, steps)).map((x, i) => Math.abs(x - at(exact, i))))
    expect(Math.log2((await error(60)) / (await error(120)))).toBeGreaterThan(order - 0.35)
  })
})
