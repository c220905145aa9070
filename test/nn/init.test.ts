/** Initial values: their statistics against PyTorch's draws and against the distributions, seeds, gains, errors. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, RandomGenerator, ShapeError, device as openDevice, uniform } from '../../engine/index.ts'
import type { Device, Shape, Tensor, TensorLike } from '../../engine/index.ts'
import * as nn from '../../nn/index.ts'
import type { LayerOptions, Module } from '../../nn/index.ts'
import { oracle } from './module-cases.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

async function statistics(x: TensorLike): Promise<{ mean: number; std: number; max: number }> {
  const values = [...(await x.read().data())]
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  return { mean, std: Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length), max: values.reduce((a, b) => Math.max(a, Math.abs(b)), 0) }
}

/** The error function, by Simpson's rule. */
function erf(x: number): number {
  const steps = 2000
  const terms = Array.from({ length: steps + 1 }, (_, i) => (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2) * Math.exp(-(((x * i) / steps) ** 2)))
  return ((2 / Math.sqrt(Math.PI)) * x * terms.reduce((p, q) => p + q, 0)) / (3 * steps)
}

const layers: Readonly<Record<string, (options: LayerOptions) => Module>> = {
  linear: (o) => new nn.Linear(256, 512, o),
  conv2d: (o) => new nn.Conv2d(64, 128, 3, { groups: 2, ...o }),
  convTranspose2d: (o) => new nn.ConvTranspose2d(64, 128, 3, { groups: 2, ...o }),
  embedding: (o) => new nn.Embedding(500, 200, { paddingIdx: 3, ...o }),
  attention: (o) => new nn.MultiheadAttention(128, 4, o),
  'attention sizes': (o) => new nn.MultiheadAttention(128, 4, { kdim: 64, vdim: 32, ...o }),
  groupNorm: (o) => new nn.GroupNorm(2, 64, o),
  batchNorm2d: (o) => new nn.BatchNorm2d(64, o),
  layerNorm: (o) => new nn.LayerNorm(64, o),
  rmsNorm: (o) => new nn.RMSNorm(64, o),
  'instanceNorm2d affine': (o) => new nn.InstanceNorm2d(64, { affine: true, ...o }),
}

const functions: Readonly<Record<string, (shape: Shape, options: LayerOptions) => Tensor>> = {
  kaimingUniform: (s, o) => nn.kaimingUniform(s, o),
  'kaimingUniform fanOut relu': (s, o) => nn.kaimingUniform(s, { mode: 'fanOut', nonlinearity: 'relu', ...o }),
  kaimingNormal: (s, o) => nn.kaimingNormal(s, { a: 0.5, ...o }),
  'kaimingNormal tanh': (s, o) => nn.kaimingNormal(s, { nonlinearity: 'tanh', ...o }),
  xavierUniform: (s, o) => nn.xavierUniform(s, { gain: 2, ...o }),
  xavierNormal: (s, o) => nn.xavierNormal(s, o),
  truncNormal: (s, o) => nn.truncNormal(s, o),
  'truncNormal skewed': (s, o) => nn.truncNormal(s, { mean: 0.5, std: 0.8, a: -0.3, b: 2.5, ...o }),
}

test('every record of the oracle is looked at', () => {
  expect([...Object.keys(layers), ...Object.keys(functions)]).toEqual(Object.keys(oracle.init))
})

describe('is distributed as in PyTorch', () => {
  test.each(Object.entries(oracle.init))('%s', async (id, records) => {
    const options = { device, generator: new RandomGenerator(11) }
    const made = layers[id]?.(options)
    for (const [name, want] of Object.entries(records)) {
      const x = made === undefined ? functions[id]?.(want.shape, options) : made.stateDict()[name]
      if (x === undefined) throw new RangeError(`nothing for ${id} ${name}`)
      const got = await statistics(x)
      // Deviations of the estimates: of a mean std/√n, of a deviation less than std/√n, of the largest of normals a few percent.
      const n = want.shape.reduce((a, b) => a * b, 1)
      expect(Math.abs(got.mean - want.mean), `mean of ${name}`).toBeLessThanOrEqual((5 * want.std) / Math.sqrt(n))
      expect(Math.abs(got.std - want.std), `deviation of ${name}`).toBeLessThanOrEqual((5 * want.std) / Math.sqrt(n))
      expect(Math.abs(got.max - want.max), `largest of ${name}`).toBeLessThanOrEqual(0.25 * want.max)
    }
  })
})

test('gains are PyTorch\'s', () => {
  const names = ['linear', 'sigmoid', 'tanh', 'relu', 'leakyRelu', 'selu'] as const
  const got = [...names.map((name) => [name, nn.calculateGain(name)] as const), ['leakyRelu 0.2', nn.calculateGain('leakyRelu', 0.2)] as const]
  expect(Object.fromEntries(got)).toEqual(oracle.gains)
})

