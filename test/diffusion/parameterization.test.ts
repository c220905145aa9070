/** What a network says can be turned into what it means, and back, at every level where that has a meaning. */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, RandomGenerator, concat, device as openDevice, mul, normal, tensor } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { clipped, compose, denoiserOf } from '../../diffusion/denoiser.ts'
import { diffusionLoss, levelsAt } from '../../diffusion/loss.ts'
import { addNoise, edmPrediction, epsPrediction, flowPrediction, imagePrediction, scorePrediction, vPrediction, withLearnedVariance } from '../../diffusion/parameterization.ts'
import { edmPath, flowPath } from '../../diffusion/paths/continuous.ts'
import { discretePath, zeroTerminalSnr } from '../../diffusion/paths/discrete.ts'
import type { HostLevel, NoisePath } from '../../diffusion/paths/path.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('reference')
})
afterAll(() => device.close())

const one = (x: number): Tensor => tensor(Float64Array.of(x), [1, 1], { dtype: 'f64', device })
const all = [epsPrediction(), imagePrediction(), vPrediction(), flowPrediction(), scorePrediction(), edmPrediction(), edmPrediction({ sigmaData: 1.3 })]
const value = fc.double({ min: -3, max: 3, noNaN: true })
/** Levels of both sorts of path, and of none. */
const level = fc.oneof(
  fc.double({ min: 0.05, max: 1.5, noNaN: true }).map((angle): HostLevel => ({ t: 7, alpha: Math.cos(angle), sigma: Math.sin(angle) })),
  fc.double({ min: 0.05, max: 0.95, noNaN: true }).map((t): HostLevel => ({ t, alpha: 1 - t, sigma: t })),
  fc.double({ min: 0.01, max: 80, noNaN: true }).map((t): HostLevel => ({ t, alpha: 1, sigma: t })),
)

describe.each(all.map((p) => [p.name, p] as const))('%s', (_, parameterization) => {
  test('the target is read as x₀ and ε, with levels as numbers and as tensors', async () => {
    await fc.assert(fc.asyncProperty(level, value, value, fc.boolean(), async (host, clean, noise, asTensors) => {
      const [x0, eps] = [one(clean), one(noise)]
      const given = asTensors ? { t: one(host.t), alpha: one(host.alpha), sigma: one(host.sigma) } : host
      const said = parameterization.read(parameterization.target(x0, eps, given), addNoise(x0, eps, given), given)
      const room = 1e-8 * (1 + host.sigma / host.alpha + host.alpha / host.sigma)
      expect(Math.abs((await said.x0.item()) - clean)).toBeLessThan(room)
      expect(Math.abs((await said.eps.item()) - noise)).toBeLessThan(room)
    }), { numRuns: 40 })
  })
})

const noiseAlone: HostLevel = { t: 999, alpha: 0, sigma: 1 }

test('where there is only noise, v, flow, x₀ and EDM still say what the image is; ε and the score are an error', async () => {
  const [x, said] = [one(0.3), one(0.7)]
  for (const parameterization of [vPrediction(), flowPrediction(), imagePrediction(), edmPrediction()]) {
    const { x0, eps } = parameterization.read(said, x, noiseAlone)
    expect([parameterization.name, Number.isFinite(await x0.item())]).toEqual([parameterization.name, true])
    expect(await eps.item()).toBeCloseTo(0.3, 12)
  }
  for (const parameterization of [epsPrediction(), scorePrediction()]) {
    expect(() => parameterization.read(said, x, noiseAlone).x0).toThrow('says nothing of the image where there is nothing but noise (alpha is 0, at the first level); use one trained on v or on a flow, or levels that begin later')
  }
  expect(() => imagePrediction().read(said, x, { t: 0, alpha: 1, sigma: 0 }).eps).toThrow(ConfigError)
})

test('EDM’s target has unit variance at every level, for data of its variance', async () => {
  const generator = new RandomGenerator(5)
  const [x0, eps] = [normal([4000], { std: 0.5, generator, device }), normal([4000], { generator, device })]
  for (const sigma of [0.002, 0.1, 0.5, 2, 80]) {
    const target = edmPrediction().target(x0, eps, { t: sigma, alpha: 1, sigma })
    expect(Math.abs((await target.square().mean().item()) - 1)).toBeLessThan(0.06)
  }
})

