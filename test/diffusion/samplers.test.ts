/** Schedules, conversions and samplers against closed forms: of a normal distribution every denoiser is known. */
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { denoiserOf } from '../../diffusion/denoiser.ts'
import type { Denoiser } from '../../diffusion/denoiser.ts'
import { diffusionLoss } from '../../diffusion/loss.ts'
import { addNoise, cleanOf, noiseOf, targetOf } from '../../diffusion/parameterization.ts'
import type { Prediction } from '../../diffusion/parameterization.ts'
import { ddim } from '../../diffusion/samplers.ts'
import { NoiseSchedule } from '../../diffusion/schedule.ts'
import { ConfigError, RandomGenerator, add, device as openDevice, mul, normal, realize, sub, tensor } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'

let device: Device
let cpu: Device
beforeAll(async () => {
  device = await openDevice('reference')
  cpu = await openDevice('cpu', { makeDefault: false })
})
afterAll(async () => {
  await device.close()
  await cpu.close()
})

describe('NoiseSchedule', () => {
  const schedule = NoiseSchedule.linear()

  test('linear: the values of DDPM', () => {
    expect(schedule.timesteps).toBe(1000)
    expect(schedule.alphaBar[999]).toBeCloseTo(4.0358297654e-5, 14)
    expect(schedule.sigmas[999]).toBeCloseTo(157.40728, 4)
    for (let t = 0; t < 1000; t += 37) {
      const [a = 0, s = 0, sigma = 0] = [schedule.signal[t], schedule.noise[t], schedule.sigmas[t]]
      expect(a * a + s * s).toBeCloseTo(1, 14)
      expect(s / a / sigma).toBeCloseTo(1, 12)
    }
  })

  test('timestepOf is the inverse of the table, and monotone between', () => {
    for (let t = 0; t < 1000; t += 13) expect(schedule.timestepOf(schedule.sigmas[t] ?? 0)).toBeCloseTo(t, 8)
    expect([0, 1e-9, 1e9].map((sigma) => schedule.timestepOf(sigma))).toEqual([0, 0, 999])
    const t = schedule.timestepOf(Math.sqrt((schedule.sigmas[500] ?? 0) * (schedule.sigmas[501] ?? 0)))
    expect(t).toBeCloseTo(500.5, 8)
  })

  test('levels start from the last timestep and end in 0', () => {
    expect(schedule.levels(10)).toEqual([...[999, 899, 799, 699, 599, 499, 399, 299, 199, 99].map((t) => schedule.sigmas[t]), 0])
    expect(schedule.levels(1000)).toEqual([...schedule.sigmas.toReversed(), 0])
    expect(() => schedule.levels(1001)).toThrow('levels: 1001 steps cannot be taken through 1000 timesteps; use an integer from 1 to 1000')
  })

  test('betas outside (0, 1) are an error', () => {
    expect(() => new NoiseSchedule(Float64Array.of(0.1, 1))).toThrow(ConfigError)
    expect(() => new NoiseSchedule(Float64Array.of())).toThrow('NoiseSchedule: every beta must lie strictly between 0 and 1, and there must be one')
  })
})

test('what a network says can be converted there and back', async () => {
  const value = fc.double({ min: -3, max: 3, noNaN: true })
  await fc.assert(
    fc.asyncProperty(fc.constantFrom<Prediction>('eps', 'x0', 'v'), fc.double({ min: 0.05, max: 1.5, noNaN: true }), value, value, async (prediction, angle, clean, noise) => {
      const level = { a: Math.cos(angle), s: Math.sin(angle) }
      const [x0, eps] = [tensor([clean], null, { dtype: 'f64', device }), tensor([noise], null, { dtype: 'f64', device })]
      const x = addNoise(x0, eps, level)
      const said = targetOf(prediction, x0, eps, level)
      expect(Math.abs((await cleanOf(prediction, said, x, level).item()) - clean)).toBeLessThan(1e-9)
      expect(Math.abs((await noiseOf(prediction, said, x, level).item()) - noise)).toBeLessThan(1e-9)
    }),
    { numRuns: 60 },
  )
})

/** E[x₀ | x] of x₀ ~ N(mean, deviation²) in each coordinate. */
function gaussian(mean: number, deviation: number): Denoiser {
  return (x, sigma) => {
    const total = sigma ** 2 + deviation ** 2
    return add(mul(x, deviation ** 2 / total), (mean * sigma ** 2) / total)
  }
}

async function last(steps: Iterable<{ readonly x: Tensor }>): Promise<number[]> {
  let x: Tensor | undefined
  for (const step of steps) {
    x = step.x
    await realize(x)
  }
  return x === undefined ? [] : [...(await x.data())]
}

const moments = (values: readonly number[]): [mean: number, deviation: number] => {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length
  return [mean, Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length)]
}

