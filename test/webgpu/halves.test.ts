/** f16 on the WebGPU device: the op table, numbers at the edges, memory of odd lengths, and which kernels take it as it lies. */
import { afterAll, describe, expect, inject, test } from 'vitest'
import { add, cast, concat, device, explain, expand, flip, grad, groupNorm, indexSelect, layerNorm, linear, matmul, mul, neg, permute, realize, relu, scaledDotProductAttention, silu, slice, softmax, square, sub, sum, tensor, variable } from '../../engine/index.ts'
import type { DType, Tensor } from '../../engine/index.ts'
import { roundToF16 } from '../../kernels/ir/rounding.ts'
import { describeHalves } from '../op-suite.ts'

const gpu = await device('webgpu', { makeDefault: true })
afterAll(async () => gpu.close())

const thorough = inject('thorough')
// Products of many shapes take a software GPU minutes to compile.
describeHalves(gpu, thorough ? { values: 12, gradients: 8 } : { values: 1, gradients: 1, without: /^(conv|linear|attention)/ })

const list = async (x: Tensor): Promise<number[]> => [...(await x.data())]
const wave = (shape: readonly number[], dtype: DType = 'f16'): Tensor => tensor(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(1 + i)), shape, { dtype })

describe('numbers', () => {
  // Ties below and above, the last that is finite, what becomes infinite, denormals and their ties.
  const edges = [0, -0, 2049, 2051, -2051, 4099, 65504, 65519, 65520, -1e30, Infinity, -Infinity, NaN, 2 ** -14, 2 ** -24, 2 ** -25, 2 ** -25 * 1.001, 3 * 2 ** -25, -5 * 2 ** -24, 1 / 3]
  const rounded = edges.map((x) => roundToF16(Math.fround(x)))

  test('are rounded to nearest, ties to even, wherever they turn into f16', async () => {
    const single = tensor(edges)
    expect(await list(tensor(edges, null, { dtype: 'f16' }))).toEqual(rounded)
    expect(await list(add(tensor(edges, null, { dtype: 'f16' }), -0))).toEqual(rounded)
    expect(await list(cast(single, 'f16'))).toEqual(rounded)
    expect(await list(cast(cast(single, 'f16'), 'f32'))).toEqual(rounded) // In registers.
    expect(await list(mul(cast(cast(single, 'f16'), 'f32'), 2))).toEqual(rounded.map((x) => 2 * x))
    expect(await list(indexSelect(tensor(edges, null, { dtype: 'f16' }), tensor(Int32Array.from(edges.keys())), 0))).toEqual(rounded)
  })

  test('every f16 comes back from the device as it went', async () => {
    const all = Float32Array.from({ length: 0x10000 }, (_, bits) => {
      const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023]
      return exponent === 31 ? (fraction === 0 ? sign * Infinity : NaN) : sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
    })
    const held = variable(all, { dtype: 'f16' })
    expect(await list(held.read())).toEqual([...all])
    expect(await list(neg(held))).toEqual(Array.from(all, (x) => -x))
    expect(await list(cast(held, 'f32'))).toEqual([...all])
  })

  test('sums are f32 until they are stored', async () => {
    expect(await list(sum(tensor(new Float32Array(5001).fill(1), null, { dtype: 'f16' })))).toEqual([5000]) // Ties to even; f16 alone stays at 2048.
    const big = tensor([[60000, 60000, -60000]], null, { dtype: 'f16' })
    expect(await list(matmul(big, tensor([[1], [1], [1]], null, { dtype: 'f16' })))).toEqual([60000])
    expect(await list(matmul(big, tensor([[1], [1], [-1]], null, { dtype: 'f16' })))).toEqual([Infinity])
  })

  test('a value is rounded by each op, fused or not', async () => {
    const x = tensor([0.1, 2047], null, { dtype: 'f16' })
    expect(await list(sub(add(x, 2048), 2048))).toEqual([0, 2048])
    expect(await list(cast(square(x), 'f32'))).toEqual([0.1, 2047].map((v) => roundToF16(roundToF16(v) ** 2)))
  })

  test('f32 that becomes f16 later is not rounded before', async () => {
    const y = softmax(cast(tensor([[12, 0]], null, { dtype: 'f16' }), 'f32')) // 0.999994, which is 1 in f16.
    expect(await list(cast(cast(y, 'i32'), 'f16'))).toEqual([0, 0])
    const [half, product] = [cast(y, 'f16'), matmul(y, tensor([[1], [0]]))]
    await realize(half, product)
    expect([await list(half), (await list(product))[0]]).toEqual([[1, roundToF16(Math.exp(-12))], expect.closeTo(1 / (1 + Math.exp(-12)), 6)])
  })
})

