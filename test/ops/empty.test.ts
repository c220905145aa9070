/** Ops over axes of size 0, as PyTorch has them: sums over nothing are 0, means NaN, and every device gives the same. */
import { afterAll, describe, expect } from 'vitest'
import * as ops from '../../engine/index.ts'
import type { Device, Shape, Tensor } from '../../engine/index.ts'
import { closeAll, onEach, openAll } from '../devices.ts'

const opened = await openAll()
const reference = await ops.device('reference', { makeDefault: false })
afterAll(async () => closeAll([...opened, { kind: 'reference', device: reference }]))

type Case = readonly [name: string, shapes: readonly Shape[], f: (...x: readonly Tensor[]) => Tensor | readonly Tensor[]]

const first = (x: readonly Tensor[], i = 0): Tensor => {
  const t = x[i]
  if (t === undefined) throw new RangeError('an operand')
  return t
}
const attention = (options: ops.AttentionOptions = {}) => (...x: readonly Tensor[]): Tensor => ops.scaledDotProductAttention(first(x), first(x, 1), first(x, 2), options)
const masked = (...x: readonly Tensor[]): Tensor => ops.scaledDotProductAttention(first(x), first(x, 1), first(x, 2), { mask: first(x, 3) })
const groups = (n: number, silu = false) => (...x: readonly Tensor[]): Tensor => ops.groupNorm(first(x), n, x[1], x[2], { silu })
const layers = (shape: Shape) => (...x: readonly Tensor[]): Tensor => ops.layerNorm(first(x), shape, x[1], x[2])
const conv = (...x: readonly Tensor[]): Tensor => ops.conv2d(first(x), first(x, 1), { padding: 1 })

const heads = (b: number, h: number, t: number, s: number, d: number, v: number): readonly Shape[] => [[b, h, t, d], [b, h, s, d], [b, h, s, v]]

