/** First and second derivatives of elementwise functions, reductions, movement, indexing, sorting and losses. */
import { test } from 'vitest'
import * as ops from '../../engine/index.ts'
import type { Range, Tensor } from '../../engine/index.ts'
import { checkGradients } from '../../testing/gradients.ts'
import type { Sample } from '../../testing/samples.ts'

type Row = readonly [name: string, fn: (...inputs: Tensor[]) => Tensor | readonly Tensor[], inputs: readonly Sample[]]
const row = (name: string, inputs: readonly Sample[], fn: (...inputs: [Tensor, Tensor, Tensor]) => Tensor | readonly Tensor[]): Row => [name, fn, inputs]

const x = (...shape: number[]): Sample => ({ shape, dtype: 'f32', range: [-3, 3], seed: 1 + shape.length })
const y = (...shape: number[]): Sample => ({ ...x(...shape), seed: 7 })
const positive = (...shape: number[]): Sample => ({ ...x(...shape), range: [0.2, 3] })
const share = (...shape: number[]): Sample => ({ ...y(...shape), range: [0.1, 0.9] })
const integers = (x: Tensor, ...values: readonly number[][]): Tensor => ops.tensor(values, null, { dtype: 'i32', device: x.device })
const list = (x: Tensor, values: readonly number[]): Tensor => ops.tensor(values, null, { dtype: 'i32', device: x.device })
const values = (x: Tensor, data: readonly number[] | readonly (readonly number[])[]): Tensor => ops.tensor(data, null, { dtype: x.dtype, device: x.device })

const unary = [ops.exp, ops.expm1, ops.sin, ops.cos, ops.tan, ops.atan, ops.tanh, ops.erf, ops.sigmoid, ops.abs, ops.square, ops.reciprocal, ops.relu, ops.leakyRelu, ops.silu, ops.mish, ops.gelu, ops.quickGelu, ops.softplus, ops.logSigmoid, ops.elu, ops.hardswish, ops.sum, ops.mean, ops.prod, ops.variance, ops.std, ops.norm, ops.logsumexp, ops.max, ops.min]
const ofPositive = [ops.log, ops.log2, ops.log1p, ops.sqrt, ops.rsqrt]
const binary = [ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum, ops.atan2]
const ranges: readonly (readonly (Range | '...')[])[] = [[[1, 7, 2]], [[null, null, -1]], [[7, 1, -3]], [[-3, null]], [[null, -100, -2]], [2], [[5, 5]], ['...', [3, 4]]]

