/** Likelihoods of data whose density is known. */
import { describe, expect, test } from 'vitest'
import { add, div, exp, mul, softmax, square, stack, sum, tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { bitsPerDimension, cosinePath, discretePath, edmPath, flowPath, logLikelihood, noiseRatio, scaledLinearBetas, vePath, vpPath, zeroTerminalSnr } from '../../diffusion/index.ts'
import type { Denoiser, NoisePath } from '../../diffusion/index.ts'
import { leastLevel } from '../../diffusion/samplers/integrators.ts'
import { Prediction } from '../../diffusion/prediction.ts'
import { expectAll } from '../devices.ts'

const devices = await expectAll()
const paths: readonly NoisePath[] = [discretePath(), zeroTerminalSnr(discretePath(scaledLinearBetas())), vpPath(), vePath({ sigmaMin: 0.005 }), edmPath(), cosinePath(), flowPath(), flowPath({ shift: 3 })]
const normalLog = (x: number, mean: number, deviation: number): number => -((x - mean) ** 2) / (2 * deviation ** 2) - Math.log(deviation) - Math.log(2 * Math.PI) / 2

/** A mixture in each coordinate: E[x₀ | x] is the components' mean, weighed by what each has to do with x. */
const mixture = (components: readonly { readonly share: number; readonly mean: number; readonly deviation: number }[]) => {
  const denoise: Denoiser = (x, { t, alpha, sigma }) => {
    const total = components.map(({ deviation }) => (alpha * deviation) ** 2 + sigma ** 2)
    const weights = softmax(stack(components.map(({ share, mean }, i) => add(mul(square(add(x, -alpha * mean)), -0.5 / at(total, i)), Math.log(share) - Math.log(at(total, i)) / 2)), 0), 0)
    const means = stack(components.map(({ mean, deviation }, i) => add(mul(x, (alpha * deviation ** 2) / at(total, i)), (mean * sigma ** 2) / at(total, i))), 0)
    return Prediction.ofImage(sum(mul(weights, means), 0), x, { t, alpha, sigma })
  }
  /** With the noise of σ/α = `ratio`. */
  const density = (x: number, ratio: number): number => Math.log(components.reduce((p, { share, mean, deviation }) => p + share * Math.exp(normalLog(x, mean, Math.hypot(deviation, ratio))), 0))
  return { denoise, density }
}
const cases = {
  'a Gaussian': mixture([{ share: 1, mean: 0.3, deviation: 0.5 }]),
  'a mixture': mixture([{ share: 0.3, mean: -0.6, deviation: 0.2 }, { share: 0.7, mean: 0.5, deviation: 0.3 }]),
}
const points = [[-0.7, 0.1, 0.4, 0.6], [0.5, -0.5, 0.9, 0], [0, 0.3, 0.3, -1]]

describe.each(devices.filter(({ name }) => name !== 'reference').map((device) => [device.name, device] as const))('on %s', (_, device) => {
  describe.each(Object.entries(cases))('%s', (_, { denoise, density }) => {
    test.each(paths.map((path, i) => [`${path.name} (${i})`, path] as const))('%s: within 0.01 bit of the closed form', async (_, path) => {
      const images = tensor(points, null, { device })
      const found = await logLikelihood(denoise, images, { path, seeds: [1, 2, 3] })
      const bits = [...(await bitsPerDimension(found, [4]).data())]
      const ratio = noiseRatio(leastLevel(path))
      for (const [i, row] of points.entries()) {
        const wanted = -row.reduce((total, x) => total + density(x, ratio), 0) / (4 * Math.LN2) + Math.log2(127.5)
        expect(Math.abs(at(bits, i) - wanted), `${at(bits, i)} for ${wanted}`).toBeLessThan(0.01)
      }
      expect([...(await images.data())].map((x) => Math.fround(x))).toEqual(points.flat().map(Math.fround))
    })
  })
})

const device = devices.find(({ name }) => name === 'cpu') ?? at(devices, 0)

describe('Hutchinson’s estimate, where the coordinates depend on each other', () => {
  // Data N(0, C) of two coordinates with correlation ρ: E[x₀ | x] = α·C·(α²·C + σ²)⁻¹·x.
  const rho = 0.9
  const denoise: Denoiser = (x, { t, alpha, sigma }) => {
    const along = (variance: number): number => (alpha * variance) / (alpha ** 2 * variance + sigma ** 2)
    const [sums, differences] = [along(1 + rho), along(1 - rho)]
    const mixing = tensor([[(sums + differences) / 2, (sums - differences) / 2], [(sums - differences) / 2, (sums + differences) / 2]], null, { device: x.device })
    return Prediction.ofImage(x.matmul(mixing), x, { t, alpha, sigma })
  }
  const [u, v] = [0.5, 0.2]
  const exact = -Math.log(2 * Math.PI) - Math.log(1 - rho ** 2) / 2 - (0.5 * (u ** 2 - 2 * rho * u * v + v ** 2)) / (1 - rho ** 2)

  test('its mean over seeds is the exact value; probes make it less uncertain; seeds repeat it', async () => {
    const count = 256
    const run = async (probes: number, first = 0): Promise<number[]> => [...(await (await logLikelihood(denoise, tensor(Float32Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? u : v)), [count, 2], { device }), { path: flowPath(), probes, seeds: Array.from({ length: count }, (_, i) => first + i) })).data())]
    const [one, four] = [await run(1), await run(4)]
    const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length
    const deviation = (x: readonly number[]): number => Math.sqrt(mean(x.map((v) => (v - mean(x)) ** 2)))
    expect(deviation(one)).toBeGreaterThan(0.1)
    expect(Math.abs(mean(one) - exact)).toBeLessThan((3 * deviation(one)) / Math.sqrt(count) + 0.01)
    expect(deviation(four) / deviation(one)).toBeGreaterThan(0.4)
    expect(deviation(four) / deviation(one)).toBeLessThan(0.6)
    expect(await run(1)).toEqual(one)
    expect(await run(1, 1000)).not.toEqual(one)
  })

  test('memory is back where it was', async () => {
    const images = tensor([[u, v]], null, { device })
    const run = async (): Promise<void> => (await logLikelihood(denoise, images, { path: flowPath(), seeds: [1] })).dispose()
    await run()
    const held = device.bytesHeld
    await run()
    expect(device.bytesHeld).toBe(held)
    await expect(logLikelihood((x, level) => { throw new Error(`not at ${level.t} ${x.size}`) }, images, { path: flowPath(), seeds: [1] })).rejects.toThrow('not at')
    expect(device.bytesHeld).toBe(held)
  })
})

test('wrong use', async () => {
  const { denoise } = cases['a Gaussian']
  const images = tensor([[1, 2], [3, 4]], null, { device })
  await expect(logLikelihood(denoise, images, { path: flowPath(), seeds: [1] })).rejects.toThrow('logLikelihood: 1 seeds for images [2,2]; pass one for each')
  await expect(logLikelihood(denoise, images, { path: flowPath(), seeds: [1, 2], probes: 0 })).rejects.toThrow('logLikelihood: 0 probes')
  await expect(logLikelihood(denoise, images, { path: flowPath(), seeds: [1, 2], rtol: 0, atol: 0 })).rejects.toThrow('logLikelihood: rtol 0 and atol 0')
  await expect(logLikelihood(denoise, images, { path: flowPath(), seeds: [1, 2], conditions: { label: tensor([1], null, { device }) } })).rejects.toThrow('condition label is [1] but there are 2 images')
  await expect(logLikelihood((x, level) => Prediction.ofImage(div(x, exp(mul(x, 0)).sub(1)), x, level), images, { path: flowPath(), seeds: [1, 2] })).rejects.toThrow('NaN after time')
  expect(() => bitsPerDimension(images, [2], { width: 0 })).toThrow('bitsPerDimension: width is 0')
})
