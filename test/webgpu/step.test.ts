/** What a training step of the small UNet costs on the WebGPU device: exact counts, the same on any adapter. */
import { expect, test } from 'vitest'
import { device, realize } from '../../engine/index.ts'
import { training } from '../unet-step.ts'

test('a step is one submit and one readback, and makes nothing new from the third on', { timeout: 600_000 }, async () => {
  await using gpu = await device('webgpu', { makeDefault: false })
  const step = training(gpu)
  const take = async (k: number): Promise<void> => {
    const { loss, norm } = step(k)
    await realize(loss, norm)
  }
  for (let k = 0; k < 2; k++) await take(k)
  const losses: number[] = []
  for (let k = 2; k < 5; k++) {
    gpu.resetCounters()
    const { loss, norm } = step(k)
    await realize(loss, norm)
    losses.push(await loss.item())
    // Dispatches: launches of the plan, and those that take several, such as sums in parts or the gradients of norms.
    expect(gpu.counters.launches).toBeLessThanOrEqual(496)
    expect(gpu.counters).toMatchObject({ submits: 1, plansCompiled: 0, planHits: 1, made: { buffers: 0, bindGroups: 0, pipelines: 0, readbacks: 1 } })
  }
  expect(losses.every(Number.isFinite)).toBe(true)
})
