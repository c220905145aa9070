/** What layers do besides computing: running statistics, dropout, padding rows, positions; and what they refuse. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, RandomGenerator, ShapeError, device as openDevice, grad, matmul, normal, ones, realize, sum, tensor, transpose, zeros } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../../engine/index.ts'
import * as nn from '../../nn/index.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

const draw = (seed: number, shape: readonly number[]): Tensor => normal(shape, { generator: new RandomGenerator(seed) })
const list = async (x: { data(): Promise<ArrayLike<number>> } | undefined): Promise<number[]> => (x === undefined ? [] : Array.from(await x.data()))

describe('BatchNorm2d', () => {
  test('keeps running statistics over steps, with unbiased variances', async () => {
    const norm = new nn.BatchNorm2d(1, { momentum: 0.25 })
    let [mean, variance] = [0, 1]
    for (const values of [[1, 2, 3, 6], [0, 0, 4, 4], [-1, 1, -1, 1]]) {
      await realize(norm.call(tensor(values, [1, 1, 2, 2])))
      const average = values.reduce((a, b) => a + b) / 4
      mean += 0.25 * (average - mean)
      variance += 0.25 * (values.reduce((a, b) => a + (b - average) ** 2, 0) / 3 - variance)
    }
    expect((await list(norm.running_mean))[0]).toBeCloseTo(mean, 6)
    expect((await list(norm.running_var))[0]).toBeCloseTo(variance, 6)
    expect(await list(norm.num_batches_tracked)).toEqual([3])
    norm.eval()
    const [y] = await list(norm.call(tensor([5], [1, 1, 1, 1])))
    expect(y).toBeCloseTo((5 - mean) / Math.sqrt(variance + 1e-5), 5)
    expect(await list(norm.num_batches_tracked)).toEqual([3])
  })

  test('running statistics pass no gradient to the next call', async () => {
    const [first, second] = [new nn.BatchNorm2d(2), new nn.BatchNorm2d(2)]
    const x = draw(1, [2, 2, 3, 3])
    const call = (norm: nn.BatchNorm2d): Tensor => {
      norm.call(x)
      return norm.eval().call(x)
    }
    const slope = grad(sum(call(first)), x)
    await realize(call(second))
    expect(await list(slope)).toEqual(await list(grad(sum(second.call(x)), x)))
  })

  test('refuses one value a channel in training, and other shapes', () => {
    const norm = new nn.BatchNorm2d(2)
    expect(() => norm.call(ones([1, 2, 1, 1]))).toThrow(ShapeError)
    expect(() => norm.call(ones([1, 2, 1, 1]))).toThrow('BatchNorm2d: input [1,2,1,1] has one value for each channel, whose variance is 0; train on more images or pixels, or call eval()')
    expect(() => norm.call(ones([1, 3, 2, 2]))).toThrow('BatchNorm2d: input [1,3,2,2] is not [N,2,H,W]; reshape it, or make the layer for its channels')
    expect(() => new nn.InstanceNorm2d(2).call(ones([1, 2, 2]))).toThrow('InstanceNorm2d: input [1,2,2] is not [N,2,H,W]')
  })
})

describe('Dropout', () => {
  test('drops a share and scales the rest, the same for the same seed, and nothing in evaluation', async () => {
    const x = ones([10_000])
    const values = async (seed: number): Promise<number[]> => list(new nn.Dropout(0.2, { generator: new RandomGenerator(seed) }).call(x))
    const y = await values(1)
    expect(new Set(y)).toEqual(new Set([0, 1.25]))
    expect(Math.abs(y.filter((v) => v === 0).length - 2000)).toBeLessThan(200)
    expect(await values(1)).toEqual(y)
    expect(await values(2)).not.toEqual(y)
    expect(new nn.Dropout().eval().call(x)).toBe(x)
    expect(new nn.Dropout(0).call(x)).toBe(x)
  })

  test('draws from the device, anew at each call', async () => {
    const [layer, x] = [new nn.Dropout(), ones([64])]
    device.manualSeed(3)
    const y = [await list(layer.call(x)), await list(layer.call(x))]
    expect(y[0]).not.toEqual(y[1])
    device.manualSeed(3)
    expect(await list(layer.call(x))).toEqual(y[0])
  })

  test('refuses what is no share', () => {
    expect(() => new nn.Dropout(1.5)).toThrow(ConfigError)
    expect(() => new nn.Dropout(1.5)).toThrow('Dropout: p is 1.5, but is a share of the elements; use a number from 0 to 1')
  })
})

describe('Embedding', () => {
  test('the padding row is zeros and gets no gradient', async () => {
    const table = new nn.Embedding(3, 2, { paddingIdx: 1 })
    const slope = grad(sum(table.call(tensor([0, 1, 1, 2], null, { dtype: 'i32' }))), table.weight)
    expect([(await list(table.weight)).slice(2, 4), await list(slope)]).toEqual([[0, 0], [1, 1, 0, 0, 1, 1]])
  })

  test('refuses a padding row outside the table', () => {
    expect(() => new nn.Embedding(3, 2, { paddingIdx: 3 })).toThrow('Embedding: paddingIdx 3 is not a row of a table of 3; use an integer from -3 to 2')
  })
})

describe('positions', () => {
  test.each(['interleaved', 'halves'] as const)('rotary products depend on distances alone, %s', async (pairs) => {
    const [q, k] = [draw(1, [1, 8]).expand([6, 8]), draw(2, [1, 8]).expand([6, 8])]
    const products = async (from: number): Promise<number[]> => {
      const positions = tensor([0, 1, 2, 3, 4, 5].map((i) => i + from))
      return list(matmul(nn.rotaryEmbedding(q, { pairs, positions }), transpose(nn.rotaryEmbedding(k, { pairs, positions }))))
    }
    const [here, there] = [await products(0), await products(40)]
    here.forEach((x, i) => expect(Math.abs(x - (there[i] ?? 0))).toBeLessThan(1e-4))
    expect(Math.abs((here[0] ?? 0) - (here[5] ?? 0))).toBeGreaterThan(1e-2)
  })

  test('refuse sizes without pairs or frequencies', () => {
    expect(() => nn.rotaryEmbedding(zeros([2, 3]))).toThrow('rotaryEmbedding: x is [2,3], but needs axes [...,T,D] with an even D; reshape it')
    expect(() => nn.rotaryEmbedding(zeros([2, 4]), { positions: zeros([3]) })).toThrow('rotaryEmbedding: positions are [3] but x [2,4] has 2 rows; pass one for each, [2]')
    expect(() => nn.sinusoidalEmbedding(zeros([2]), 2, { shift: 1 })).toThrow('sinusoidalEmbedding: size 2 with a shift of 1 leaves no frequencies; use an integer of at least 4')
  })

  test('Fourier features are saved, not trained, and drawn with their scale', async () => {
    const features = new nn.GaussianFourierProjection(2000, { scale: 16, generator: new RandomGenerator(1) })
    expect([Object.keys(features.stateDict()), Object.keys(nn.namedParameters(features))]).toEqual([['weight'], []])
    const square = (await list(features.weight)).reduce((a, w) => a + w * w, 0) / 2000
    expect(Math.abs(Math.sqrt(square) / 16 - 1)).toBeLessThan(0.05)
  })
})

describe('activations', () => {
  test('ReLU6 is PyTorch\'s at its bends too, where the slope is 0', async () => {
    const x = tensor([-1, 0, 3, 6, 7, Number.NaN])
    const y = new nn.ReLU6().call(x)
    const slope = grad(sum(y), x)
    await realize(y, slope)
    expect([await list(y), (await list(slope)).slice(0, 5)]).toEqual([[0, 0, 3, 6, 6, Number.NaN], [0, 0, 1, 0, 0]])
  })

  test('PReLU starts with slopes of 1/4 unless told, and wants its channels', async () => {
    expect([await list(new nn.PReLU(3).weight), await list(new nn.PReLU(1, { init: 0.5 }).weight)]).toEqual([[0.25, 0.25, 0.25], [0.5]])
    expect(await list(new nn.PReLU().call(tensor([-4, 0, 2])))).toEqual([-1, 0, 2])
    expect(() => new nn.PReLU(3).call(ones([3]))).toThrow(ShapeError)
    expect(() => new nn.PReLU(3).call(ones([2, 4]))).toThrow('PReLU: input [2,4] is not [N,3,…]; reshape it, or make the layer for its channels')
  })
})

describe('convolutions', () => {
  test.each([
    [() => new nn.Conv2d(6, 8, 3, { groups: 4 }), 'Conv2d: 6 input channels do not divide into 4 groups; choose groups that divide 6'],
    [() => new nn.Conv1d(4, 6, 3, { groups: 4 }), 'Conv1d: 6 output channels do not divide into 4 groups; choose groups that divide 6'],
    [() => new nn.ConvTranspose2d(4, 6, 3, { groups: 4 }), 'ConvTranspose2d: 6 output channels do not divide into 4 groups; choose groups that divide 6'],
    [() => new nn.Conv2d(1, 1, [3, 3, 3]), 'Conv2d: kernel [3,3,3] has 3 numbers for 2 spatial axes; give one number, or one per axis'],
  ])('refuses %o', (make, message) => {
    expect(make).toThrow(ConfigError)
    expect(make).toThrow(message)
  })
})

test('narrow floats stay what they are', () => {
  const x = ones([2, 4, 2, 2], { dtype: 'bf16' })
  const norm = new nn.BatchNorm2d(4)
  const results = [norm.call(x), norm.eval().call(x), new nn.InstanceNorm2d(4).call(x), nn.rotaryEmbedding(x), new nn.RMSNorm(2, { elementwiseAffine: false }).call(x), new nn.Dropout().call(x), new nn.PReLU(4).call(x), new nn.SELU().call(x), new nn.ReLU6().call(x)]
  expect(results.map(({ dtype }) => dtype)).toEqual(results.map(() => 'bf16'))
})

test('a Sequential runs its layers in order, and what replaces them', async () => {
  const model = new nn.Sequential(new nn.Linear(2, 2), new nn.ReLU())
  const x = tensor([[1, -2]])
  const [linear] = [model[0]]
  if (linear === undefined) throw new RangeError('a layer')
  expect(await list(model.call(x))).toEqual((await list(linear.call(x))).map((v) => Math.max(0, v)))
  nn.replaceModules(model, (module) => (module instanceof nn.ReLU ? new nn.Identity() : undefined))
  expect(await list(model.call(x))).toEqual(await list(linear.call(x)))
  expect(model.call(x).node.path).toBe('0')
})

/** The table that words are looked up in is also what they are scored by (Press and Wolf, arXiv:1608.05859). */
class Tied extends nn.Module<[TensorLike], Tensor> {
  readonly emb: nn.Embedding = new nn.Embedding(5, 3)
  readonly head: nn.Linear = new nn.Linear(3, 5, { bias: false })

  constructor() {
    super()
    this.head.weight = this.emb.weight
  }

  forward(index: TensorLike): Tensor {
    return this.head.call(this.emb.call(index))
  }
}

test('weights are tied by assigning one, and trained as one', async () => {
  const [model, index] = [new Tied(), tensor([0, 3], null, { dtype: 'i32' })]
  expect([Object.keys(model.stateDict()), Object.keys(nn.namedParameters(model))]).toEqual([['emb.weight', 'head.weight'], ['emb.weight']])
  const before = await list(model.emb.weight)
  const loss = sum(model.call(index).mul(draw(1, [2, 5])))
  await realize(new nn.SGD(nn.namedParameters(model), { lr: 0.1 }).update({ 'emb.weight': grad(loss, model.emb.weight) }))
  const scores = matmul(model.emb.call(index), transpose(model.emb.weight))
  expect(await list(model.call(index))).toEqual(await list(scores))
  expect(await list(model.head.weight)).not.toEqual(before)
})
