/** UNet2D: what it refuses, that every parameter matters, and how its ops are called. (The oracles say what it computes.) */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { UNet2D } from '../../diffusion/unet.ts'
import type { UNet2DConfig } from '../../diffusion/unet-config.ts'
import { timestepEmbedding } from '../../diffusion/timestep.ts'
import { ConfigError, RandomGenerator, ShapeError, device as openDevice, mul, normal, sum, tensor, valueAndGrad } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'

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

const make = (changes: Partial<UNet2DConfig> = {}): UNet2D => new UNet2D({ ...small, ...changes }, { device, generator: new RandomGenerator(1) })
/** As programs without types make it, from a config.json. */
const makeFrom = (changes: object): UNet2D => Reflect.construct(UNet2D, [{ ...small, ...changes }, { device, generator: new RandomGenerator(1) }])
const draw = (shape: number[]): Tensor => normal(shape, { generator: new RandomGenerator(2), device })

test('every parameter gets a gradient, and none but key biases a vanishing one', { timeout: 120_000 }, async () => {
  const model = make()
  const y = model.call(draw([2, 2, 4, 6]), tensor([3, 700.5], null, { device }))
  expect(y.shape).toEqual([2, 3, 4, 6])
  const parameters = model.stateDict()
  const { grads } = valueAndGrad(sum(mul(y, draw(y.shape as number[]))), parameters)
  const sizes = await Promise.all(Object.entries(grads).map(async ([name, g]) => [name, Math.max(...[...(await g.data())].map(Math.abs))] as const))
  expect(sizes.filter(([name, size]) => size < 1e-6 && !name.endsWith('to_k.bias'))).toEqual([])
})

const stages: Pick<UNet2DConfig, 'block_out_channels' | 'down_block_types' | 'up_block_types'>[] = [
  { block_out_channels: [8], down_block_types: ['DownBlock2D'], up_block_types: ['UpBlock2D'] },
  { block_out_channels: [4, 4, 8], down_block_types: ['DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'] },
]

