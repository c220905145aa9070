/** UNet2D: what it refuses, that every parameter matters, and how its ops are called. (The oracles say what it computes.) */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { UNet2D } from '../../diffusion/unet.ts'
import type { UNet2DConfig } from '../../diffusion/unet.ts'
import { timestepEmbedding } from '../../diffusion/timestep.ts'
import { ConfigError, Generator, ShapeError, device as openDevice, mul, normal, sum, tensor, valueAndGrad } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { stateDict } from '../../nn/module.ts'

const small: UNet2DConfig = {
  sample_size: 4,
  in_channels: 2,
  out_channels: 3,
  block_out_channels: [4, 8],
  layers_per_block: 1,
  norm_num_groups: 2,
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
  up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
  attention_head_dim: 4,
}

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

const make = (changes: Partial<UNet2DConfig> = {}): UNet2D => new UNet2D({ ...small, ...changes }, { device, generator: new Generator(1) })
const draw = (shape: number[]): Tensor => normal(shape, { generator: new Generator(2), device })

test('every parameter gets a gradient, and none but key biases a vanishing one', async () => {
  const model = make()
  const y = model.call(draw([2, 2, 4, 6]), tensor([3, 700.5], null, { device }))
  expect(y.shape).toEqual([2, 3, 4, 6])
  const parameters = stateDict(model)
  const { grads } = valueAndGrad(sum(mul(y, draw(y.shape as number[]))), parameters)
  const sizes = await Promise.all(Object.entries(grads).map(async ([name, g]) => [name, Math.max(...[...(await g.data())].map(Math.abs))] as const))
  expect(sizes.filter(([name, size]) => size < 1e-6 && !name.endsWith('to_k.bias'))).toEqual([])
})

test.each([[[8], ['DownBlock2D'], ['UpBlock2D']], [[4, 4, 8], ['DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D'], ['UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D']]])('stages %o', (channels, down, up) => {
  const model = make({ block_out_channels: channels, down_block_types: down, up_block_types: up, layers_per_block: 2 })
  expect(model.call(draw([1, 2, 8, 8]), tensor([0], null, { device })).shape).toEqual([1, 3, 8, 8])
})

test('ops carry the paths of their modules', () => {
  const { node } = make().call(draw([1, 2, 4, 4]), tensor([0], null, { device }))
  expect(node.path).toBe('conv_out')
})

test('the sinusoids of the time', async () => {
  const t = [0, 1, 999]
  const got = await timestepEmbedding(tensor(t, null, { dtype: 'f32', device }), 4).data()
  const exact = t.flatMap((x) => [Math.cos(x), Math.cos(x / 100), Math.sin(x), Math.sin(x / 100)])
  exact.forEach((x, i) => expect(Math.abs((got[i] ?? Number.NaN) - x)).toBeLessThan(1e-4))
})

describe('refuses', () => {
  test.each([
    [{ down_block_types: ['DownBlock2D'] }, 'UNet2D: there are 2 stages of channels, 1 down and 2 up blocks; give one of each per stage'],
    [{ up_block_types: ['UpBlock2D', 'SkipUpBlock2D'] }, 'UNet2D: block type SkipUpBlock2D is not one of UpBlock2D, AttnUpBlock2D'],
    [{ norm_num_groups: 3 }, 'UNet2D: 4 channels do not divide into 3 groups; choose norm_num_groups that divides every stage'],
    [{ attention_head_dim: 3 }, 'UNet2D: 4 channels do not divide into heads of 3; choose attention_head_dim that divides every stage'],
  ])('the configuration %o', (changes, message) => {
    expect(() => make(changes)).toThrow(ConfigError)
    expect(() => make(changes)).toThrow(message)
  })

  test.each([
    [[1, 1, 4, 4], [1], 'UNet2D: x is [1,1,4,4] but the network takes [B,2,H,W]; reshape it'],
    [[1, 2, 4, 5], [1], 'UNet2D: images of 4x5 cannot be halved 1 times; use sizes that 2 divides'],
    [[2, 2, 4, 4], [1], 'UNet2D: t is [1] but x has a batch of 2; pass one timestep per image, [2]'],
  ])('x %o with t %o', (x, t, message) => {
    const model = make()
    const call = (): unknown => model.call(draw(x), draw(t))
    expect(call).toThrow(ShapeError)
    expect(call).toThrow(message)
  })
})
