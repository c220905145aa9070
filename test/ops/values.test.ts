/** Values that the oracles do not hold: transposed convolutions, ragged pools, einsum's notations, the optimiser's step. */
import { afterAll, describe, expect, test } from 'vitest'
import { tensor } from '../../engine/create.ts'
import { device } from '../../engine/device/open.ts'
import type { Tensor, TensorLike } from '../../engine/graph.ts'
import { scaledDotProductAttention } from '../../engine/ops/attention.ts'
import { conv1d, conv2d, conv3d, convTranspose1d, convTranspose2d, convTranspose3d } from '../../engine/functions/conv.ts'
import { einsum } from '../../engine/functions/einsum.ts'
import { cast, mul } from '../../engine/ops/elementwise.ts'
import { groupNorm } from '../../engine/ops/groupNorm.ts'
import { interpolate } from '../../engine/functions/interpolate.ts'
import { linear } from '../../engine/ops/linear.ts'
import { matmul } from '../../engine/ops/matmul.ts'
import { layerNorm, rmsNorm } from '../../engine/ops/norm.ts'
import { adamWStep, globalNorm } from '../../engine/ops/optimizer.ts'
import { avgPool1d, maxPool2d } from '../../engine/functions/pooling.ts'
import { sum } from '../../engine/ops/reduce.ts'
import { logSoftmax, softmax } from '../../engine/ops/softmax.ts'
import { readData, readItem } from '../../engine/realize.ts'
import { sizeOf } from '../../engine/shape.ts'
import { uniform } from '../oracle-cases.ts'

const on = await device('reference')
afterAll(async () => on.close())

const f64 = (values: readonly number[], shape: readonly number[] = [values.length]): Tensor => tensor(Float64Array.from(values), shape, { dtype: 'f64', device: on })
const noise = (...shape: number[]): Tensor => f64(Array.from({ length: sizeOf(shape) }, (_, i) => uniform(sizeOf(shape), i) - 0.5), shape)
const list = async (x: TensorLike): Promise<number[]> => Array.from(await readData(x))

test.each([
  ['1d', conv1d, convTranspose1d, [2, 4, 9], [6, 2, 3], { stride: 2, padding: 1, dilation: 2, groups: 2 }],
  ['2d', conv2d, convTranspose2d, [1, 2, 7, 8], [3, 2, 3, 2], { stride: [3, 2], padding: [[0, 1], [1, 0]], dilation: 1, groups: 1 }],
  ['3d', conv3d, convTranspose3d, [1, 2, 5, 4, 3], [2, 1, 2, 3, 1], { stride: 2, padding: [1, 1, 0], dilation: 1, groups: 2 }],
] as const)('convTranspose%s is the transpose of the convolution', async (_, conv, transposed, xShape, wShape, options) => {
  const [x, w] = [noise(...xShape), noise(...wShape)]
  const y = conv(x, w, options)
  const dy = noise(...y.shape)
  const back = transposed(dy, w, options)
  const outputPadding = x.shape.slice(2).map((d, i) => d - (back.shape[i + 2] ?? 0))
  const left = await readItem(sum(mul(y, dy)))
  expect(await readItem(sum(mul(x, transposed(dy, w, { ...options, outputPadding }))))).toBeCloseTo(left, 12)
})

test('avgPool with a ragged last window', async () => {
  const x = f64([1, 2, 3, 4, 5], [1, 1, 5])
  expect(await list(avgPool1d(x, 2, { ceilMode: true }))).toEqual([1.5, 3.5, 5])
  expect(await list(avgPool1d(x, 3, { stride: 2, padding: 1 }))).toEqual([1, 3, 3])
  expect(await list(avgPool1d(x, 3, { stride: 2, padding: 1, countIncludePad: false }))).toEqual([1.5, 3, 4.5])
})

test("einsum's notations", async () => {
  const a = f64([1, 2, 3, 4], [2, 2])
  const b = f64([10, 20], [2])
  expect(await list(einsum('ii', a))).toEqual([5])
  expect(await list(einsum('ii->i', a))).toEqual([1, 4])
  expect(await list(einsum('ij->ji', a))).toEqual([1, 3, 2, 4])
  expect(await list(einsum('ba', a))).toEqual([1, 3, 2, 4])
  expect(await list(einsum('ij, j', a, b))).toEqual([50, 110])
  expect(await list(einsum('...j,j->...', a, b))).toEqual([50, 110])
  expect(await list(einsum('...,...', a, b))).toEqual([10, 40, 30, 80])
  expect(await list(einsum('ij,ij->', a, a))).toEqual([30])
  expect(await list(einsum('iji,k->kj', noise(2, 3, 2), b)).then((v) => v.length)).toBe(6)
})

