/** Edges: ties, zeros, NaN, infinities, empty axes, integer division, the ends of ranges, and draws. */
import { afterAll, describe, expect, test } from 'vitest'
import * as ops from '../../engine/index.ts'
import type { Device, HostData, Tensor, TensorLike } from '../../engine/index.ts'
import { closeAll, onEach, openAll } from '../devices.ts'

const opened = await openAll()
afterAll(async () => closeAll(opened))

/** On each device: the values are what is expected. Tensors are made on that device. */
function values(name: string, body: (make: (data: HostData, dtype?: ops.DType) => Tensor, device: Device) => readonly (readonly [TensorLike, unknown])[]): void {
  onEach(opened, name, async (device) => {
    for (const [x, expected] of body((data, dtype) => ops.tensor(data, null, dtype === undefined ? { device } : { dtype, device }), device)) {
      expect(await x.read().array()).toEqual(expected)
    }
  })
}

const gradient = (x: Tensor, f: (x: Tensor) => Tensor): Tensor => ops.grad(ops.sum(f(x)), x)

describe('gradients at ties and zeros', () => {
  values('of extremes', (t) => [
    [gradient(t([1, 3, 3]), (x) => ops.max(x)), [0, 0.5, 0.5]],
    [gradient(t([1, 3, 5]), (x) => ops.maximum(x, 3)), [0, 0.5, 1]],
    [gradient(t([-1, 0, 2]), ops.relu), [0, 0, 1]],
    [gradient(t([-2, -1, 0, 1, 2]), (x) => ops.clamp(x, -1, 1)), [0, 1, 1, 1, 0]],
  ])
  values('of roots and powers', (t) => [
    [gradient(t([0, 0]), (x) => ops.norm(x)), [0, 0]],
    [gradient(t([0, 0]), (x) => ops.norm(x, 0, { order: 3 })), [0, 0]],
    [gradient(t([2, 2]), (x) => ops.std(x)), [0, 0]],
    [gradient(t([0, 0, 0]), (x) => ops.pow(x, t([0, 1, 2]))), [0, 1, 0]],
    [gradient(t([0, 1, 2]), (y) => ops.pow(t([0, 0, 0]), y)), [0, 0, 0]],
    [gradient(t([0, 2, 3]), (x) => ops.prod(x)), [6, 0, 0]],
    [gradient(t([0, 2, 0]), (x) => ops.prod(x)), [0, 0, 0]],
  ])
  values('of losses', (t) => [
    [ops.abs(ops.bce(t([0, 1, 0, 1]), t([0, 1, 1, 0]), { reduction: 'none' })), [0, 0, 100, 100]],
    [gradient(t([0, 1]), (p) => ops.bce(p, t([0, 1]), { reduction: 'sum' })), [0, 0]],
    [ops.klDiv(t([-1, -2, 0]), t([0, 1, 0]), { reduction: 'none' }), [0, 2, 0]],
    [ops.klDiv(t([-1, -Infinity, -3]), t([-1, 0.5, NaN]), { reduction: 'none' }), [NaN, Infinity, NaN]],
    [gradient(t([0, 1, 0]), (p) => ops.klDiv(t([-1, -2, -3]), p, { reduction: 'sum' })), [1, 3, 3]],
    [ops.klDiv(t(-2), t(1), { reduction: 'batchmean' }), 2],
    [ops.klDiv(t([[-1, -2], [-4, -8]]), t([[1, 1], [1, 1]]), { reduction: 'batchmean' }), 7.5],
    [gradient(t([-1e4, 1e4, 0]), (x) => ops.bceWithLogits(x, t([0, 1, 1]), { reduction: 'sum' })), [0, 0, -0.5]],
  ])
})

const activations = [ops.relu, ops.leakyRelu, ops.silu, ops.mish, ops.gelu, ops.quickGelu, ops.softplus, ops.logSigmoid, ops.elu, ops.hardswish, ops.sigmoid, ops.tanh, ops.erf, ops.atan]
onEach(opened, 'activations and their gradients are finite, and hand on NaN', async (device) => {
  const x = ops.tensor([-1e4, -100, -1, -1e-30, 0, 1e-30, 1, 100, 1e4], null, { device })
  for (const f of [...activations, (v: Tensor) => ops.softplus(v, { beta: 3, threshold: 5 }), (v: Tensor) => ops.gelu(v, { approximate: 'tanh' })]) {
    expect(await ops.all(ops.isFinite(f(x))).array()).toBe(true)
    expect(await ops.all(ops.isFinite(gradient(x, f))).array()).toBe(true)
    expect(await f(ops.tensor([NaN], null, { device })).array()).toEqual([NaN])
  }
})

