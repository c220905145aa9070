/** Options that layers refuse when they are made, rather than read as their default or fail on at the first call. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, ShapeError, device as openDevice, ones, relu, tensor, zeros } from '../../engine/index.ts'
import type { Device, SoftplusOptions } from '../../engine/index.ts'
import * as nn from '../../nn/index.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

/** Calls as programs without types make them. */
const make = (layer: new (...given: never[]) => unknown, ...given: readonly unknown[]): unknown => Reflect.construct(layer, given)
const call = (run: (...given: never[]) => unknown, ...given: readonly unknown[]): unknown => Reflect.apply(run, undefined, given)

test('Softplus with beta and a threshold, changed at no cost of a plan', async () => {
  const x = tensor([-1, 0.5, 3])
  const values = async (options: SoftplusOptions): Promise<number[]> => [...await new nn.Softplus(options).call(x).data()]
  const exact = (v: number, beta: number): number => Math.log1p(Math.exp(v * beta)) / beta
  expect((await values({ beta: 2, threshold: 4 }))[1]).toBeCloseTo(exact(0.5, 2), 5)
  expect((await values({ beta: 2, threshold: 0.5 })).slice(1)).toEqual([0.5, 3])
  const compiled = device.plans.compiled
  expect((await values({ beta: 3, threshold: 20 }))[0]).toBeCloseTo(exact(-1, 3), 5)
  expect(device.plans.compiled).toBe(compiled)
})

describe('refuses', () => {
  test.each([
    ['GELU', () => make(nn.GELU, { approximate: 'Tanh' }), 'GELU: approximate is "Tanh"; use none or tanh'],
    ['FeedForward', () => make(nn.FeedForward, 4, { activation: 'relu' }), 'FeedForward: activation is "relu"; use geglu, swiglu, gelu or geluTanh'],
    ['MultiheadAttention', () => make(nn.MultiheadAttention, 4, 2, { qkNorm: 'rms_norm' }), 'MultiheadAttention: qkNorm is "rms_norm"; use layerNorm or rmsNorm'],
    ['Upsample', () => make(nn.Upsample, { scaleFactor: 2, mode: 'foo' }), 'Upsample: mode is "foo"; use nearest, area, linear, bilinear, trilinear or bicubic'],
    ['padding of Conv2d', () => make(nn.Conv2d, 1, 1, 3, { padding: 'full' }), 'Conv2d: padding is "full"; use same or valid, or numbers'],
    ['paddingMode of Conv1d', () => make(nn.Conv1d, 1, 1, 3, { paddingMode: 'reflection' }), 'Conv1d: paddingMode is "reflection"; use zeros, reflect, replicate or circular'],
    ['kaimingUniform', () => call(nn.kaimingUniform, [2, 2], { mode: 'fan_out' }), 'kaimingUniform: mode is "fan_out"; use fanIn or fanOut'],
    ['kaimingNormal', () => call(nn.kaimingNormal, [2, 2], { mode: 'fan_in' }), 'kaimingNormal: mode is "fan_in"; use fanIn or fanOut'],
    ['sinusoidalEmbedding', () => call(nn.sinusoidalEmbedding, zeros([2]), 4, { order: 'cos_sin' }), 'sinusoidalEmbedding: order is "cos_sin"; use sinCos or cosSin'],
    ['GaussianFourierProjection', () => make(nn.GaussianFourierProjection, 4, { order: 'cos' }), 'GaussianFourierProjection: order is "cos"; use sinCos or cosSin'],
    ['rotaryEmbedding', () => call(nn.rotaryEmbedding, zeros([2, 4]), { pairs: 'half' }), 'rotaryEmbedding: pairs is "half"; use interleaved or halves'],
  ])('words that are none: %s', (_, run, message) => {
    expect(run).toThrow(ConfigError)
    expect(run).toThrow(message)
  })

  test.each([
    ['a list', () => make(nn.Sequential, [new nn.ReLU(), new nn.Tanh()]), 'Sequential: layer 0 is a list, not a module; spread it: new Sequential(...layers)'],
    ['a function', () => make(nn.Sequential, new nn.ReLU(), relu), 'Sequential: layer 1 is a function, not a module; use a module, such as new ReLU(), or one whose forward calls it'],
    ['nothing', () => make(nn.Sequential, undefined), 'Sequential: layer 0 is undefined, not a module; leave it out, or use new Identity()'],
  ])('layers that are none: %s', (_, run, message) => {
    expect(run).toThrow(ConfigError)
    expect(run).toThrow(message)
  })

  test.each(['zeros', 'reflect'] as const)('a stride that does not keep the size, filled with %s', (paddingMode) => {
    const strided = (): nn.Conv2d => new nn.Conv2d(1, 1, 3, { padding: 'same', stride: [1, 2], paddingMode })
    expect(strided).toThrow(ConfigError)
    expect(strided).toThrow("Conv2d: padding 'same' keeps the size, which stride 2 does not; give the padding as numbers")
  })
})

test('GroupNorm checks its groups when it is made, and its channels in each call', () => {
  expect(() => new nn.GroupNorm(3, 16)).toThrow(ConfigError)
  expect(() => new nn.GroupNorm(3, 16)).toThrow('GroupNorm: 16 channels do not divide into 3 groups; choose groups that divide 16')
  for (const affine of [true, false]) {
    const run = (): unknown => new nn.GroupNorm(4, 16, { affine }).call(ones([1, 8, 2]))
    expect(run).toThrow(ShapeError)
    expect(run).toThrow('GroupNorm: input [1,8,2] is not [N,16,…]; reshape it, or make the layer for its channels')
  }
})