describe('adamWStep', () => {
  const numbers = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-3, weightDecay: 0.5, correction1: 0.19, correction2: 0.0199 }
  const state = { parameters: [f64([1, -2]), f64([3], [1, 1])], gradients: [f64([0.5, 4]), f64([-1], [1, 1])], first: [f64([0.1, 0.2]), f64([0.3], [1, 1])], second: [f64([1, 2]), f64([3], [1, 1])], ema: [f64([0, 0]), f64([1], [1, 1])] }

  test('is the published update, with the average after it', async () => {
    const next = adamWStep({ ...state, ...numbers, gradScale: f64([0.5], []), emaWeight: 0.25 })
    const [p, g, m, v, e] = [-2, 4 * 0.5, 0.2, 2, 0]
    const m1 = 0.9 * m + 0.1 * g
    const v1 = 0.99 * v + 0.01 * g * g
    const p1 = p * (1 - 0.1 * 0.5) - (0.1 * m1) / 0.19 / (Math.sqrt(v1 / 0.0199) + 1e-3)
    const got = await Promise.all([next.parameters, next.first, next.second, next.ema].map(async ([t]) => (t === undefined ? NaN : (await list(t))[1])))
    for (const [i, want] of [p1, m1, v1, 0.75 * e + 0.25 * p1].entries()) expect(got[i]).toBeCloseTo(want, 9)
    expect(next.parameters[1]?.shape).toEqual([1, 1])
  })

  test('changes nothing where apply is 0, whatever the gradients hold', async () => {
    const next = adamWStep({ ...state, ...numbers, gradients: [f64([Number.NaN, Infinity]), f64([0], [1, 1])], apply: 0 })
    expect(await Promise.all([...next.parameters, ...next.first, ...next.second, ...next.ema].map(list))).toEqual([[1, -2], [3], [0.1, 0.2], [0.3], [1, 2], [3], [0, 0], [1]])
  })

  test('compiles once for all numbers', async () => {
    const step = async (lr: number): Promise<number[]> => list(adamWStep({ ...state, ...numbers, lr }).parameters[0] ?? f64([]))
    await step(0)
    const before = on.counters.plansCompiled
    await step(0.2)
    expect(on.counters.plansCompiled).toBe(before)
  })
})

test('globalNorm counts every element of every tensor', async () => {
  expect(await readItem(globalNorm([f64(new Array<number>(8192 + 8).fill(1)), f64([]), f64([3], [])]))).toBeCloseTo(Math.sqrt(8209), 12)
})

test('half floats are normalised in f32 and rounded once', async () => {
  const x = cast(noise(2, 4, 3), 'bf16')
  const rows: readonly ((x: Tensor) => Tensor)[] = [(t) => softmax(t), (t) => logSoftmax(t), (t) => groupNorm(t, 2), (t) => layerNorm(t, [3]), (t) => rmsNorm(t, [3]), (t) => scaledDotProductAttention(t, t, t)]
  for (const f of rows) {
    expect(f(x).dtype).toBe('bf16')
    expect(await list(f(x))).toEqual(await list(cast(f(cast(x, 'f32')), 'bf16')))
  }
})