test('what the network is shown and told', async () => {
  const ask = async (parameterization: ReturnType<typeof edmPrediction>, path: NoisePath, t: number): Promise<readonly [shown: number, told: number]> => {
    let seen: readonly [Tensor, Tensor] | undefined
    denoiserOf((x, time) => {
      seen = [x, time]
      return mul(x, 0)
    }, parameterization)(one(2), path.at(t), {})
    const [x, time] = seen ?? []
    expect(time?.shape).toEqual([1])
    return [(await x?.item()) ?? NaN, (await time?.item()) ?? NaN]
  }
  expect(await ask(epsPrediction(), discretePath(), 300)).toEqual([2, 300])
  const [shown, told] = await ask(edmPrediction(), edmPath(), 3)
  expect(shown).toBeCloseTo(2 / Math.hypot(3, 0.5), 6)
  expect(told).toBeCloseTo(Math.log(3) / 4, 6)
  expect((await ask(flowPrediction(), flowPath({ shift: 3 }), 0.5))[1]).toBeCloseTo(750, 3)
  expect(() => denoiserOf((x) => x, edmPrediction())(one(1), noiseAlone, {})).toThrow('the network would be told the time Infinity; begin at a level that it was trained on')
})

test('a learned variance lies in the second half of the channels', async () => {
  const x = tensor([1, 2], [1, 2, 1], { device })
  const network = (): Tensor => concat([mul(x, 0.5), tensor([-1, 1], [1, 2, 1], { device })], 1)
  const said = denoiserOf(network, withLearnedVariance(imagePrediction()))(x, { t: 3, alpha: 1, sigma: 2 }, {})
  expect([...(await said.x0.data())]).toEqual([0.5, 1])
  expect([...((await said.variance?.data()) ?? [])]).toEqual([0, 1])
  expect(() => denoiserOf(network, imagePrediction())(x, { t: 3, alpha: 1, sigma: 2 }, {})).toThrow('the network makes [1,4,1] of images [1,2,1], but in the parameterization x0 it should make [1,2,1]')
  expect(() => denoiserOf(() => x, withLearnedVariance(vPrediction()))(x, { t: 3, alpha: 1, sigma: 2 }, {})).toThrow('in the parameterization v with learned variance it should make [1,4,1]')
})

test('clipping keeps x₀ in range and ε in accord with it; guidances stand one around the other', async () => {
  const denoise = denoiserOf((x) => mul(x, 3), imagePrediction())
  const level = { t: 3, alpha: 0.6, sigma: 0.8 }
  const { x0, eps } = clipped()(denoise)(one(0.5), level, {})
  expect(await x0.item()).toBe(1)
  expect(await eps.item()).toBeCloseTo((0.5 - 0.6) / 0.8, 12)
  const halved = compose(clipped(), clipped({ low: 0, high: 0.5 }))(denoise)(one(0.5), level, {})
  expect(await halved.x0.item()).toBe(0.5)
})

test('levels of a batch are those of the path, and the loss is theirs', async () => {
  const path = zeroTerminalSnr(discretePath())
  const t = tensor([0, 500, 999], null, { dtype: 'i32', device })
  const { alpha, sigma } = levelsAt(path, t, 4)
  expect((alpha as Tensor).shape).toEqual([3, 1, 1, 1])
  const [a, s] = [await (alpha as Tensor).data(), await (sigma as Tensor).data()]
  for (const [i, time] of [0, 500, 999].entries()) {
    expect(at(a, i)).toBeCloseTo(path.at(time).alpha, 6)
    expect(at(s, i)).toBeCloseTo(path.at(time).sigma, 6)
  }
  // A network that says the target of v exactly, for x₀ = 1 and ε = −1.
  const [x0, eps] = [tensor([1, 1, 1], [3, 1, 1, 1], { device }), tensor([-1, -1, -1], [3, 1, 1, 1], { device })]
  const loss = diffusionLoss((x) => mul(vPrediction().target(x0, eps, levelsAt(path, t, 4)), x.mul(0).add(1)), x0, { path, t, eps, parameterization: vPrediction() })
  expect(await loss.item()).toBeLessThan(1e-12)
  expect(() => levelsAt(edmPath(), t, 4)).toThrow('levelsAt: edmPath does not count timesteps')
})
