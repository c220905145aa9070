/** The fused step of AdamW, with clipping and an average, against the same step composed of single ops. */
import { afterAll, describe, expect, test } from 'vitest'
import { add, cast, device as openDevice, div, globalNorm, minimum, mul, realize, scalar, sub, tensor, variable } from '../../engine/index.ts'
import type { Device, Tensor, Variable } from '../../engine/index.ts'
import { AdamW, EMA } from '../../nn/index.ts'
import { adamW } from '../../nn/optim/adam.ts'
import { snapshot } from './optimizers.ts'

const shapes = { a: [33, 31], b: [4099], c: [], d: [2, 3, 5] } as const
const options = { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0.03 } as const
const lr = (k: number): number => 0.1 / (k + 1)
const [maxNorm, decay] = [3, 0.9]

const wave = (name: string, k: number, device: Device): Tensor => {
  const shape = shapes[name as keyof typeof shapes]
  return tensor(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(0.7 * i + 2.3 * k + name.charCodeAt(0))), shape, { device })
}
const variables = (make: (name: string) => Tensor): Record<string, Variable> => Object.fromEntries(Object.keys(shapes).map((name) => [name, variable(make(name))]))

async function fused(device: Device): Promise<Record<string, readonly number[]>> {
  const parameters = variables((name) => wave(name, 99, device))
  const ema = new EMA(parameters, { decay })
  const optimizer = new AdamW(parameters, { ...options, lr, maxNorm, ema })
  for (let k = 0; k < 5; k++) await realize(optimizer.update(Object.fromEntries(Object.keys(shapes).map((name) => [name, wave(name, k, device)]))))
  const averages = Object.fromEntries(Object.entries(ema.average).map(([name, v]) => [`average.${name}`, v]))
  return snapshot({ ...parameters, ...optimizer.stateDict(), ...averages })
}

/** One op at a time, and each realised alone, so that nothing can fuse. */
async function composed(device: Device): Promise<Record<string, readonly number[]>> {
  const rule = adamW(options)
  const number = (x: number): Tensor => scalar(x, { device })
  const parameters = variables((name) => wave(name, 99, device))
  const averages = variables((name) => wave(name, 99, device))
  const states = Object.fromEntries(Object.entries(parameters).map(([name, p]) => [name, rule.state(p, name)]))
  for (let k = 0; k < 5; k++) {
    const gradients = Object.fromEntries(Object.keys(shapes).map((name) => [name, wave(name, k, device)]))
    const scale = minimum(div(maxNorm, add(globalNorm(Object.values(gradients)), 1e-6)), 1)
    const numbers = { lr: number(lr(k)), beta1: number(options.betas[0]), beta2: number(options.betas[1]), eps: number(options.eps), weightDecay: number(options.weightDecay), t: number(k + 1) }
    for (const [name, p] of Object.entries(parameters)) {
      const [g, average] = [gradients[name], averages[name]]
      if (g === undefined || average === undefined) throw new RangeError(name)
      const { p: next, ...state } = rule.update(p.read(), mul(g, scale), states[name] ?? {}, numbers)
      await realize(next, ...Object.values(state))
      states[name] = state
      p.assign(next)
      average.assign(add(average, mul(sub(next, average), number(1 - decay))))
      await realize(p, average)
    }
  }
  const moments = Object.entries(states).flatMap(([name, state]) => Object.entries(state).flatMap(([slot, value]) => (value === undefined ? [] : [[`${slot}.${name}`, variable(value)] as const])))
  const counts = { step: variable(cast(number(5), 'i32')), skipped: variable(cast(number(0), 'i32')) }
  return snapshot({ ...parameters, ...counts, ...Object.fromEntries(moments), ...Object.fromEntries(Object.entries(averages).map(([name, v]) => [`average.${name}`, v])) })
}

describe.each(['cpu', 'reference'] as const)('on the %s device', async (kind) => {
  const device = await openDevice(kind, { makeDefault: false })
  afterAll(async () => device.close())

  test('five steps with a falling rate', async () => {
    const [got, want] = [await fused(device), await composed(device)]
    expect(Object.keys(got).toSorted()).toEqual(Object.keys(want).toSorted())
    // On the CPU both round every operation to float32 in one order. The reference computes in float64 and rounds what
    // it stores, and single ops store more.
    const tolerance = kind === 'cpu' ? 0 : 1e-6
    for (const [name, values] of Object.entries(want)) values.forEach((x, i) => expect(Math.abs((got[name]?.[i] ?? Number.NaN) - x), `${name}[${i}]`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(x))))
  })
})
