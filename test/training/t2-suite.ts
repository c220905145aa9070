/** The UNet learns digits as diffusers' UNet2DModel did under PyTorch, step by step. */
import { test } from 'vitest'
import { UNet2D } from '../../diffusion/unet.ts'
import type { UNet2DConfig } from '../../diffusion/unet-config.ts'
import { RandomGenerator, tensor } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { readBytes } from '../read.ts'
import { expectSameCourse, expectSameEnd, follow, readOracle } from './trajectory.ts'
import type { Oracle, Recorded } from './trajectory.ts'

export const oracle: Oracle<UNet2DConfig> = await readOracle('t2_unet_digits_adamw')
const digits = Float32Array.from((await readBytes('data/digits/images.u8')).subarray(0, 1024 * 64), (p) => p / 8 - 1)

/** The first `steps` steps on a device, from weights by formula. */
export async function train(on: Device, steps: number): Promise<Recorded> {
  const model = new UNet2D(oracle.config.unet, { device: on, generator: new RandomGenerator(0) })
  const parameters = model.stateDict()
  Object.entries(parameters).forEach(([name, parameter], ordinal) => {
    const { shape } = parameter
    const size = shape.reduce((n, d) => n * d, 1)
    const wave = (i: number): number => Math.sin(0.1 + 0.37 * i + 1.3 * ordinal)
    const scale = Math.sqrt(size / (shape[0] ?? 1))
    const weight = shape.length >= 2 ? (i: number) => wave(i) / scale : name.endsWith('.weight') ? (i: number) => 1 + 0.1 * wave(i) : (i: number) => 0.05 * wave(i)
    parameter.assign(tensor(Float32Array.from({ length: size }, (_, i) => weight(i)), shape, { device: on }))
  })
  return follow(oracle, { network: (x, t) => model.call(x, t), parameters, device: on, data: { shape: [1, 8, 8], values: digits }, steps })
}

/** All steps and the state that they end in; or the first `steps`. */
export function testT2(device: Device, steps: number = oracle.config.steps): void {
  test(`${steps} steps on ${device.name}`, { timeout: 60_000 + 40_000 * steps }, async () => {
    const recorded = await train(device, steps)
    expectSameCourse(recorded, oracle.f64)
    if (steps === oracle.config.steps) await expectSameEnd(recorded.optimizer, oracle.f64)
  })
}