describe('errors say what, both values, and what to do', () => {
  const integers = tensor([1, 2], null, { dtype: 'i32', device: on })
  test.each<readonly [string, () => unknown]>([
    ['matmul: a has 3 columns but b has 4 rows (a [2,3], b [4,5]); the last axis of a must equal the second to last axis of b', () => matmul(noise(2, 3), noise(4, 5))],
    ['matmul: shapes [2] and [3] do not broadcast: axis -1 has sizes 2 and 3; make them equal, or one of them 1', () => matmul(noise(2, 1, 4), noise(3, 4, 5))],
    ['matmul: a is i32, but matmul takes floats; cast it to f32 first', () => matmul(integers, noise(2))],
    ['linear: x has 3 features but weight expects 4 (x [2,3], weight [5,4] = [out,in]); match the last axes', () => linear(noise(2, 3), noise(5, 4))],
    ['linear: bias is [4] but weight [5,4] has 5 outputs; pass a bias of shape [5]', () => linear(noise(2, 4), noise(5, 4), noise(4))],
    ['conv2d: input has 3 channels but weight expects 4 (input [1,3,64,64], weight [8,4,3,3]); change the weight\'s second axis or the input', () => conv2d(noise(1, 3, 64, 64), noise(8, 4, 3, 3))],
    ['conv2d: input has 6 channels but weight expects 4 (2 groups of 2) (input [1,6,4,4], weight [8,2,3,3]); change the weight\'s second axis or the input', () => conv2d(noise(1, 6, 4, 4), noise(8, 2, 3, 3), { groups: 2 })],
    ['conv2d: input [3,8,8] needs 4 axes [N,C,H,W]; reshape it, for one sample with a first axis of 1', () => conv2d(noise(3, 8, 8), noise(4, 3, 3, 3))],
    ['conv1d: the kernel covers 5 positions of axis 2, which has 3 and 0 of padding (input [1,2,3], weight [1,2,3], dilation 2); pad more or use a smaller kernel', () => conv1d(noise(1, 2, 3), noise(1, 2, 3), { dilation: 2 })],
    ["conv2d: padding 'same' keeps the size, which stride 2 does not; give the padding as numbers", () => conv2d(noise(1, 2, 4, 4), noise(1, 2, 3, 3), { padding: 'same', stride: 2 })],
    ['conv2d: stride is 0; use an integer of at least 1', () => conv2d(noise(1, 2, 4, 4), noise(1, 2, 3, 3), { stride: 0 })],
    ['convTranspose2d: outputPadding 2 must be smaller than the stride 2 or the dilation 1; lower it', () => convTranspose2d(noise(1, 2, 4, 4), noise(2, 1, 3, 3), { stride: 2, outputPadding: 2 })],
    ['groupNorm: 6 channels do not divide into 4 groups (input [1,6,2]); choose groups that divide 6', () => groupNorm(noise(1, 6, 2), 4)],
    ['groupNorm: weight is [5] but the input has 6 channels (input [1,6,2]); pass a weight of shape [6]', () => groupNorm(noise(1, 6, 2), 3, noise(5))],
    ['layerNorm: input [2,3] does not end in the normalised shape [4]; pass the sizes of its last axes', () => layerNorm(noise(2, 3), [4])],
    ['scaledDotProductAttention: queries have size 4 but keys 5 (q [2,4], k [3,5], v [3,5]); project them to one size', () => scaledDotProductAttention(noise(2, 4), noise(3, 5), noise(3, 5))],
    ['scaledDotProductAttention: mask is i32, but must be bool (true where attending is allowed) or a float that is added; compare it first, such as notEqual(mask, 0)', () => scaledDotProductAttention(noise(2, 4), noise(2, 4), noise(2, 4), { mask: integers })],
    ['maxPool2d: padding 2 is more than half of the kernel 2; pad less, or use a larger kernel', () => maxPool2d(noise(1, 1, 4, 4), 2, { padding: 2 })],
    ['interpolate: mode bilinear needs [N,C] and 2 spatial axes, but the input is [1,1,4]; reshape it or use another mode', () => interpolate(noise(1, 1, 4), { scaleFactor: 2, mode: 'bilinear' })],
    ['interpolate: neither size nor scaleFactor is given; pass one of them', () => interpolate(noise(1, 1, 4), {})],
    ["einsum: j in 'ij,jk' has sizes 3 and 4 (operand 1 is [4,5]); make them equal", () => einsum('ij,jk', noise(2, 3), noise(4, 5))],
    ["einsum: 'ij' in 'ij->i' names 2 axes but operand 0 has 3; name each axis, or use '...' for the rest", () => einsum('ij->i', noise(1, 2, 3))],
    ["einsum: the result of 'ij->k' has k, which no operand has; take it out", () => einsum('ij->k', noise(2, 3))],
    ['softmax: axis 2 is outside shape [2,3]; use an integer from -2 to 1', () => softmax(noise(2, 3), 2)],
    ['globalNorm: the list of tensors is empty; pass at least one', () => globalNorm([])],
  ])('%s', (message, call) => {
    expect(call).toThrow(expect.objectContaining({ message }))
  })
})
