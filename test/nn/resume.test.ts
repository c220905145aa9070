/** One checkpoint of a model, its optimiser, averages and loss scaler, and runs that go on from it. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CheckpointError, add, device as openDevice, mul, realize, sum, tensor, valueAndGrad, variable } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike, Variable } from '../../engine/index.ts'
import { AdamW, EMA, LossScaler, Module, encodeSafetensors, loadCheckpoint, namedParameters, openCheckpoint, readVariables } from '../../nn/index.ts'
import { snapshot } from './optimizers.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu', { threads: 1 })
})
afterAll(async () => device.close())

/** A model with variables that are called as the counts and the scale are. */
class Clashing extends Module<[TensorLike], Tensor> {
  readonly step = variable(tensor([0.5, -2], null, { device }))
  readonly scale = variable(tensor([3], null, { device }))
  forward(x: TensorLike): Tensor {
    return mul(add(x, this.step), this.scale)
  }
}
interface Run {
  readonly model: Module
  readonly optimizer: AdamW
  readonly ema: EMA
  readonly scaler: LossScaler
  readonly state: Record<string, Variable>
  readonly step: (k: number) => Promise<void>
}
const start = (): Run => {
  const model = new Clashing()
  const parameters = namedParameters(model)
  const ema = new EMA(parameters, { decay: 0.5 })
  const scaler = new LossScaler({ device, initialScale: 8, growthInterval: 2 })
  const optimizer = new AdamW(parameters, { lr: (k) => 0.1 / (k + 1), ema })
  const state = { ...model.stateDict('model.'), ...optimizer.stateDict('optimizer.'), ...ema.stateDict('ema.'), ...scaler.stateDict('scaler.') }
  const step = async (k: number): Promise<void> => {
    const { grads } = valueAndGrad(scaler.scale(sum(mul(model.call(tensor([k, 1], null, { device })), k === 1 ? Infinity : 1))), parameters)
    const norm = optimizer.update(grads, { lossScale: scaler.factor })
    scaler.update(norm)
    await realize(norm)
  }
  return { model, optimizer, ema, scaler, state, step }
}

test('from one checkpoint of everything goes on bit for bit, schedules too', async () => {
  const run = start()
  expect(Object.keys(run.state)).toHaveLength(2 + 2 + 4 + 1 + 2 + 2)
  for (let k = 0; k < 4; k++) await run.step(k)
  const file = await openCheckpoint(new Blob([encodeSafetensors(await readVariables(run.state))]))
  const again = start()
  await loadCheckpoint(again.model.stateDict(), file, { prefix: 'model.' })
  expect(await again.optimizer.load(file, { prefix: 'optimizer.' })).toEqual({ missing: [], unexpected: [] })
  await again.ema.load(file, { prefix: 'ema.' })
  await again.scaler.load(file, { prefix: 'scaler.' })
  expect(again.optimizer.step).toBe(4)
  for (const { step } of [run, again]) for (let k = 4; k < 6; k++) await step(k)
  expect(await snapshot(again.state)).toEqual(await snapshot(run.state))
  expect(await again.scaler.factor.item()).toBe(16) // 8, halved once, doubled by every second finite step.
})

test('opens files itself', async () => {
  const run = start()
  await run.step(0)
  const again = start()
  await again.optimizer.load(new Blob([encodeSafetensors(await readVariables(run.optimizer.stateDict()))]))
  expect(again.optimizer.step).toBe(1)
})

test('from what does not fit changes nothing', async () => {
  const { optimizer, ema, scaler, step } = start()
  await step(0)
  const none = new Blob([encodeSafetensors(new Map([['other', { dtype: 'f32', shape: [1], data: new Float32Array(1) }]]))])
  for (const state of [optimizer, ema, scaler]) {
    await expect(state.load(none)).rejects.toThrow(CheckpointError)
    expect(() => state.loadStateDict(new Map())).toThrow(CheckpointError)
  }
  expect(optimizer.step).toBe(1)
})

test('without counts keeps the counts', async () => {
  const { optimizer, step } = start()
  for (let k = 0; k < 3; k++) await step(k)
  await optimizer.load(new Blob([encodeSafetensors(new Map([['other', { dtype: 'f32', shape: [1], data: new Float32Array(1) }]]))]), { strict: false })
  expect(optimizer.step).toBe(3)
  optimizer.loadStateDict(new Map(), { strict: false })
  expect(optimizer.step).toBe(3)
  const values = await readVariables({ step: optimizer.applied })
  expect(() => optimizer.loadStateDict(values, { strict: false })).toThrow('AdamW: the values have step but no skipped, which count together; pass both or none, or use load, which reads the other from the device')
  values.set('step', { dtype: 'i32', shape: [], data: new Int32Array([10]) })
  await optimizer.load(new Blob([encodeSafetensors(values)]), { strict: false })
  expect(optimizer.step).toBe(11)
})

test('a scaler goes on from values', async () => {
  const { scaler } = start()
  scaler.loadStateDict(await readVariables({ 's.scale': variable(tensor(32, null, { device })), 's.growth_tracker': variable(tensor(new Int32Array([1]), [], { device })) }), { prefix: 's.' })
  expect([await scaler.factor.item(), await scaler.steady.item()]).toEqual([32, 1])
})
