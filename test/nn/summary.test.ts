/** Summaries: numbers worked out by hand, what is traced and what is left as it was. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, RandomGenerator, add, device as openDevice, metaDevice, mul, withDefaultDevice, zeros } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../../engine/index.ts'
import * as nn from '../../nn/index.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('reference')
})
afterAll(async () => device.close())

/** A convolution, a normalisation, and a layer that is called twice; their results go through functions too. */
class Small extends nn.Module<[TensorLike], Tensor[]> {
  readonly conv: nn.Conv2d = new nn.Conv2d(3, 8, 3, { padding: 1, stride: 2 })
  readonly norm: nn.BatchNorm2d = new nn.BatchNorm2d(8)
  readonly mix: nn.Sequential = new nn.Sequential(new nn.Identity(), new nn.Conv2d(8, 8, 1, { bias: false }))

  forward(x: TensorLike): Tensor[] {
    const h = this.norm.call(this.conv.call(x))
    return [add(this.mix.call(h), this.mix.call(mul(h, 2))), h]
  }
}

test('a small network, by hand', () => {
  const model = new Small()
  nn.freeze(model.mix)
  const got = nn.summary(model, [2, 3, 6, 4])
  // conv: 2·8·3·2 results of 3·3·3 products; mix: as many of 8 products, twice.
  const [conv, mix, bytes] = [2 * (2 * 8 * 3 * 2) * 27, 2 * (2 * 8 * 3 * 2) * 8, 4 * 2 * 8 * 3 * 2]
  const map = [[2, 8, 3, 2]]
  expect(got.rows).toEqual([
    { path: '', type: 'Small', outputs: [...map, ...map], parameters: 224 + 16 + 64, flops: conv + 2 * mix, activationBytes: 4 * bytes },
    { path: 'conv', type: 'Conv2d', outputs: map, parameters: 8 * 3 * 9 + 8, flops: conv, activationBytes: bytes },
    { path: 'norm', type: 'BatchNorm2d', outputs: map, parameters: 16, flops: 0, activationBytes: bytes },
    ...[0, 1].flatMap(() => [
      { path: 'mix', type: 'Sequential', outputs: map, parameters: 64, flops: mix, activationBytes: bytes },
      { path: 'mix.0', type: 'Identity', outputs: map, parameters: 0, flops: 0, activationBytes: 0 },
      { path: 'mix.1', type: 'Conv2d', outputs: map, parameters: 64, flops: mix, activationBytes: bytes },
    ]),
  ])
  const { parameters, trainable, parameterBytes, flops, activationBytes } = got
  expect({ parameters, trainable, parameterBytes, flops, activationBytes }).toEqual({ parameters: 304, trainable: 240, parameterBytes: 1216, flops: conv + 2 * mix, activationBytes: 4 * bytes })
  expect(got.table(1).split('\n')).toEqual([
    'module   type         output               parameters   FLOPs  activations',
    '(model)  Small        [2,8,3,2] [2,8,3,2]         304  8.26 k     1.50 KiB',
    'conv     Conv2d       [2,8,3,2]                   224  5.18 k        384 B',
    'norm     BatchNorm2d  [2,8,3,2]                    16      0         384 B',
    'mix      Sequential   [2,8,3,2]                    64  1.54 k        384 B',
    'mix      Sequential   [2,8,3,2]                    64  1.54 k        384 B',
    '304 parameters (1.19 KiB), 240 of them trained, 8.26 kFLOP, 1.50 KiB of activations',
  ])
})

describe('counts the FLOPs of', () => {
  test.each<[string, () => nn.Module, readonly number[], number]>([
    ['a linear layer', () => new nn.Linear(3, 5), [2, 7, 3], 2 * 2 * 7 * 3 * 5],
    ['a grouped convolution', () => new nn.Conv1d(4, 6, 3, { groups: 2 }), [1, 4, 5], 2 * 6 * 3 * 2 * 3],
    ['a transposed convolution', () => new nn.ConvTranspose2d(8, 2, 3), [2, 8, 4, 4], 2 * 2 * 8 * 16 * 2 * 9],
    // In and out projections, q·kᵀ and its product with v.
    ['attention', () => new nn.MultiheadAttention(8, 2), [2, 5, 8], 2 * 2 * 5 * 8 * 24 + 2 * 2 * 5 * 8 * 8 + 2 * (2 * 2 * 2 * 5 * 5 * 4)],
  ])('%s', (_, make, shape, flops) => {
    expect(nn.summary(make(), shape).flops).toBe(flops)
  })
})

test('computes nothing, moves nothing, and leaves the model as it was', () => {
  const model = new Small()
  model.mix.eval()
  const before = device.counters.submits
  const calls = (): unknown[] => [...nn.namedModules(model).values()].map((m) => [Object.hasOwn(m, 'forward'), m.training])
  const was = calls()
  const mean = model.norm.running_mean?.read()
  nn.summary(model, [1, 3, 4, 4])
  expect(() => nn.summary(model, [1, 2, 4, 4])).toThrow('conv2d: input has 2 channels but weight expects 3')
  expect([device.counters.submits, calls(), model.norm.running_mean?.read()]).toEqual([before, was, mean])
})

test('takes tensors and other arguments as they are, and works on the meta device', () => {
  const meta = metaDevice()
  const layer = withDefaultDevice(meta, () => new nn.MultiheadAttention(512, 8))
  const x = zeros([64, 4096, 512], { device: meta })
  const { rows } = nn.summary(layer, x, x, x, { causal: true })
  expect(rows.map(({ path, outputs }) => [path, outputs])).toEqual([['', [[64, 4096, 512]]], ['out_proj', [[64, 4096, 512]]]])
  const table = withDefaultDevice(meta, () => new nn.Embedding(10, 4, { generator: new RandomGenerator(1) }))
  expect(nn.summary(table, zeros([3], { dtype: 'i32', device: meta })).rows[0]?.outputs).toEqual([[3, 4]])
})

test('without inputs there is nothing to trace', () => {
  expect(() => nn.summary(new Small())).toThrow(ConfigError)
  expect(() => nn.summary(new Small())).toThrow('summary: there are no inputs; pass their shapes, such as summary(model, [1, 3, 32, 32]), or tensors')
})