test.each(stages)('stages %o', (given) => {
  const model = make({ ...given, layers_per_block: 2 })
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

/** What the configurations of published checkpoints say of their networks: ddpm-cifar10-32, and ddpm-butterflies-128 with the keys of later versions. */
const cifar = {
  _class_name: 'UNet2DModel', act_fn: 'silu', attention_head_dim: null, center_input_sample: false, downsample_padding: 0, flip_sin_to_cos: false,
  freq_shift: 1, mid_block_scale_factor: 1, norm_eps: 1e-6, time_embedding_type: 'positional',
}
const butterflies = {
  _class_name: 'UNet2DModel', _diffusers_version: '0.33.1', _name_or_path: 'unet', act_fn: 'silu', add_attention: true, attention_head_dim: 8, downsample_padding: 1,
  flip_sin_to_cos: true, freq_shift: 0, norm_eps: 1e-5, sample_size: [4, 6], center_input_sample: false, time_embedding_type: 'positional', time_embedding_dim: null,
  class_embed_type: null, num_class_embeds: null, resnet_time_scale_shift: 'default', attn_norm_num_groups: null, dropout: 0, downsample_type: 'conv',
  upsample_type: 'conv', mid_block_type: 'UNetMidBlock2D', mid_block_scale_factor: 1, num_train_timesteps: 1000,
}

/** What a network says of the same x, from weights that are drawn in the same order. */
const outputOf = async (model: UNet2D): Promise<number[]> => [...(await model.call(draw([1, 2, 4, 4]), tensor([500], null, { device })).data())]

test('what a configuration says of the network that is computed changes nothing', async () => {
  const plain = await outputOf(make({ attention_head_dim: 8 }))
  expect(await outputOf(makeFrom(butterflies))).toEqual(plain)
  expect(await outputOf(makeFrom({ ...butterflies, act_fn: 'swish', time_embedding_dim: 16, attn_norm_num_groups: 2, downsample_type: null, dropout: undefined }))).toEqual(plain)
})

test('without a size of heads there is one, and stages without attention have none to divide', async () => {
  const one = await outputOf(make({ attention_head_dim: null }))
  expect(await outputOf(make({ attention_head_dim: 8 }))).toEqual(one)
  expect(await outputOf(make({ attention_head_dim: 4 }))).not.toEqual(one)
})

describe('refuses', () => {
  test.each([
    [{ down_block_types: ['DownBlock2D'] }, 'UNet2D: there are 2 stages of channels, 1 down and 2 up blocks; give one of each per stage'],
    [{ up_block_types: ['UpBlock2D', 'SkipUpBlock2D'] }, 'UNet2D: block type SkipUpBlock2D is not one of UpBlock2D, AttnUpBlock2D'],
    [{ norm_num_groups: 3 }, 'UNet2D: 4 channels do not divide into 3 groups; choose norm_num_groups that divides every stage'],
    [{ attention_head_dim: 3 }, 'UNet2D: 8 channels do not divide into heads of 3; choose attention_head_dim that divides every stage with attention and the last, or null for one head'],
    [{ attention_head_dim: 8, up_block_types: ['UpBlock2D', 'AttnUpBlock2D'] }, 'UNet2D: 4 channels do not divide into heads of 8'],
    [{ attention_head_dim: 8, down_block_types: ['AttnDownBlock2D', 'DownBlock2D'] }, 'UNet2D: 4 channels do not divide into heads of 8'],
    [{ attention_head_dim: 16, down_block_types: ['DownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'UpBlock2D'] }, 'UNet2D: 8 channels do not divide into heads of 16'],
    [{ attention_head_dim: undefined }, 'UNet2D: attention_head_dim is undefined; use a positive integer, or null for one head'],
    [{ attention_head_dim: 0 }, 'UNet2D: attention_head_dim is 0; use a positive integer, or null for one head'],
    [{ in_channels: '3' }, 'UNet2D: in_channels is "3"; use a positive integer'],
    [{ layers_per_block: [1, 2] }, 'UNet2D: layers_per_block is [1,2]; use a positive integer'],
    [{ norm_num_groups: null }, 'UNet2D: norm_num_groups is null; use a positive integer'],
    [{ block_out_channels: [4, 0] }, 'UNet2D: block_out_channels is 0; use a positive integer'],
    [{ down_block_types: undefined }, 'UNet2D: down_block_types is undefined; give a list with an item for each stage'],
  ])('the configuration %o', (changes, message) => {
    expect(() => makeFrom(changes)).toThrow(ConfigError)
    expect(() => makeFrom(changes)).toThrow(message)
  })

  test.each([
    ['_class_name', 'UNet2DConditionModel', '"UNet2DModel"'],
    ['center_input_sample', true, 'false'],
    ['time_embedding_type', 'fourier', '"positional"'],
    ['time_embedding_type', 'learned', '"positional"'],
    ['time_embedding_dim', 32, 'null or 16'],
    ['flip_sin_to_cos', false, 'true'],
    ['freq_shift', 1, '0'],
    ['class_embed_type', 'timestep', 'null'],
    ['class_embed_type', 'identity', 'null'],
    ['num_class_embeds', 10, 'null'],
    ['act_fn', 'gelu', '"silu" or "swish"'],
    ['norm_eps', 1e-6, '0.00001'],
    ['norm_eps', null, '0.00001'],
    ['resnet_time_scale_shift', 'scale_shift', '"default"'],
    ['attn_norm_num_groups', 4, 'null or 2'],
    ['dropout', 0.1, '0'],
    ['downsample_type', 'resnet', '"conv" or null'],
    ['upsample_type', 'resnet', '"conv" or null'],
    ['downsample_padding', 0, '1'],
    ['mid_block_type', null, '"UNetMidBlock2D"'],
    ['mid_block_scale_factor', 1.4, '1'],
    ['add_attention', false, 'true'],
  ])('%s %o, which makes another network', (key, value, takes) => {
    const message = `UNet2D: the configuration asks for what this network does not compute: ${key} is ${JSON.stringify(value)} (it takes ${takes}); use weights that were trained without it, and leave out keys that have no part in it`
    expect(() => makeFrom({ [key]: value })).toThrow(ConfigError)
    expect(() => makeFrom({ [key]: value })).toThrow(message)
  })

  test('all of it at once, and keys that it does not know', () => {
    expect(() => makeFrom({ ...cifar })).toThrow('downsample_padding is 0 (it takes 1), flip_sin_to_cos is false (it takes true), freq_shift is 1 (it takes 0), norm_eps is 0.000001 (it takes 0.00001);')
    expect(() => makeFrom({ decay: 0.9999, cross_attention_dim: 768 })).toThrow('does not compute: decay is 0.9999 (a key that it does not know), cross_attention_dim is 768 (a key that it does not know);')
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
