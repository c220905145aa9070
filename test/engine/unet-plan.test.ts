/** The plan of a training step of the small UNet: exact counts, the same on any machine. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { UNet2D } from '../../diffusion/unet.ts'
import { Generator, device as openDevice, explain, mean, mul, realize, sub, tensor, valueAndGrad } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { namedParameters } from '../../nn/module.ts'
import { EMA } from '../../nn/ema.ts'
import { AdamW } from '../../nn/optim/adam.ts'

let cpu: Device
beforeAll(async () => {
  cpu = await openDevice('cpu', { makeDefault: false })
})
afterAll(async () => cpu.close())

const config = {
  sample_size: 8, in_channels: 1, out_channels: 1, block_out_channels: [32, 64], layers_per_block: 1, norm_num_groups: 8, attention_head_dim: 8,
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
}

interface Step {
  readonly loss: Tensor
  readonly norm: Tensor
}

/** A model, and the steps it takes. */
function training(): (k: number) => Step {
  const model = new UNet2D(config, { device: cpu, generator: new Generator(1) })
  const parameters = namedParameters(model)
  const optimizer = new AdamW(parameters, { lr: 3e-4, maxNorm: 1, ema: new EMA(parameters, { decay: 0.99 }) })
  return (k) => {
    const x = tensor(Float32Array.from({ length: 32 * 64 }, (_, i) => Math.sin(i + k)), [32, 1, 8, 8], { device: cpu })
    const t = tensor(Float32Array.from({ length: 32 }, (_, i) => (389 * i + k) % 1000), null, { device: cpu })
    const error = sub(model.call(x, t), x)
    const { value, grads } = valueAndGrad(mean(mul(error, error)), parameters)
    return { loss: value, norm: optimizer.update(grads) }
  }
}

test('a step is one run of one plan, with no copies between layouts', async () => {
  const step = training()
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