const cases: readonly Case[] = [
  ...([['batch', 0, 2, 3, 4, 5, 6], ['heads', 2, 0, 3, 4, 5, 6], ['queries', 2, 2, 0, 4, 5, 6], ['keys', 2, 2, 3, 0, 5, 6], ['size of heads', 2, 2, 3, 4, 0, 6], ['size of values', 2, 2, 3, 4, 5, 0], ['queries and keys', 1, 2, 0, 0, 3, 3], ['all sizes', 1, 2, 3, 3, 0, 0]] as const).flatMap(([name, b, h, t, s, d, v]): Case[] => {
    const shapes = heads(b, h, t, s, d, v)
    const mask = [b, h, t, s]
    return [
      [`attention, ${name}`, shapes, attention()],
      [`causal attention, ${name}`, shapes, attention({ causal: true })],
      [`masked attention, ${name}`, [...shapes, mask], masked],
    ]
  }),
  ['attention with a scale, size of heads', heads(1, 1, 2, 3, 0, 4), attention({ scale: 0.5 })],
  ['layerNorm, rows', [[0, 5], [5], [5]], layers([5])],
  ['layerNorm, width', [[3, 0], [0], [0]], layers([0])],
  ['layerNorm without weights, width', [[3, 0]], layers([0])],
  ['layerNorm over two axes, one empty', [[3, 2, 0], [2, 0], [2, 0]], layers([2, 0])],
  ['rmsNorm, rows', [[0, 5], [5]], (...x) => ops.rmsNorm(first(x), [5], x[1])],
  ['rmsNorm, width', [[3, 0], [0]], (...x) => ops.rmsNorm(first(x), [0], x[1])],
  ['groupNorm, batch', [[0, 4, 3], [4], [4]], groups(2)],
  ['groupNorm, positions', [[2, 4, 0], [4], [4]], groups(2)],
  ['groupNorm with silu, positions', [[2, 4, 0, 3], [4], [4]], groups(2, true)],
  ['groupNorm, channels', [[2, 0, 3], [0], [0]], groups(2)],
  ['softmax, along', [[3, 0]], (...x) => ops.softmax(first(x))],
  ['softmax, beside', [[0, 3]], (...x) => ops.softmax(first(x))],
  ['softmax of columns, beside', [[3, 0]], (...x) => ops.softmax(first(x), 0)],
  ['logSoftmax, along', [[3, 0]], (...x) => ops.logSoftmax(first(x))],
  ['logsumexp, beside', [[0, 3]], (...x) => ops.logsumexp(first(x), 1)],
  ['linear, in', [[3, 0], [4, 0], [4]], (...x) => ops.linear(first(x), first(x, 1), x[2])],
  ['linear, rows', [[0, 3], [4, 3], [4]], (...x) => ops.linear(first(x), first(x, 1), x[2])],
  ['linear, out', [[2, 3], [0, 3], [0]], (...x) => ops.linear(first(x), first(x, 1), x[2])],
  ['matmul, k', [[3, 0], [0, 4]], (...x) => ops.matmul(first(x), first(x, 1))],
  ['matmul, m', [[0, 3], [3, 4]], (...x) => ops.matmul(first(x), first(x, 1))],
  ['matmul, n', [[3, 2], [2, 0]], (...x) => ops.matmul(first(x), first(x, 1))],
  ['matmul, batch', [[0, 3, 2], [2, 4]], (...x) => ops.matmul(first(x), first(x, 1))],
  ['matmul with an epilogue, k', [[3, 0], [0, 4], [4]], (...x) => ops.silu(ops.add(ops.matmul(first(x), first(x, 1)), first(x, 2)))],
  ['conv2d, batch', [[0, 3, 5, 5], [4, 3, 3, 3]], conv],
  ['conv2d, channels in', [[2, 0, 5, 5], [4, 0, 3, 3]], conv],
  ['conv2d, channels out', [[2, 3, 5, 5], [0, 3, 3, 3]], conv],
  ['conv2d with a bias, channels in', [[2, 0, 5, 5], [4, 0, 1, 1], [4]], (...x) => ops.conv2d(first(x), first(x, 1), { bias: x[2] })],
  ['conv2d, height within padding', [[2, 3, 0, 5], [4, 3, 3, 3]], (...x) => ops.conv2d(first(x), first(x, 1), { padding: 2 })],
  ['conv1d, batch', [[0, 3, 5], [4, 3, 3]], (...x) => ops.conv1d(first(x), first(x, 1))],
  ['conv3d, channels in', [[1, 0, 3, 3, 3], [2, 0, 3, 3, 3]], (...x) => ops.conv3d(first(x), first(x, 1))],
  ['convTranspose2d, batch', [[0, 3, 4, 4], [3, 2, 3, 3]], (...x) => ops.convTranspose2d(first(x), first(x, 1), { stride: 2 })],
  ['convTranspose2d, channels in', [[2, 0, 4, 4], [0, 2, 3, 3]], (...x) => ops.convTranspose2d(first(x), first(x, 1), { stride: 2 })],
  ['avgPool2d, batch', [[0, 2, 4, 4]], (...x) => ops.avgPool2d(first(x), 2)],
  ['maxPool2d, channels', [[2, 0, 4, 4]], (...x) => ops.maxPool2d(first(x), 2)],
  ['interpolate, channels', [[2, 0, 4, 4]], (...x) => ops.interpolate(first(x), { scaleFactor: 2, mode: 'bilinear' })],
  ['gather, index', [[3, 4]], (...x) => ops.indexSelect(first(x), [], 0)],
  ['scatterAdd, sources', [[3, 4], [0, 4]], (...x) => ops.scatterAdd(first(x), ops.zeros([0, 4], { dtype: 'i32', device: first(x).device }), first(x, 1), 0)],
  ['cumsum, along', [[3, 0]], (...x) => ops.cumsum(first(x), 1)],
  ['variance, of nothing', [[3, 0]], (...x) => ops.variance(first(x), 1)],
  ['norm, of nothing', [[3, 0]], (...x) => ops.norm(first(x), 1)],
  ['einsum, summed', [[3, 0], [0, 2]], (...x) => ops.einsum('ij,jk->ik', first(x), first(x, 1))],
  ['losses, of nothing', [[0, 3], [0, 3]], (...x) => [ops.mseLoss(first(x), first(x, 1)), ops.mseLoss(first(x), first(x, 1), { reduction: 'sum' })]],
  ['globalNorm, of one that is empty', [[0, 3], [2]], (...x) => ops.globalNorm(x)],
  ['globalNorm, of nothing', [[0, 3]], (...x) => ops.globalNorm(x)],
]