onEach(opened, 'a query that may attend to nothing gives zeros and has no influence, to the second derivative', async (device) => {
  const [q, k, v] = ([[3, 4], [5, 4], [5, 2]] as const).map(([rows, size], i) => ops.tensor(Float32Array.from({ length: rows * size }, (_, j) => Math.sin(7 * i + j)), [rows, size], { device })) as [Tensor, Tensor, Tensor]
  const mask = ops.tensor([[true], [false], [true]], null, { device })
  const seen = (x: Tensor): Tensor => ops.concat([ops.slice(x, [[0, 1]]), ops.slice(x, [[2, 3]])], 0)
  const loss = (y: Tensor): Tensor => ops.sum(ops.mul(y, y))
  const [dq, dk, dv] = ops.grad(loss(ops.scaledDotProductAttention(q, k, v, { mask })), [q, k, v])
  const [eq, ek, ev] = ops.grad(loss(ops.scaledDotProductAttention(seen(q), k, v)), [q, k, v])
  expect(await ops.scaledDotProductAttention(q, k, v, { mask }).array()).toHaveProperty('1', [0, 0])
  const second = ops.grad(ops.add(loss(dq), loss(dk)), [q, k, v])
  const expected = ops.grad(ops.add(loss(eq), loss(ek)), [q, k, v])
  for (const [x, y] of [[dq, eq], [dk, ek], [dv, ev], ...second.map((x, i) => [x, expected[i] ?? x] as const)] as const) {
    expect(await ops.max(ops.abs(ops.sub(x, y))).item()).toBeLessThan(2e-6)
  }
})

const powers = Array.from({ length: 254 }, (_, i) => i - 126)
values('of functions at their edges', (t) => [
  [ops.log2(t(powers.map((k) => 2 ** k))), powers], // exactly
  [ops.log2(t([0, -1, Infinity, NaN])), [-Infinity, NaN, Infinity, NaN]],
  [ops.log2(t([8], 'i32')), [3]],
  [ops.mul(ops.atan(t([0, Infinity, -Infinity, 1, -1, NaN])), 4 / Math.fround(Math.PI)), [0, expect.closeTo(2, 5), expect.closeTo(-2, 5), expect.closeTo(1, 5), expect.closeTo(-1, 5), NaN]],
  [ops.div(1, ops.atan(t([-0]))), [-Infinity]],
  [gradient(t([1e30, -1e30, 0]), (x) => ops.atan(x)), [expect.closeTo(0), expect.closeTo(0), 1]],
  [ops.softplus(t([0.75, 1.25, 1e4, -1e4]), { beta: 4, threshold: 3.5 }), [expect.closeTo(0.762147, 5), 1.25, 1e4, 0]],
  [ops.softplus(t([-1, 1e4, -1e4]), { beta: -2, threshold: 1 }), [-1, -0, -1e4]],
  [gradient(t([1, 3, 1e30]), (x) => ops.softplus(x, { threshold: 2 })), [expect.closeTo(0.731059, 5), 1, 1]],
])

values('infinities', (t) => [
  [ops.logsumexp(t([[-Infinity, -Infinity], [1, Infinity]]), 1), [-Infinity, Infinity]],
  [ops.isNaN(t([NaN, 1, Infinity])), [true, false, false]],
  [ops.isFinite(t([NaN, 1, Infinity, -Infinity])), [false, true, false, false]],
])

values('integers', (t) => [
  [ops.sum(t([200, 100], 'u8')), 300],
  [ops.add(t([200], 'u8'), 100), [300]],
  [ops.add(t([true]), 2), [3]],
  [ops.mean(t([1, 2], 'i32')), 1.5],
  [ops.div(t([3], 'i32'), 2), [1.5]],
  [ops.remainder(t([7, -7, 7, -7, 5], 'i32'), t([3, 3, -3, -3, 0], 'i32')), [1, 2, -2, -1, 0]],
  [ops.floorDivide(t([7, -7, 7, -7, 6, 5], 'i32'), t([3, 3, -3, -3, 3, 0], 'i32')), [2, -3, -3, 2, 2, 0]],
  [ops.remainder(t([7, -7, 7, -7, 5.5, -0.5]), t([3, 3, -3, -3, 2, 1])), [1, 2, -2, -1, 1.5, 0.5]],
  [ops.remainder(t([4294967295, 7], 'u32'), t([10, 4], 'u32')), [5, 3]],
  [ops.round(t([0.5, 1.5, 2.5, -1.5, 2.4])), [0, 2, 2, -2, 2]],
  [ops.bitwiseNot(t([0], 'u8')), [-1]],
  [ops.shiftRight(t([-16], 'i32'), 2), [-4]],
  [ops.shiftRight(t([4294967280], 'u32'), 4), [268435455]],
  [ops.logicalXor(t([1, 0, 2]), t([true, true, false])), [false, true, true]],
])

values('which is the largest', (t) => [
  [ops.argmax(t([[1, 3, 3], [NaN, 5, NaN]]), 1), [1, 0]],
  [ops.argmin(t([[1, 3, 1], [4, NaN, 5]]), 1, { keepDims: true }), [[0], [1]]],
  [ops.argmax(t([[1, 2], [9, 3]])), 2],
  [ops.max(t([true, false])), true],
  [ops.sort(t([3, NaN, 1, 3, 2])).indices, [2, 4, 0, 3, 1]],
  [ops.argsort(t([3, 1, 3, 2]), 0, { descending: true }), [0, 2, 3, 1]],
  [ops.topK(t([3, 1, NaN, 2]), 2).values, [NaN, 3]],
])