test.each<Row>([
  ...unary.map((f) => row(f.name, [x(2, 3)], (a) => f(a))),
  ...ofPositive.map((f) => row(f.name, [positive(2, 3)], (a) => f(a))),
  ...binary.map((f) => row(`${f.name}, broadcast`, [x(2, 3), y(3)], (a, b) => f(a, b))),
  row('remainder', [x(2, 3), share(3)], (a, b) => ops.remainder(a, b)), // It jumps at multiples of b, which are dense near 0.
  row('pow', [positive(2, 3), y(3)], (a, b) => ops.pow(a, b)),
  row('pow of a number', [x(2, 3)], (a) => ops.pow(a, 3)),
  ...[-3, -1, 1, 2, 3, 5, 8].map((n) => row(`powInteger ${n}`, [positive(2, 3)], (a) => ops.powInteger(a, n))),
  row('gelu, tanh', [x(2, 3)], (a) => ops.gelu(a, { approximate: 'tanh' })),
  row('softplus with beta', [x(2, 3), positive(3)], (a, b) => ops.softplus(a, { beta: b })),
  row('softplus with a threshold', [x(2, 3)], (a) => ops.softplus(a, { beta: 3, threshold: 0.37 })),
  row('clamp to a tensor', [x(2, 3), y(2, 1)], (a, b) => ops.clamp(a, b, 1.5)),
  ...[1, 2, 3, 0.5, -2, Infinity, -Infinity].map((order) => row(`norm of order ${order}`, [x(2, 3)], (a) => ops.norm(a, 1, { order }))),
  row('prod with zeros', [x(3, 3)], (a) => ops.prod(a.mul(values(a, [[0, 1, 1], [0, 0, 1], [1, 1, 1]])), 1)),
  row('prod over outer axes', [x(2, 2, 2)], (a) => ops.prod(a, [0, 2])),
  row('cumprod with zeros', [x(3, 4)], (a) => ops.cumprod(a.mul(values(a, [[0, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]])), 1)),
  row('cumprod in reverse', [x(3, 4)], (a) => ops.cumprod(a, 0, { reverse: true })),
  row('cumsum in reverse', [x(2, 3)], (a) => ops.cumsum(a, 1, { reverse: true }).square()),
  ...(['reflect', 'replicate', 'circular'] as const).map((mode) => row(`pad, ${mode}`, [x(2, 3)], (a) => ops.pad(a, [1, [2, 1]], { mode }).square())),
  row('pad with a value', [x(2, 3), y()], (a, value) => ops.pad(a, [[0, 2]], { value }).square()),
  ...ranges.map((range) => row(`slice ${JSON.stringify(range)}`, [x(9)], (a) => ops.slice(a, range).square())),
  row('roll', [x(2, 3)], (a) => ops.roll(a, [1, -1], [0, 1]).square()),
  row('tile', [x(2, 3)], (a) => ops.tile(a, [2, 1, 3]).square()),
  row('repeatInterleave', [x(2, 3)], (a) => ops.repeatInterleave(a, 2, 1).square()),
  row('split and concat', [x(2, 3)], (a) => ops.concat(ops.split(a, [1, 2], 1).toReversed(), 1).square()),
  row('stack', [x(2, 3), y(2, 3)], (a, b) => ops.stack([a, b, a], 1).square()),
  row('tril and triu', [x(2, 3)], (a) => ops.tril(a, 1).square().add(ops.triu(a))),
  row('pixelShuffle', [x(4, 1, 2)], (a) => ops.pixelShuffle(a, 2).square()),
  row('pixelUnshuffle', [x(1, 2, 4)], (a) => ops.pixelUnshuffle(a, 2).square()),
  row('sort', [x(2, 3)], (a) => ops.sort(a, 1).values.square()),
  row('topK', [x(2, 3)], (a) => ops.topK(a, 2, 1).values.square()),
  row('gather', [x(2, 3)], (a) => ops.gather(a, integers(a, [0, 2], [1, 1]), 1).square()),
  row('takeAlongAxis, broadcast', [x(2, 3)], (a) => ops.takeAlongAxis(a, integers(a, [0, 2]), 1).square()),
  row('scatterAdd', [x(2, 3), y(2, 2)], (a, b) => ops.scatterAdd(a, integers(a, [0, 2], [1, 1]), b, 1).square()),
  row('indexSelect', [x(2, 3)], (a) => ops.indexSelect(a, [0, -1, 0], 1).square()),
  row('embedding', [x(4, 2)], (a) => ops.embedding(a, integers(a, [0, 1], [1, 3])).square()),
  row('mseLoss', [x(2, 3), y(2, 3)], (a, b) => ops.mseLoss(a, b)),
  row('l1Loss', [x(2, 3), y(2, 3)], (a, b) => ops.l1Loss(a, b)),
  row('huberLoss', [x(2, 3), y(2, 3)], (a, b) => ops.huberLoss(a, b, { delta: 0.7, reduction: 'none' })),
  row('smoothL1Loss', [x(2, 3), y(2, 3)], (a, b) => ops.smoothL1Loss(a, b, { beta: 0.7, reduction: 'sum' })),
  row('crossEntropy of classes', [x(2, 3)], (a) => ops.crossEntropy(a, list(a, [0, 2]))),
  row('crossEntropy of places, smoothed', [x(1, 3, 2)], (a) => ops.crossEntropy(a, integers(a, [0, 2]), { labelSmoothing: 0.1, reduction: 'none' })),
  row('crossEntropy of shares, smoothed', [x(2, 3), share(2, 3)], (a, b) => ops.crossEntropy(a, b, { labelSmoothing: 0.2 })),
  row('nllLoss', [x(2, 3)], (a) => ops.nllLoss(a, list(a, [0, 2]))),
  ...(['mean', 'sum', 'none', 'batchmean'] as const).map((reduction) => row(`klDiv, ${reduction}`, [x(2, 3), share(2, 3)], (a, b) => ops.klDiv(a, b, { reduction }))),
  row('klDiv of logarithms', [x(2, 3), y(2, 3)], (a, b) => ops.klDiv(a, b, { logTarget: true })),
  row('bce', [x(2, 3), share(2, 3)], (a, b) => ops.bce(ops.sigmoid(a), b)),
  row('bceWithLogits, weighted', [x(2, 3), share(2, 3)], (a, b) => ops.bceWithLogits(a, b, { posWeight: 2.5 })),
])('%s', async (_, fn, inputs) => {
  await checkGradients(fn, inputs, { order: 2 })
})
