/** The plan of a training step of the small UNet: exact counts, the same on any machine. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { device as openDevice, explain, realize } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { training } from '../unet-step.ts'

let cpu: Device
beforeAll(async () => {
  cpu = await openDevice('cpu', { makeDefault: false })
})
afterAll(async () => cpu.close())

test('a step is one run of one plan, with no copies between layouts', async () => {
  const step = training(cpu)
  const first = step(0)
  await realize(first.loss, first.norm)
  const next = step(1)
  const [plan, ...others] = await explain(next.loss, next.norm)
  expect(others).toHaveLength(0)
  expect(plan?.text).not.toContain('copy for')
  // 45 elementwise launches went into the epilogues of matrix products and convolutions.
  expect(plan?.launches).toBeLessThanOrEqual(332)
  // Before the others, a launch waits for nothing that was not waited for already.
  expect(Number(/ (\d+) meetings /.exec(plan?.text ?? '')?.[1])).toBeLessThanOrEqual(163)
  // 701,345 parameters with their moments and averages are results, 11.2 MB of the peak.
  expect(plan?.peakBytes).toBeLessThanOrEqual(23_900_000)
  cpu.resetCounters()
  await realize(next.loss, next.norm)
  for (let k = 2; k < 5; k++) {
    const { loss, norm } = step(k)
    await realize(loss, norm)
  }
  expect(cpu.counters).toMatchObject({ submits: 4, plansCompiled: 0 })
  expect(cpu.counters.launches).toBe(4 * (plan?.launches ?? 0))
})