describe('truncNormal', () => {
  test('has the quantiles of the distribution, up to its ends', async () => {
    const draws = [...(await nn.truncNormal([200_000], { std: 0.5, a: -2.5, b: 0.25, device, generator: new RandomGenerator(4) }).data())].toSorted((x, y) => x - y)
    // Φ(z) / Φ(1/2) for z = x / 0.5, from tables of the normal distribution.
    for (const [x, share] of [[-1.5, 0.00135 / 0.69146], [-0.5, 0.15866 / 0.69146], [0, 0.5 / 0.69146], [0.125, 0.59871 / 0.69146]] as const) {
      expect(Math.abs(draws.filter((v) => v < x).length / draws.length - share)).toBeLessThan(0.005)
    }
    expect([draws[0] ?? 0, draws.at(-1) ?? 0].every((v) => v >= -2.5 && v <= 0.25)).toBe(true)
    expect(draws.at(-1)).toBeGreaterThan(0.2499)
  })

  test('inverts the distribution function, in the tails too', async () => {
    const [a, b] = [-4.5, 4.5]
    const at = (generator: RandomGenerator): LayerOptions => ({ generator, device })
    const z = await nn.truncNormal([4000], { a, b, ...at(new RandomGenerator(6)) }).data()
    const shares = await uniform([4000], { low: erf(a / Math.SQRT2), high: erf(b / Math.SQRT2), ...at(new RandomGenerator(6)) }).data()
    const slope = (x: number): number => Math.sqrt(2 / Math.PI) * Math.exp((-x * x) / 2)
    const errors = [...z].map((x, i) => Math.abs((erf(x / Math.SQRT2) - (shares[i] ?? 0)) / slope(x)))
    expect(Math.max(...z)).toBeGreaterThan(3)
    expect(Math.max(...errors)).toBeLessThan(4e-6)
  })

  test('is finite without ends, for the smallest draw too', async () => {
    const generator = new RandomGenerator(0)
    generator.restore({ key: [0, 0], counter: [14_883_995, 0] }) // Whose first 24 bits are zero.
    expect((await uniform([1], { generator, device }).data())[0]).toBe(0)
    generator.restore({ key: [0, 0], counter: [14_883_995, 0] })
    expect((await nn.truncNormal([1], { a: -Infinity, b: Infinity, generator, device }).data())[0]).toBeCloseTo(-5.4, 1)
    const { max, std } = await statistics(nn.truncNormal([100_000], { a: -Infinity, b: Infinity, device, generator: new RandomGenerator(5) }))
    expect([max < 5.5, Math.abs(std - 1) < 0.01]).toEqual([true, true])
  })

  test.each([
    [{ a: 1, b: 1 }, 'truncNormal: there is nothing between 1 and 1 with a standard deviation of 1; use a < b and a positive std'],
    [{ std: 0 }, 'truncNormal: there is nothing between -2 and 2 with a standard deviation of 0; use a < b and a positive std'],
    [{ mean: 5, std: 0.5 }, 'truncNormal: [-2, 2] lies more than 4 standard deviations of 0.5 from the mean 5; move it closer'],
  ])('refuses %o', (options, message) => {
    expect(() => nn.truncNormal([2], { device, ...options })).toThrow(ConfigError)
    expect(() => nn.truncNormal([2], { device, ...options })).toThrow(message)
  })
})

test('follows the generator, by default the device\'s', async () => {
  const values = async (options: LayerOptions): Promise<number[]> => [...(await new nn.Linear(3, 2, options).weight.data())]
  const one = await values({ generator: new RandomGenerator(5) })
  expect(one).toEqual(await values({ generator: new RandomGenerator(5) }))
  expect(one).not.toEqual(await values({ generator: new RandomGenerator(6) }))
  device.manualSeed(5)
  expect(await values({})).toEqual(one)
  expect(await values({})).not.toEqual(one)
})

test('a vector has no fans', () => {
  expect(() => nn.xavierNormal([3], { device })).toThrow(ShapeError)
  expect(() => nn.kaimingUniform([3], { device })).toThrow('kaimingUniform: a weight of shape [3] has no inputs and outputs to count; use two axes [out,in] or more')
})

test('in other types', async () => {
  const layer = new nn.Linear(64, 64, { dtype: 'bf16', device })
  expect([layer.weight.dtype, layer.bias?.dtype, nn.truncNormal([2], { dtype: 'bf16', device }).dtype, new nn.BatchNorm2d(2, { dtype: 'bf16', device }).running_mean?.dtype]).toEqual(['bf16', 'bf16', 'bf16', 'bf16'])
})
