/** Matrix products, convolutions, pooling and fused ops: derivatives of both orders, and what the oracles do not cover. */
import { afterAll, describe, expect, test } from 'vitest'
import { tensor } from '../../engine/create.ts'
import { device } from '../../engine/device/open.ts'
import { grad } from '../../engine/grad.ts'
import type { Tensor } from '../../engine/graph.ts'
import { applyMany } from '../../engine/op.ts'
import { attentionOp, scaledDotProductAttention } from '../../engine/ops/attention.ts'
import { conv1d, conv2d, conv3d, convTranspose1d, convTranspose2d, convTranspose3d } from '../../engine/functions/conv.ts'
import { einsum } from '../../engine/functions/einsum.ts'
import { groupNorm, groupNormOp } from '../../engine/ops/groupNorm.ts'
import { interpolate } from '../../engine/functions/interpolate.ts'
import { linear } from '../../engine/ops/linear.ts'
import { matmul } from '../../engine/ops/matmul.ts'
import { layerNorm, rmsNorm } from '../../engine/ops/norm.ts'
import { globalNorm } from '../../engine/ops/optimizer.ts'
import { adaptiveAvgPool, avgPool1d, avgPool2d, avgPool3d, maxPool1d, maxPool2d, maxPool3d } from '../../engine/functions/pooling.ts'
import { sum } from '../../engine/ops/reduce.ts'
import { logSoftmax, softmax } from '../../engine/ops/softmax.ts'
import { readData } from '../../engine/realize.ts'
import { checkGradients } from '../../testing/gradients.ts'
import type { TensorFunction } from '../../testing/gradients.ts'
import type { Sample } from '../../testing/samples.ts'

const on = await device('reference')
afterAll(async () => on.close())

const x = (...shape: number[]): Sample => ({ shape, dtype: 'f32', seed: shape.length + 10 * (shape[0] ?? 0) })
type Row = readonly [name: string, fn: TensorFunction, inputs: readonly Sample[]]
const row = (name: string, inputs: readonly Sample[], fn: (...inputs: [Tensor, Tensor, Tensor, Tensor, Tensor]) => Tensor | readonly Tensor[]): Row => [name, fn, inputs]

