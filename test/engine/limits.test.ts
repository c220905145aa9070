/** Whatever the sizes, the WebGPU device has kernels within the limits that every adapter grants, or runs the decomposition. */
import { expect, test } from 'vitest'
import {
  argsort, conv2d, convTranspose2d, cumsum, gather, grad, groupNorm, indexSelect, layerNorm, matmul, mean, ones, scaledDotProductAttention, softmax, square, sum, topK, variance, zeros,
} from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { limits } from '../../kernels/wgsl/core/kernel.ts'
import type { Dispatch } from '../../kernels/wgsl/core/kernel.ts'
import { dispatchesOf, launchesOf } from '../planning.ts'

const gradient = (f: (...inputs: Tensor[]) => Tensor, ...shapes: readonly (readonly number[])[]) => (): readonly Tensor[] => {
  const inputs = shapes.map((shape) => ones([...shape]))
  return grad(sum(square(f(...inputs))), inputs)
}
const attention = (dim: number, valueDim: number) => gradient((q, k, v) => scaledDotProductAttention(q, k, v), [1, 2, 3, dim], [1, 2, 5, dim], [1, 2, 5, valueDim])
const groups = (n: number, channels: number, count: number, spatial: number) => gradient((x, w, b) => groupNorm(x, count, w, b, { silu: true }), [n, channels, spatial], [channels], [channels])
const rows = (count: number, length: number) => gradient((x, w, b) => softmax(layerNorm(x, [length], w, b)), [count, length], [length], [length])
const product = (batch: number, m: number, k: number, n: number) => gradient((a, b) => matmul(a, b), [batch, m, k], [batch, k, n])
const convolution = (image: readonly number[], weight: readonly number[], options: Parameters<typeof conv2d>[2]) => gradient((x, w) => conv2d(x, w, options), image, weight)
const sorting = (count: number, length: number) => (): readonly Tensor[] => [topK(zeros([count, length]), Math.min(3, length)).values, argsort(zeros([length, count]), 0), cumsum(zeros([count, length]), 1), cumsum(zeros([length, count]), 0)]

const cases: Readonly<Record<string, () => readonly Tensor[]>> = {
  ...Object.fromEntries([[1, 1], [4, 2304], [4, 2305], [2304, 4], [2305, 4], [2305, 2305], [3, 70_001], [70_001, 3]].map(([dim = 0, valueDim = 0]) => [`attention of ${dim} and ${valueDim}`, attention(dim, valueDim)])),
  ...Object.fromEntries([[1, 1, 1, 1], [1, 100_000, 1, 1], [1, 100_000, 100_000, 1], [1, 100_000, 25_000, 3], [1, 3, 1, 3_000_001], [1, 70_001, 1, 101], [70_001, 3, 3, 1], [0, 4, 2, 5], [2, 4, 2, 0]]
    .map(([n = 0, c = 0, g = 0, s = 0]) => [`group norm of ${n} × ${c} × ${s} in ${g} groups`, groups(n, c, g, s)])),
  ...Object.fromEntries([[1, 1], [1, 10_000_001], [10_000_001, 1], [0, 7], [70_001, 129], [3, 4097]].map(([n = 0, length = 0]) => [`${n} rows of ${length}`, rows(n, length)])),
  ...Object.fromEntries([[1, 1, 1, 1], [1, 1, 10_000_001, 1], [1, 10_000_001, 1, 1], [1, 3, 0, 5], [0, 3, 4, 5], [70_001, 1, 2, 1], [2, 70_001, 3, 129]].map(([b = 0, m = 0, k = 0, n = 0]) => [`products ${b} × ${m} × ${k} × ${n}`, product(b, m, k, n)])),
  'a kernel as large as the image': convolution([1, 3, 97, 89], [2, 3, 97, 89], {}),
  'a kernel on padding alone': convolution([1, 2, 3, 3], [2, 2, 1, 1], { padding: 40, stride: 41 }),
  'far steps': convolution([1, 2, 300, 300], [2, 2, 3, 3], { dilation: 120, stride: 90, padding: 60 }),
  'many channels of a point': convolution([1, 30_000, 1, 1], [20_000, 3, 1, 1], { groups: 10_000 }),
  'no images': convolution([0, 3, 8, 8], [4, 3, 3, 3], { padding: 1 }),
  'no channels': convolution([2, 0, 8, 8], [4, 0, 3, 3], { padding: 1 }),
  'a wide stride of a transposed convolution': gradient((x, w) => convTranspose2d(x, w, { stride: 7 }), [1, 2, 9, 9], [2, 3, 2, 2]),
  ...Object.fromEntries([[1, 1], [1, 10_000_001], [70_001, 3], [2, 1025], [0, 5], [5, 0]].map(([n = 0, length = 0]) => [`${n} lines of ${length} sorted and added up`, sorting(n, length)])),
  'long indices': () => [gather(zeros([3, 5_000_001]), zeros([3, 5_000_001], { dtype: 'i32' }), 1), ...gradient((x) => indexSelect(x, zeros([5_000_001], { dtype: 'i32' }), 0), [70_001, 3])()],
  'statistics of many': gradient((x) => variance(x).add(mean(x)), [9, 1_111_111]),
}

/** Workgroup memory that a module declares, by the types in use. */
function workgroupBytes({ source }: Dispatch): number {
  const sizes: Readonly<Record<string, number>> = { 'f32': 4, 'u32': 4, 'i32': 4, 'vec2<f32>': 8, 'vec4<f32>': 16 }
  return [...source.matchAll(/var<workgroup> \w+: array<(.+), (\d+)>;/g)].reduce((sum, [, type = '', length = '']) => sum + (sizes[type] ?? NaN) * Number(length), 0)
}

test.each(Object.entries(cases))('%s', async (_, build) => {
  const dispatches = dispatchesOf(await launchesOf(build))
  for (const dispatch of dispatches) {
    const { label, source, parameters, workgroups, bindings } = dispatch
    expect(workgroupBytes(dispatch), `in ${label}`).toBeLessThanOrEqual(limits.workgroupBytes)
    expect(Number(/@workgroup_size\((\d+)\)/.exec(source)?.[1]), `in ${label}`).toBeLessThanOrEqual(limits.invocations)
    expect(Math.max(...workgroups), `in ${label}`).toBeLessThanOrEqual(65_535)
    expect(parameters.length, `in ${label}`).toBeLessThanOrEqual(65_536)
    expect(bindings.length, `in ${label}`).toBeLessThanOrEqual(8)
  }
})

test('attention beyond the rows that its kernels hold is computed by its decomposition', async () => {
  const fused = async (dim: number, valueDim: number): Promise<string[]> => dispatchesOf(await launchesOf(attention(dim, valueDim))).map(({ label }) => label).filter((label) => label.startsWith('attention'))
  expect(await fused(2304, 2304)).toEqual(['attention', 'attentionGrad statistics', 'attentionGrad of keys', 'attentionGrad of queries'])
  expect(await fused(2305, 4)).toEqual(['attention'])
  expect(await fused(4, 2305)).toEqual([])
})
