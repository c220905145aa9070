/** The UNet learns digits as diffusers' UNet2DModel did under PyTorch, step by step. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { loadDigits } from '../../cli/digits.ts'
import { UNet2D } from '../../diffusion/unet.ts'
import type { UNet2DConfig } from '../../diffusion/unet.ts'
import { Generator, device as openDevice, tensor } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { stateDict } from '../../nn/module.ts'
import { expectSameCourse, expectSameEnd, follow, readOracle } from './trajectory.ts'
import type { Recorded } from './trajectory.ts'

const oracle = readOracle<UNet2DConfig>('t2_unet_digits_adamw')

/** The reference device takes its one step below. */
const kind = inject('devices').find((k) => k !== 'reference')
let device: Device
beforeAll(async () => {
  device = await openDevice(kind)
})
afterAll(async () => device.close())

test('names, shapes and their order are those of diffusers', () => {
  const model = new UNet2D(oracle.config.unet, { device, generator: new Generator(0) })
  expect(Object.entries(stateDict(model)).map(([name, { shape }]) => [name, shape])).toEqual(oracle.params)
})

/** The first `steps` steps on a device, from weights by formula. */
async function train(on: Device, steps: number): Promise<Recorded> {
  const model = new UNet2D(oracle.config.unet, { device: on, generator: new Generator(0) })
  const parameters = stateDict(model)
  Object.entries(parameters).forEach(([name, parameter], ordinal) => {
    const { shape } = parameter
    const size = shape.reduce((n, d) => n * d, 1)
    const wave = (i: number): number => Math.sin(0.1 + 0.37 * i + 1.3 * ordinal)
    const scale = Math.sqrt(size / (shape[0] ?? 1))
    const weight = shape.length >= 2 ? (i: number) => wave(i) / scale : name.endsWith('.weight') ? (i: number) => 1 + 0.1 * wave(i) : (i: number) => 0.05 * wave(i)
    parameter.assign(tensor(Float32Array.from({ length: size }, (_, i) => weight(i)), shape, { device: on }))
  })
  const { values } = loadDigits()
  return follow(oracle, { network: (x, t) => model.call(x, t), parameters, device: on, data: { shape: [1, 8, 8], values: values.slice(0, 1024 * 64) }, steps })
}

/** A software GPU takes seconds for a step. */
const steps = kind === 'webgpu' && !inject('thorough') ? 3 : oracle.config.steps

test(`${steps} steps`, { timeout: 60_000 + 20_000 * steps }, async () => {
  const recorded = await train(device, steps)
  expectSameCourse(recorded, oracle.f64)
  if (steps === oracle.config.steps) await expectSameEnd(recorded.optimizer, oracle.f64)
})

test.runIf(inject('devices').includes('reference'))('a step on the reference device, whose weights alone are float32', { timeout: 120_000 }, async () => {
  await using reference = await openDevice('reference', { makeDefault: false })
  const { loss: [loss = 0], norm: [norm = 0] } = await train(reference, 1)
  expect(Math.abs(loss / (oracle.f64.loss[0] ?? 0) - 1)).toBeLessThan(1e-7)
  expect(Math.abs(norm / (oracle.f64.grad_norm[0] ?? 0) - 1)).toBeLessThan(1e-7)
})