describe('first and second derivatives', () => {
  test.each<Row>([
    row('matmul, batches broadcast', [x(2, 1, 3, 4), x(3, 4, 2)], (a, b) => matmul(a, b)),
    row('matmul, matrix on the right', [x(2, 3, 4), x(4, 5)], (a, b) => matmul(a, b)),
    row('matmul, vectors', [x(4), x(2, 4, 3)], (a, b) => matmul(a, b)),
    row('linear', [x(2, 3), x(4, 3), x(4)], (a, w, b) => linear(a, w, b)),
    row('einsum, three operands', [x(2, 3), x(3, 4), x(4, 2)], (a, b, c) => einsum('ij,jk,kl->il', a, b, c)),
    row('einsum, diagonal and sums', [x(3, 3, 2), x(3, 4)], (a, b) => einsum('iij,ik->j', a, b)),
    row('conv1d', [x(2, 3, 7), x(4, 3, 3), x(4)], (a, w, bias) => conv1d(a, w, { bias, stride: 2, padding: [[2, 1]], dilation: 2 })),
    row('conv2d, groups', [x(1, 4, 5, 4), x(2, 2, 3, 2)], (a, w) => conv2d(a, w, { stride: [2, 1], padding: 1, groups: 2 })),
    row('conv2d, same', [x(1, 2, 3, 4), x(2, 2, 2, 3), x(2)], (a, w, bias) => conv2d(a, w, { bias, padding: 'same' })),
    row('conv2d, valid', [x(1, 2, 3, 4), x(2, 2, 2, 3), x(2)], (a, w, bias) => conv2d(a, w, { bias, padding: 'valid' })),
    row('conv3d', [x(1, 2, 3, 3, 2), x(2, 2, 2, 2, 1)], (a, w) => conv3d(a, w, { padding: [1, 0, 0] })),
    row('convTranspose1d', [x(1, 2, 4), x(2, 3, 3)], (a, w) => convTranspose1d(a, w, { stride: 2, dilation: 2, outputPadding: 1 })),
    row('convTranspose2d, groups', [x(1, 4, 3, 2), x(4, 1, 2, 3), x(2)], (a, w, bias) => convTranspose2d(a, w, { bias, stride: [1, 2], padding: [0, 1], groups: 2 })),
    row('convTranspose3d', [x(1, 2, 2, 2, 2), x(2, 1, 2, 1, 2)], (a, w) => convTranspose3d(a, w, { stride: 2 })),
    row('softmax', [x(3, 4, 2)], (a) => softmax(a, 1)),
    row('logSoftmax', [x(3, 4)], (a) => logSoftmax(a)),
    row('groupNorm', [x(2, 4, 3), x(4), x(4)], (a, w, b) => groupNorm(a, 2, w, b)),
    row('groupNorm with SiLU', [x(2, 4, 2, 2), x(4), x(4)], (a, w, b) => groupNorm(a, 2, w, b, { silu: true })),
    row('groupNorm, statistics', [x(2, 4, 3), x(4), x(4)], (a, w, b) => applyMany(groupNormOp, [a, w, b], { groups: 2, eps: 1e-3, silu: true })),
    row('groupNorm, statistics alone', [x(2, 4, 3), x(4), x(4)], (a, w, b) => applyMany(groupNormOp, [a, w, b], { groups: 2, eps: 1e-3, silu: false }).slice(1)),
    row('layerNorm', [x(2, 3, 4), x(3, 4), x(3, 4)], (a, w, b) => layerNorm(a, [3, 4], w, b)),
    row('rmsNorm', [x(2, 3, 4), x(4)], (a, w) => rmsNorm(a, [4], w)),
    row('attention', [x(2, 3, 4), x(2, 5, 4), x(2, 5, 2)], (q, k, v) => scaledDotProductAttention(q, k, v)),
    row('attention, causal, broadcast', [x(2, 3, 4), x(3, 4), x(2, 3, 2)], (q, k, v) => scaledDotProductAttention(q, k, v, { causal: true })),
    row('attention, mask and scale', [x(2, 3, 4), x(2, 5, 4), x(2, 5, 2), x(3, 5), x()], (q, k, v, mask, scale) => scaledDotProductAttention(q, k, v, { mask, scale })),
    row('attention, lse', [x(3, 4), x(5, 4), x(5, 2), x()], (q, k, v, scale) => applyMany(attentionOp, [q, k, v, scale], { causal: false })),
    row('attention, lse alone', [x(3, 4), x(3, 4), x(3, 2), x(), x(3, 3)], (q, k, v, scale, mask) => applyMany(attentionOp, [q, k, v, scale, mask], { causal: true }).slice(1)),
    row('globalNorm', [x(2, 3), x(4)], (a, b) => globalNorm([a, b])),
    row('avgPool1d, ceil', [x(1, 2, 7)], (a) => avgPool1d(a, 3, { stride: 2, padding: [[1, 0]], ceilMode: true, countIncludePad: false })),
    row('avgPool2d, tiles', [x(1, 2, 5, 4)], (a) => avgPool2d(a, 2)),
    row('avgPool3d', [x(1, 1, 4, 3, 3)], (a) => avgPool3d(a, [2, 3, 2], { stride: 1, padding: [1, 0, 1] })),
    row('maxPool1d, dilation', [x(1, 2, 9)], (a) => maxPool1d(a, 3, { stride: 2, padding: 1, dilation: 2 })),
    row('maxPool2d', [x(1, 2, 5, 4)], (a) => maxPool2d(a, 2, { stride: 1 })),
    row('maxPool3d', [x(1, 1, 4, 3, 3)], (a) => maxPool3d(a, 2, { stride: 1, padding: 1 })),
    row('adaptiveAvgPool', [x(1, 2, 7, 4)], (a) => adaptiveAvgPool(a, [3, 2])),
    row('interpolate, nearest', [x(1, 2, 3, 4)], (a) => interpolate(a, { size: [6, 5] })),
    row('interpolate, linear', [x(1, 2, 5)], (a) => interpolate(a, { scaleFactor: 1.5, mode: 'linear' })),
    row('interpolate, trilinear', [x(1, 1, 2, 3, 2)], (a) => interpolate(a, { size: [3, 2, 4], mode: 'trilinear', alignCorners: true })),
    row('interpolate, bicubic', [x(1, 1, 4, 3)], (a) => interpolate(a, { size: [3, 5], mode: 'bicubic' })),
    row('interpolate, area', [x(1, 1, 5, 3)], (a) => interpolate(a, { size: [2, 3], mode: 'area' })),
  ])('%s', async (_, fn, inputs) => {
    await checkGradients(fn, inputs, { order: 2 })
  })
})

test('a row of maxima: the first of equal ones gets the gradient, and NaN wins', async () => {
  const flat = tensor([1, 3, 3, 2], [1, 1, 4], { dtype: 'f64', device: on })
  expect(Array.from(await readData(grad(sum(maxPool1d(flat, 4)), flat)))).toEqual([0, 1, 0, 0])
  const nan = tensor([1, Number.NaN, 3, 2], [1, 1, 4], { dtype: 'f64', device: on })
  expect(Array.from(await readData(maxPool1d(nan, 2)))).toEqual([Number.NaN, 3])
  const low = tensor([-5, -6], [1, 1, 2], { dtype: 'f64', device: on })
  expect(Array.from(await readData(maxPool1d(low, 2, { stride: 1, padding: 1 })))).toEqual([-5, -5, -6])
})