describe('memory of odd lengths', () => {
  test.each([1, 2, 3, 5, 255, 4099])('%i elements and their neighbours', async (n) => {
    const [a, b] = [Float32Array.from({ length: n }, (_, i) => (i % 2048) + 1), Float32Array.of(-1, -2, -3)]
    const [x, y] = [variable(a, { dtype: 'f16' }), tensor(b, null, { dtype: 'f16' })]
    const [joined, last, reversed, doubled] = [concat([y, x, y], 0), slice(x, [[n - 1, n]]), flip(x, [0]), add(x, x)]
    await realize(joined, last, reversed, doubled)
    expect(await list(joined)).toEqual([...b, ...a, ...b])
    expect(await list(last)).toEqual([a[n - 1]])
    expect(await list(reversed)).toEqual(Array.from(a.toReversed()))
    expect(await list(doubled)).toEqual(Array.from(a, (v) => roundToF16(2 * v)))
    x.assign(add(x.read(), 1))
    expect(await list(x.read())).toEqual(Array.from(a, (v) => roundToF16(v + 1)))
  })

  test('rows of odd lengths in one word with the next: rows, columns, transposes', async () => {
    const x = Float32Array.from({ length: 33 * 35 }, (_, i) => i)
    const t = tensor(x, [33, 35], { dtype: 'f16' })
    const turned = Array.from({ length: 35 }, (_, c) => Array.from({ length: 33 }, (__, r) => r * 35 + c)).flat()
    expect(await list(mul(permute(t, [1, 0]), 1))).toEqual(turned)
    expect(await list(slice(t, [[1, 32], [3, 34]]))).toEqual(Array.from({ length: 31 }, (_, r) => Array.from({ length: 31 }, (__, c) => (r + 1) * 35 + c + 3)).flat())
    expect(await list(sum(t, [1]))).toEqual(Array.from({ length: 33 }, (_, r) => roundToF16(35 * 35 * r + 35 * 17)))
  })
})

describe('kernels take f16 as it lies', () => {
  /** What is computed, launch by launch, with the kernels. */
  const launches = async (...of: readonly Tensor[]): Promise<string[]> =>
    (await explain(...of)).flatMap(({ text }) => text.split('\n').slice(0, -1).map((line) => line.replace(/^ *\d+ (.*?) \(.*\[([^:]*):.*$/, '$1: $2').replace(/ \d+×\d+×\d+/, '')))
  const [x, square7, row] = [wave([5, 7]), wave([7, 7]), wave([7])]
  const single = (t: Tensor): Tensor => cast(t, 'f32')
  const cases: readonly (readonly [name: string, build: () => readonly Tensor[], expected: readonly string[]])[] = [
    ['a chain of ops', () => [silu(add(x, 1))], ['mul: map, f16']],
    ['a product with what follows it', () => [silu(linear(x, square7, row))], ['matmul + add + sigmoid + mul: matmul, f16']],
    ['a product in f32 of f16', () => [matmul(single(x), single(square7))], ['matmul: matmul, f16']],
    ['a product that ends in f32', () => [single(matmul(x, square7))], ['matmul + cast: matmul, f16']],
    ['mixed operands, which meet in f32', () => [add(matmul(x, wave([7, 7], 'f32')), 1)], ['matmul: map, f16', 'matmul + add: matmul']],
    ['gather', () => [indexSelect(x, tensor(Int32Array.of(0, 4)), 0)], ['gather: gather, f16']],
    ['what has no kernel for it', () => [cast(relu(single(x)).cumsum(1), 'f16')], ['cumsum: map, f16', 'cumsum: scan lines', 'cast: map, f16']],
    ['softmax', () => [softmax(x)], ['softmax: softmax, f16']],
    ['softmax of which f32 is wanted', () => [softmax(single(x))], ['softmax: map, f16', 'softmax: softmax']],
    ['layer norm', () => [layerNorm(x, [7], row)], ['layerNorm: map, f16', 'layerNorm: map', 'layerNorm: layerNorm, f16']],
    ['group norm', () => [groupNorm(wave([1, 4, 9]), 2)], ['groupNorm: map', 'groupNorm: map', 'groupNorm: groupNorm, f16']],
    ['attention', () => [scaledDotProductAttention(x, x, x)], ['attention: attention, f16']],
    ['attention with a mask', () => [scaledDotProductAttention(x, x, x, { mask: tensor([true, true, false, true, true]) })], ['attention: map, f16', 'attention: attention, f16']],
    ['attention with a mask that f16 may not hold', () => [scaledDotProductAttention(x, x, x, { mask: wave([5], 'f32') })], ['attention: map, f16', 'attention: map, f16', 'attention: map, f16', 'attention: attention', 'cast: map, f16']],
  ]
  test.each(cases)('%s', async (_, build, expected) => {
    expect(await launches(...build())).toEqual(expected)
  })

  test('gradients', async () => {
    const [a, w, g] = [variable(wave([2, 4, 9])), variable(wave([4, 4])), variable(wave([4]))]
    await realize(a, w, g)
    const h = linear(groupNorm(a, 2, g, g).transpose(1, 2), w)
    const loss = sum(single(scaledDotProductAttention(h, h, h)))
    const products = (await launches(loss, ...Object.values(grad(loss, { a, w, g })))).filter((l) => /: (matmul|attention|groupNorm)/.test(l))
    expect(products.filter((l) => !l.includes('f16'))).toEqual([])
    expect(products.length).toBeGreaterThanOrEqual(6)
  })

  test('one value is one copy in f16, whoever reads it', async () => {
    const w = expand(wave([7], 'f32'), [7, 7])
    const half = cast(w, 'f16')
    const y = linear(x, half)
    expect(await launches(y, matmul(y, half))).toEqual(['cast: map, f16', 'matmul: matmul, f16', 'matmul: matmul, f16'])
  })
})
