/** T2 on the project's devices, and how near the reference device comes to float64. */
import { expect, inject, test } from 'vitest'
import { UNet2D } from '../../diffusion/unet.ts'
import { RandomGenerator } from '../../engine/index.ts'
import { expectAll } from '../devices.ts'
import { oracle, testT2, train } from './t2-suite.ts'

for (const device of await expectAll()) {
  const { name: kind } = device
  test(`names, shapes and their order are those of diffusers, on ${kind}`, () => {
    const model = new UNet2D(oracle.config.unet, { device, generator: new RandomGenerator(0) })
    expect(Object.entries(model.stateDict()).map(([name, { shape }]) => [name, shape])).toEqual(oracle.params)
  })
  if (kind !== 'reference') {
    // A software GPU takes seconds for a step.
    testT2(device, kind === 'webgpu' && !inject('thorough') ? 3 : undefined)
    continue
  }
  test('a step on the reference device, whose weights alone are float32', { timeout: 120_000 }, async () => {
    const { loss: [loss = 0], norm: [norm = 0] } = await train(device, 1)
    expect(Math.abs(loss / (oracle.f64.loss[0] ?? 0) - 1)).toBeLessThan(1e-7)
    expect(Math.abs(norm / (oracle.f64.grad_norm[0] ?? 0) - 1)).toBeLessThan(1e-7)
  })
}