values('nothing', (t, device) => {
  const none = ops.zeros([0, 3], { device })
  return [
    [ops.sum(none, 0), [0, 0, 0]],
    [ops.prod(none), 1],
    [ops.any(none), false],
    [ops.all(none), true],
    [ops.mean(none), NaN],
    [ops.concat([none, t([[1, 2, 3]])]), [[1, 2, 3]]],
    [ops.cumprod(none, 0), []],
    [ops.sort(none, 0).values, []],
    [ops.pad(none, [[1, 0], 0]), [[0, 0, 0]]],
    [ops.normal([0, 3], { generator: new ops.RandomGenerator(1), device }), []],
    [ops.slice(t([1, 2]), [[1, 1]]), []],
  ]
})

values('ranges', (t, device) => [
  [ops.arange(2, 8, { step: 3, device }), [2, 5]],
  [ops.arange(1, 0, { step: -0.25, device }), [1, 0.75, 0.5, 0.25]],
  [ops.arange(5, 2, { device }), []],
  [ops.linspace(0, 1, 5, { device }), [0, 0.25, 0.5, 0.75, 1]],
  [ops.linspace(3, 9, 1, { device }), [3]],
  [ops.eye(2, 3, { device }), [[1, 0, 0], [0, 1, 0]]],
  [ops.triu(ops.ones([2, 3], { device }), 1), [[0, 1, 1], [0, 0, 1]]],
  [ops.oneHot(t([0, 2, 5], 'i32'), 3), [[1, 0, 0], [0, 0, 1], [0, 0, 0]]],
  [ops.slice(t([0, 1, 2, 3, 4]), [[100, null, -2]]), [4, 2, 0]],
  [ops.slice(t([0, 1, 2]), [[2, -4, -1]]), [2, 1, 0]],
  [ops.slice(t([[0, 1], [2, 3]]), ['...', -1]), [1, 3]],
  [ops.pad(t([1, 2, 3]), [[2, 1]], { mode: 'reflect' }), [3, 2, 1, 2, 3, 2]],
  [ops.pad(t([1, 2, 3]), [2], { mode: 'circular' }), [2, 3, 1, 2, 3, 1, 2]],
  [ops.pad(t([1, 2], 'i32'), [1], { value: 9 }), [9, 1, 2, 9]],
  [ops.roll(t([1, 2, 3]), -1, 0), [2, 3, 1]],
])

describe('draws', () => {
  onEach(opened, 'numbers that change compile nothing', async (device) => {
    const generator = new ops.RandomGenerator(1)
    const all = (i: number): Tensor[] => [
      ops.normal([8], { generator, device, mean: i, std: 1 + i }),
      ops.randint([8], { generator, device, low: -i, high: 3 + i }),
      ops.dropout(ops.ones([4], { device }), { generator, p: i / 4 }),
      ops.arange(i, i + 3, { device }),
      ops.clamp(ops.ones([3], { device }), -i, i),
    ]
    await ops.realize(...all(0))
    device.resetCounters()
    for (let i = 1; i < 5; i++) await ops.realize(...all(i))
    expect(device.counters.plansCompiled).toBe(0)
  })

  onEach(opened, 'a row depends on its own generator, not on its batch', async (device) => {
    const draw = async (...seeds: number[]): Promise<ops.TypedArray> => ops.normal([seeds.length, 5], { generator: seeds.map((s) => new ops.RandomGenerator(s)), device }).data()
    const alone = await draw(8)
    expect((await draw(7, 8)).subarray(5)).toEqual(alone)
    expect((await draw(8, 7)).subarray(0, 5)).toEqual(alone)
  })

  onEach(opened, 'have the moments they should', async (device) => {
    const z = ops.normal([100_000], { generator: new ops.RandomGenerator(3), device })
    const [mean, variance, kurtosis] = [ops.mean(z), ops.variance(z), ops.mean(ops.powInteger(z, 4))]
    await ops.realize(mean, variance, kurtosis)
    expect(await mean.item()).toBeCloseTo(0, 1)
    expect(Math.abs((await variance.item()) - 1)).toBeLessThan(0.02)
    expect(Math.abs((await kurtosis.item()) - 3)).toBeLessThan(0.12)
    const order = await ops.permutation(1000, { generator: new ops.RandomGenerator(4), device }).data()
    expect(Array.from(order).sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
  })

  test('a generator goes on from its state, and its children are unrelated', () => {
    const generator = new ops.RandomGenerator(2n ** 64n - 1n)
    generator.take(9)
    const state = generator.state()
    expect(state).toEqual({ key: [0xffffffff, 0xffffffff], counter: [3, 0] })
    generator.take(1)
    const other = new ops.RandomGenerator(0)
    other.restore(structuredClone(state))
    expect(other.state()).toEqual(state)
    expect(generator.fork(1).state()).toEqual(other.fork(1).state())
    expect(new Set([...generator.split(3), generator].map((g) => g.state().key.join())).size).toBe(4)
  })
})