describe('ddim', () => {
  const schedule = NoiseSchedule.linear()

  test('follows the probability-flow ODE of a normal distribution', async () => {
    // Its solution keeps (x − mean)/√(σ² + deviation²) as it is.
    const [mean, deviation] = [0.3, 0.5]
    const [start = 0] = schedule.levels(1)
    const from = [-200, -30, 10, 150]
    const exact = from.map((x) => mean + ((x - mean) * deviation) / Math.hypot(start, deviation))
    const errors = await Promise.all([250, 500, 1000].map(async (n) => {
      const got = await last(ddim(gaussian(mean, deviation), tensor(from, null, { dtype: 'f64', device }), schedule.levels(n)))
      return Math.max(...got.map((x, i) => Math.abs(x - (exact[i] ?? 0))))
    }))
    const [coarse = 0, , fine = 1] = errors
    expect(fine).toBeLessThan(5e-3)
    expect(coarse / fine).toBeGreaterThan(2) // Euler's method: first order.
  })

  test.each([0, 0.5, 1])('with eta %s the samples have the distribution', async (eta) => {
    const [mean, deviation] = [-0.4, 0.7]
    const generator = new RandomGenerator(3)
    const draw = (): Tensor => normal([4096], { generator, device: cpu })
    const levels = schedule.levels(100)
    const samples = await last(ddim(gaussian(mean, deviation), mul(draw(), levels[0] ?? 0), levels, { eta, noise: draw }))
    const [m, d] = moments(samples)
    expect(Math.abs(m - mean)).toBeLessThan(0.05)
    expect(Math.abs(d - deviation)).toBeLessThan(0.08) // The ancestral steps are of first order too.
  })

  test('the noise of a step from timestep t to t′ has the variance of the paper', () => {
    // eq. 16 for η = 1, in x_t: (1−ᾱ′)/(1−ᾱ)·(1 − ᾱ/ᾱ′); values of diffusers' DDIM tests.
    const variance = (t: number, to: number): number => {
      const [sigma = 0, next = 0, alphaBar = 0] = [schedule.sigmas[t], schedule.sigmas[to], schedule.alphaBar[to]]
      return next ** 2 * (1 - (next / sigma) ** 2) * alphaBar
    }
    expect(variance(420, 400)).toBeCloseTo(0.14771, 4)
    expect(variance(980, 960)).toBeCloseTo(0.3246, 4)
  })

  test('a network is asked for its scaled input at the timestep of the noise level', async () => {
    const asked: { x: number; t: number }[] = []
    const seen: Tensor[] = []
    const denoise = denoiserOf((x, t) => {
      seen.push(x, t.read())
      return mul(x, 0)
    }, schedule)
    const sigma = schedule.sigmas[300] ?? 0
    const x0 = await denoise(tensor([2], null, { dtype: 'f64', device }), sigma).item()
    for (let i = 0; i < seen.length; i += 2) asked.push({ x: (await seen[i]?.item()) ?? 0, t: (await seen[i + 1]?.item()) ?? 0 })
    expect(asked[0]?.x).toBeCloseTo(2 / Math.hypot(1, sigma), 12)
    expect(asked[0]?.t).toBeCloseTo(300, 6)
    expect(x0).toBeCloseTo(2, 12) // No noise at all: x itself is clean.
  })

  test('levels that do not descend to 0, and missing noise, are errors', () => {
    const x = tensor([1], null, { device })
    const run = (levels: number[], eta = 0): unknown => ddim((y) => sub(y, 0), x, levels, { eta }).next()
    expect(() => run([1, 2, 0])).toThrow('ddim: noise level 2 follows 1, but they must descend')
    expect(() => run([1])).toThrow('ddim: noise levels must end in 0 and be at least two; use NoiseSchedule.levels')
    expect(() => run([1, 0], 1)).toThrow('ddim: eta is 1, which needs noise; pass { noise }, or eta 0')
  })
})

test.each(['v_prediction', 'epsilon', 'sample', 'EPS', '', undefined, null])('a prediction that is none, %o, is refused by all that take one, before a network is called', (word) => {
  const x = tensor([1], null, { device })
  const network = (): Tensor => {
    throw new Error('the network was called')
  }
  const schedule = NoiseSchedule.linear()
  const level = { a: 1, s: 1 }
  const calls: Record<string, readonly [run: (...given: never[]) => unknown, ...given: readonly unknown[]]> = {
    targetOf: [targetOf, word, x, x, level],
    cleanOf: [cleanOf, word, x, x, level],
    noiseOf: [noiseOf, word, x, x, level],
    ...(word !== undefined && { // Left out, it has a default.
      denoiserOf: [denoiserOf, network, schedule, word],
      diffusionLoss: [diffusionLoss, network, x, { schedule, t: tensor([1], null, { device, dtype: 'i32' }), eps: x, prediction: word }],
    }),
  }
  for (const [name, [run, ...given]] of Object.entries(calls)) {
    const call = (): unknown => Reflect.apply(run, undefined, given)
    expect(call).toThrow(ConfigError)
    expect(call).toThrow(`${name}: prediction is "${word}"; use eps, x0 or v (diffusers' epsilon, sample and v_prediction)`)
  }
})
