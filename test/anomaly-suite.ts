/** What the trap for NaN must find on a device, and what it must let pass. */
import { describe, expect, test } from 'vitest'
import { add, concat, detectAnomaly, div, log, mul, permute, realize, sqrt, sum, tensor, variable, where } from '../engine/index.ts'
import type { Device, Tensor } from '../engine/index.ts'
import { Module } from '../nn/module.ts'

/** Takes the logarithm of what it is given. */
class Logarithm extends Module<[Tensor], Tensor> {
  override forward(x: Tensor): Tensor {
    return log(mul(x, 2))
  }
}

class Model extends Module<[Tensor], Tensor> {
  readonly head = new Logarithm()

  override forward(x: Tensor): Tensor {
    return sum(add(this.head.call(x), 1))
  }
}

/** Of 600 numbers from 1 up, one of which is `value`. */
const data = (device: Device, value: number, shape = [20, 30]): Tensor => tensor(Array.from({ length: 600 }, (_, i) => (i === 437 ? value : i + 1)), shape, { device })

export function describeAnomalies(device: Device): void {
  const { name } = device
  const model = new Model()

  describe('NaN is trapped', () => {
    test('where a module makes it', async () => {
      const failed = detectAnomaly(device, async () => model.call(data(device, -3)).item())
      await expect(failed).rejects.toThrow(new RegExp(`^${name}: step \\d+, log in head, made a NaN of inputs that had none$`))
    })

    test('in the module that is run, whichever its plan was compiled for', async () => {
      const run = async (path: string, value: number): Promise<number> => device.scope(path, () => sum(log(mul(data(device, value), 3)))).item()
      expect(await detectAnomaly(device, async () => run('encoder', 4))).not.toBeNaN()
      const compiled = device.plans.compiled
      for (const path of ['decoder', 'encoder', 'unet.mid']) await expect(detectAnomaly(device, async () => run(path, -4))).rejects.toThrow(`, log in ${path}, made a NaN`)
      expect(device.plans.compiled).toBe(compiled)
    })

    test('among what is only a part of a larger buffer', async () => {
      const x = data(device, -3)
      const failed = detectAnomaly(device, async () => realize(permute(concat([data(device, 5), sqrt(x), data(device, 5)], 1), [1, 0])))
      await expect(failed).rejects.toThrow(/: step \d+, (sqrt|concat), made a NaN of inputs that had none$/)
    })

    test('where it came in', async () => {
      const w = variable(data(device, NaN), { name: 'w' })
      await realize(w)
      const failed = detectAnomaly(device, async () => model.call(mul(w, 3)).item())
      await expect(failed).rejects.toThrow(new RegExp(`^${name}: variable w held a NaN before the run; step \\d+, mul, was the first to read it and pass it on$`))
    })

    test('infinities, if they count', async () => {
      const infinite = (): Tensor => div(data(device, 5), data(device, 0))
      expect(await detectAnomaly(device, async () => realize(infinite()))).toBeUndefined()
      await expect(detectAnomaly(device, async () => realize(infinite()), { infinities: true })).rejects.toThrow(`${name}: step 0, div, made a NaN or an infinity of inputs that had none`)
    })
  })

  describe('what is in order runs as ever', () => {
    test('values', async () => {
      const run = async (): Promise<number> => model.call(data(device, 3)).item()
      expect(await detectAnomaly(device, run)).toBe(await run())
    })

    test('a NaN among the inputs that nothing passes on', async () => {
      const x = data(device, NaN)
      expect(await detectAnomaly(device, async () => sum(where(tensor(false, null, { device }), x, 1)).item())).toBe(600)
    })

    test('after a failure the device is as before', async () => {
      const run = async (): Promise<number> => sum(log(data(device, -3))).item()
      const before = device.counters.launches
      expect(await run()).toBeNaN()
      const launches = device.counters.launches - before
      await expect(detectAnomaly(device, run)).rejects.toThrow('log')
      const after = device.counters.launches
      expect(await run()).toBeNaN()
      expect(device.counters.launches - after).toBe(launches)
      expect(device.watch).toBeUndefined()
    })
  })
}