const operand = (shape: Shape, seed: number, device: Device): Tensor => {
  const size = shape.reduce((n, d) => n * d, 1)
  return ops.tensor(Float32Array.from({ length: size }, (_, i) => Math.sin(3 * seed + i)), shape, { device })
}

/** What f gives, and the gradients of its sum, weighted, for every operand. */
async function outcome([, shapes, f]: Case, device: Device): Promise<readonly (readonly [Shape, readonly number[]])[]> {
  const x = shapes.map((shape, i) => operand(shape, i, device))
  const ends = f(...x)
  const outputs = Array.isArray(ends) ? (ends as readonly Tensor[]) : [ends as Tensor]
  const loss = outputs.map((y, i) => ops.sum(ops.mul(y, operand(y.shape, 7 + i, device)))).reduce((a, b) => ops.add(a, b))
  const all = [...outputs, ...ops.grad(loss, x)]
  await ops.realize(...all)
  return Promise.all(all.map(async (t) => [t.shape, Array.from(await t.data())] as const))
}

/** Leaves NaN in the memory that runs share, and in what the device hands out next: what no kernel writes must not look like 0. */
async function soil(device: Device): Promise<void> {
  const nan = ops.add(operand([3000], 0, device), NaN)
  await ops.realize(nan, ops.cumsum(ops.cumsum(nan, 0), 0, { reverse: true }))
  nan.dispose()
}

describe('every device gives what the reference does', () => {
  for (const one of cases) {
    onEach(opened, one[0], async (device) => {
      await soil(device)
      const [got, expected] = await Promise.all([outcome(one, device), outcome(one, reference)])
      expect(got.map(([shape]) => shape)).toEqual(expected.map(([shape]) => shape))
      got.forEach(([, values], i) => values.forEach((value, j) => {
        const right = expected[i]?.[1][j] ?? NaN
        if (Number.isFinite(right)) expect(Math.abs(value - right), `output ${i}[${j}]: ${value}, not ${right}`).toBeLessThan(1e-5)
        else expect(value, `output ${i}[${j}]`).toBe(right)
      }))
    })
  }
})

onEach(opened, 'attention whose heads have size 0 weighs all values alike, but for a mask; over no keys it is 0', async (device) => {
  await soil(device)
  const [q, k] = [ops.zeros([2, 0], { device }), ops.zeros([4, 0], { device })]
  const v = ops.tensor([[1, 2, 3], [5, 6, 7], [9, 10, 11], [5, 2, -1]], null, { device })
  expect(await ops.scaledDotProductAttention(q, k, v).array()).toEqual([[5, 5, 5], [5, 5, 5]])
  expect(await ops.scaledDotProductAttention(q, k, v, { causal: true }).array()).toEqual([[1, 2, 3], [3, 4, 5]])
  const mask = ops.tensor([[true, false, true, false], [false, false, false, false]], null, { device })
  expect(await ops.scaledDotProductAttention(q, k, v, { mask }).array()).toEqual([[5, 6, 7], [0, 0, 0]])
  expect(await ops.scaledDotProductAttention(ops.ones([2, 3], { device }), ops.zeros([0, 3], { device }), ops.zeros([0, 2], { device })).array()).toEqual([[0, 0], [0, 0]])
})
