/** Training in a page: it learns, on threads or without, and the page's own timers fire meanwhile. */
import { expect, inject, test } from 'vitest'
import { RandomGenerator, device as openDevice, matmul, mseLoss, normal, realize, tanh, valueAndGrad, variable } from '../../engine/index.ts'
import type { Device, DeviceOptions } from '../../engine/index.ts'

const isolated = inject('isolated')

/** Fits a sine with a net of one hidden layer for some milliseconds, at least three steps; the losses of the steps. */
async function fit(device: Device, samples: number, hidden: number, duration: number): Promise<number[]> {
  const generator = new RandomGenerator(42)
  const x = normal([samples, 1], { generator, device })
  const y = x.sin()
  const w1 = variable(normal([1, hidden], { generator, device }))
  const w2 = variable(normal([hidden, 1], { generator, device }).div(hidden))
  await realize(x, y, w1, w2)
  const losses: number[] = []
  for (const start = performance.now(); losses.length < 3 || performance.now() - start < duration; ) {
    const { value, grads } = valueAndGrad(mseLoss(matmul(tanh(matmul(x, w1)), w2), y), { w1, w2 })
    w1.assign(w1.sub(grads.w1.mul(0.01)))
    w2.assign(w2.sub(grads.w2.mul(0.01)))
    await realize(value, w1, w2)
    losses.push(await value.item())
  }
  return losses
}

test.each([
  ['short', 64, 16],
  ['long', 8192, 256],
] as const)('%s steps: the loss falls and timers fire', async (_, samples, hidden) => {
  await using device = await openDevice('cpu', { makeDefault: false })
  let fired = 0
  const timer = setInterval(() => fired++, 5)
  const losses = await fit(device, samples, hidden, 400)
  clearInterval(timer)
  expect(losses.at(-1)).toBeLessThan(losses[0] ?? 0)
  expect(fired).toBeGreaterThanOrEqual(5)
})

test('memory is shared where it can be, and asking for it elsewhere says what to do', async () => {
  const shared: DeviceOptions = { sharedMemory: true, threads: 2, makeDefault: false }
  if (isolated) {
    await using device = await openDevice('cpu', shared)
    expect(device.description).toContain('2 worker threads')
  } else {
    await expect(openDevice('cpu', shared)).rejects.toMatchObject({
      name: 'ConfigError',
      message: 'device: this page cannot share memory with workers; serve it with COOP and COEP headers, or leave sharedMemory out',
    })
  }
})

test('a page may stay on its own thread', async () => {
  await using device = await openDevice('cpu', { sharedMemory: false, makeDefault: false })
  expect(device.description).toContain('the calling thread')
  const losses = await fit(device, 8, 4, 0)
  expect(losses.at(-1)).toBeLessThan(losses[0] ?? 0)
})

test('results that nobody holds are collected before they fill the memory', { timeout: 120_000 }, async () => {
  await using device = await openDevice('cpu', { makeDefault: false })
  const x = variable(new Float32Array(2 ** 20), { device })
  let most = 0
  for (let i = 0; i < 300; i++) {
    await realize(x.add(i))
    most = Math.max(most, device.bytesHeld)
  }
  expect(most).toBeLessThan(2 ** 29)
})
