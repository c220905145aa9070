/** Where something is set while a function runs, what would run later and not see it is refused, and what was set is taken back. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, detectAnomaly, device as openDevice, mul, recompute, tensor, variable, withDefaultDevice, withValues } from '../../engine/index.ts'
import type { Device, TensorLike } from '../../engine/index.ts'
import { getDefaultDevice } from '../../engine/device/device.ts'
import { ddim, denoiserOf, discretePath, epsPrediction, levels, sample } from '../../diffusion/index.ts'
import type { Denoiser } from '../../diffusion/index.ts'
import { Module, mixedPrecision } from '../../nn/index.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('reference')
})
afterAll(async () => device.close())

/** What functions return whose code is still to run, each with its name in the message. */
const later: readonly (readonly [what: string, make: () => unknown, name: string])[] = [
  ['an async function', async () => tensor([1]), 'a promise'],
  ['an async function that fails', async () => Promise.reject(new Error('unseen')), 'a promise'],
  ['a thenable', () => Object.fromEntries(['then'].map((method) => [method, () => undefined])), 'a promise'],
  ['a generator', function* () { yield tensor([1]) }, 'an iterator, as generators do'],
  ['an async generator', async function* () { yield tensor([1]) }, 'an iterator, as generators do'],
  ['an iterator', () => [1].values(), 'an iterator, as generators do'],
  ['an async iterable', () => ({ [Symbol.asyncIterator]: () => [1].values() }), 'an async iterable'],
]

/** What is set around a function, each with what it advises. */
const around: Readonly<Record<string, { readonly run: (fn: () => unknown) => unknown; readonly remedy?: string }>> = {
  withValues: { run: (fn) => withValues(new Map([[variable([1]), tensor([2])], [variable([3]), tensor([4])]]), fn) },
  'withValues of nothing': { run: (fn) => withValues(new Map(), fn) },
  scope: { run: (fn) => device.scope('part', fn) },
  'scope, as withPath': { run: (fn) => device.withPath('part', fn) },
  withProductType: { run: (fn) => device.withProductType('bf16', fn) },
  withDefaultDevice: { run: (fn) => withDefaultDevice(device, fn) },
  recompute: { run: (fn): unknown => Reflect.apply(recompute, undefined, [fn, tensor([1])]), remedy: 'return a tensor, or a list of tensors' },
  call: { run: (fn) => new Holder(fn).call(tensor([1])), remedy: 'return tensors from forward, and let another method do what waits' },
  'call, of a module with a policy around it': {
    run(fn) {
      const module = new Holder(fn)
      mixedPrecision(module, 'bf16')
      return module.call(tensor([1]))
    },
    remedy: 'return tensors from forward, and let another method do what waits',
  },
}

class Holder extends Module<[TensorLike]> {
  readonly #fn: () => unknown

  constructor(fn: () => unknown) {
    super()
    this.#fn = fn
  }

  forward(): unknown {
    return this.#fn()
  }
}

describe.each(Object.entries(around))('%s', (name, { run, remedy }) => {
  const [op = ''] = name.split(/[ ,]/)

  test.each(later)('refuses %s', (_, make, what) => {
    const message = `${op}: the function returned ${what}, so code of it runs when ${op} is over; ${remedy ?? `return tensors and await their data outside, or call ${op} inside, around each call that is to see it`}`
    expect(() => run(make)).toThrow(ConfigError)
    expect(() => run(make)).toThrow(message)
    expect([device.path, device.productType, device.running, getDefaultDevice('test')]).toEqual(['', undefined, undefined, device])
  })
})

test.each([['a list', () => [tensor([1])]], ['a map', () => new Map([[1, tensor([1])]])], ['a string', () => 'text'], ['a record with a number called next', () => ({ next: 1 })], ['nothing', () => undefined]])('%s is whole when it is returned', (_, make) => {
  for (const name of ['withValues', 'scope', 'withProductType', 'withDefaultDevice']) expect(() => around[name]?.run(make)).not.toThrow()
})

test('detectAnomaly waits for promises, and refuses what is iterated later', async () => {
  expect(await detectAnomaly(device, async () => mul(tensor([2]), 3).item())).toBe(6)
  const lazy: readonly (() => unknown)[] = [function* () { yield 1 }, async function* () { yield 1 }]
  for (const make of lazy) {
    await expect(detectAnomaly(device, make)).rejects.toThrow('detectAnomaly: the function returned an iterator, as generators do, so code of it runs when detectAnomaly is over; iterate inside, in an async function')
  }
  expect(device.watch).toBeUndefined()
})

test('sampling takes averages around its denoiser, not around itself', async () => {
  const [weight, average] = [variable([1]), variable([0.5])]
  const denoise = denoiserOf((x) => mul(x, weight), epsPrediction())
  const values = new Map([[weight, average]])
  const path = discretePath()
  const draw = async (denoiser: Denoiser): Promise<unknown> => [...(await (await sample(denoiser, { path, levels: levels(path, 3), sampler: ddim(), shape: [3], seeds: [1] })).data())]
  expect(() => withValues(values, () => draw(denoise))).toThrow('withValues: the function returned a promise')
  const averaged = await draw((...asked) => withValues(values, () => denoise(...asked)))
  expect(averaged).not.toEqual(await draw(denoise))
  expect(averaged).toEqual(await draw(denoiserOf((x) => mul(x, average), epsPrediction())))
})
