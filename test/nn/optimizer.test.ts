/** The AdamW class: what it assigns, what it refuses, and that its numbers compile nothing. (The op has the oracles.) */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, device as openDevice, mul, realize, sum, tensor, valueAndGrad, variable } from '../../engine/index.ts'
import type { Device, Tensor, Variable } from '../../engine/index.ts'
import { AdamW } from '../../nn/optimizer.ts'
import type { AdamWOptions } from '../../nn/optimizer.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

function setup(options: AdamWOptions = {}): { w: Variable; optimizer: AdamW; step: (scale?: number) => Promise<number> } {
  const w = variable(tensor([3, 4], null, { device }))
  const optimizer = new AdamW({ w }, options)
  return {
    w,
    optimizer,
    async step(scale = 1) {
      const { grads } = valueAndGrad(mul(sum(mul(w, w)), scale / 2), { w }) // gradient: scale·w
      const norm = optimizer.update(grads)
      await realize(norm)
      return norm.item()
    },
  }
}

test('returns the norm before clipping, and clips', async () => {
  const { optimizer, step } = setup({ clip: 1, beta1: 0, weightDecay: 0 })
  expect(await step()).toBeCloseTo(5, 5)
  const [m0 = 0, m1 = 0] = (await optimizer.first['w']?.data()) ?? []
  expect(Math.hypot(m0, m1)).toBeCloseTo(1, 5)
})

test('the first step has the size of the rate, whatever the gradient', async () => {
  const { w, step } = setup({ rate: (k) => (k === 0 ? 0.5 : 0), weightDecay: 0 })
  await step(1e-3)
  const [first = 0] = await w.data()
  expect(first).toBeCloseTo(2.5, 3)
  await step()
  expect([...(await w.data())][0]).toBe(first)
})

test('averages start at the parameters and follow them', async () => {
  const { w, optimizer, step } = setup({ rate: 1, weightDecay: 0, emaDecay: (k) => (k === 0 ? 0.25 : 1) })
  const average = optimizer.average?.['w']
  expect([...((await average?.data()) ?? [])]).toEqual([3, 4])
  await step()
  const [p = 0] = await w.data()
  const [ema = 0] = (await average?.data()) ?? []
  expect(ema).toBeCloseTo(0.25 * 3 + 0.75 * p, 5)
  await step()
  expect([...((await average?.data()) ?? [])][0]).toBeCloseTo(ema, 6)
  expect(Object.keys(optimizer.variables())).toEqual(['exp_avg.w', 'exp_avg_sq.w', 'ema.w'])
})

test('a gradient that is not finite moves nothing', async () => {
  const { w, optimizer, step } = setup({ emaDecay: 0.5 })
  expect(await step(Number.NaN)).toBeNaN()
  expect([...(await w.data())]).toEqual([3, 4])
  for (const v of Object.values(optimizer.variables())) for (const x of await v.data()) expect(x).toSatisfy(Number.isFinite)
})

test('numbers that change compile nothing', async () => {
  const { step } = setup({ rate: (k) => 0.1 / (k + 1), clip: 1, emaDecay: (k) => k / (k + 1) })
  await step()
  await step()
  device.resetCounters()
  for (let i = 0; i < 4; i++) await step()
  expect(device.counters).toMatchObject({ submits: 4, plansCompiled: 0 })
})

describe('refuses', () => {
  test.each([
    [{ beta1: 1 }, 'AdamW: beta1 is 1; use a number of at least 0 and below 1'],
    [{ beta2: Number.NaN }, 'AdamW: beta2 is NaN; use a number of at least 0 and below 1'],
    [{ clip: 0 }, 'AdamW: epsilon 1e-8 and weightDecay 0.01 must be at least 0, and clip 0 positive'],
    [{ weightDecay: -1 }, 'AdamW: epsilon 1e-8 and weightDecay -1 must be at least 0, and clip absent positive'],
  ])('%o', (options, message) => {
    expect(() => new AdamW({}, options)).toThrow(ConfigError)
    expect(() => new AdamW({}, options)).toThrow(message)
  })

  test('gradients that are missing', () => {
    const gradients: Record<string, Tensor> = {}
    expect(() => setup().optimizer.update(gradients)).toThrow('AdamW: no gradient for w; pass one for each parameter')
  })
})
