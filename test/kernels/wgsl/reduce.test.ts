import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Operand, ReduceDescriptor, ReduceOp } from '../../../kernels/ir/descriptor.ts'
import { accumulator, binary, constant, type Expression, index, load, unary } from '../../../kernels/ir/expression.ts'
import { floor } from '../../../kernels/wgsl/core/kernel.ts'
import { reduceKernel } from '../../../kernels/wgsl/reduce/reduce.ts'
import { naiveReduce } from '../naive.ts'
import { reduceCases, storageTypes } from '../random.ts'
import { operations } from './operations.ts'
import { gpu, runWgsl, target } from './run.ts'
import { bytesOfWords, numbers, wordsOf } from './words.ts'

const f32 = (strides: number[], offset = 0, mask?: Operand['mask']): Operand => ({ dtype: 'f32', strides, offset, ...(mask && { mask }) })
const x = load(0, 'f32')
const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
const rowMajor = (shape: readonly number[]): number[] => shape.map((_, i) => size(shape.slice(i + 1)))

const descriptor = (op: ReduceOp, shape: number[], reduced: number[], strides: number[], element: Expression = x): ReduceDescriptor =>
  ({ shape, reduced, op, element, inputs: [f32(strides)], outputs: [{ operand: f32(rowMajor(shape)), value: accumulator('f32') }] })

async function reduceF32(d: ReduceDescriptor, data: Float32Array<ArrayBuffer>): Promise<Float32Array> {
  const y = new Float32Array(size(d.shape))
  await runWgsl(reduceKernel(d, floor), [data, y])
  return y
}

describe.skipIf(gpu === undefined)('reduce', () => {
  test('agrees with the naive evaluation and touches nothing else', async () => {
    await fc.assert(fc.asyncProperty(reduceCases(operations, target.f16 ? [...storageTypes, 'f16'] : storageTypes), async ({ d, buffers }) => {
      const types = [...d.inputs, ...d.outputs.map((o) => o.operand)].map((o) => o.dtype)
      const words = buffers.map((b, i) => wordsOf(b, types[i] ?? 'f32'))
      const expected = words.map((w, i) => bytesOfWords(w, types[i] ?? 'f32'))
      naiveReduce(d, expected)
      await runWgsl(reduceKernel(d, target), words)
      words.forEach((got, i) => expect(numbers(got)).toEqual(numbers(wordsOf(expected[i] ?? new Uint8Array(0), types[i] ?? 'f32'))))
    }), { numRuns: 20 })
  })

  // Whole numbers, so that sums are exact in any order.
  test.each<[string, number[], number[], number[]]>([
    ['short rows', [700], [100], [100, 1]], ['rows', [300], [130], [130, 1]], ['long rows', [5], [3000], [3000, 1]], ['one row', [], [100_001], [1]],
    ['a few columns', [3], [20_000], [1, 3]], ['columns', [40], [33], [1, 40]], ['more columns', [700], [31], [1, 700]], ['columns and rows', [9, 5], [7, 31], [31, 7 * 9 * 31, 9 * 31, 1]],
    ['few rows of many elements', [2, 2], [3, 40_000], [120_000, 240_000, 40_000, 1]], ['backwards', [6], [5000], [-5000, -1]],
  ])('%s, with further operands in the value', async (_, shape, reduced, strides) => {
    const first = strides.reduce((at, s, a) => at - Math.min(0, s) * (([...shape, ...reduced][a] ?? 1) - 1), 0)
    const data = Float32Array.from({ length: size([...shape, ...reduced]) }, (__, i) => ((i * 7919) % 17) - 8)
    const bias = Float32Array.from({ length: size(shape) + 1 }, (__, i) => i % 50)
    const along = shape.length === 0 ? constant(3, 'f32') : unary('cast', index(0), 'f32')
    const value = binary('add', binary('add', accumulator('f32'), binary('sub', load(1, 'f32'), x)), along)
    const d: ReduceDescriptor = {
      shape, reduced, op: 'sum', element: binary('mul', x, x), inputs: [f32(strides, first), f32([...rowMajor(shape), ...reduced.map(() => 0)], 1)],
      outputs: [{ operand: f32(rowMajor(shape)), value }, { operand: f32(rowMajor(shape), 2), value: accumulator('f32') }],
    }
    const buffers = [data, bias, new Float32Array(size(shape)), new Float32Array(size(shape) + 2)]
    const expected = buffers.map((b) => new Uint8Array(b.buffer.slice()))
    naiveReduce(d, expected)
    await runWgsl(reduceKernel(d, floor), buffers)
    buffers.forEach((b, i) => expect(b).toEqual(new Float32Array(expected[i]?.buffer ?? new ArrayBuffer(0))))
  })

  test('masks hide elements from the fold, and from values where position 0 is hidden', async () => {
    const [n, m] = [3, 70_000]
    for (const [lo, hi] of [[0, 60_000], [7, m]] as const) {
      const d: ReduceDescriptor = { ...descriptor('sum', [n], [m], [m, 1]), inputs: [f32([m, 1], 0, [[1, n], [lo, hi]])], outputs: [{ operand: f32([1]), value: binary('sub', accumulator('f32'), x) }] }
      expect(reduceKernel(d, floor).dispatches).toHaveLength(2)
      expect([...await reduceF32(d, new Float32Array(n * m).fill(1))]).toEqual([0, hi - lo - (lo === 0 ? 1 : 0), hi - lo - (lo === 0 ? 1 : 0)])
    }
  })

  test.each([0.1, 1 / 3, 0.7])('sums of 2^20 times %d keep a relative error below 1e-6', async (value) => {
    const data = new Float32Array(1 << 20).fill(value)
    const exact = Math.fround(value)
    for (const [shape, reduced, strides] of [[[], [1 << 20], [1]], [[8], [1 << 17], [1, 8]], [[64], [1 << 14], [1, 64]], [[64], [1 << 14], [1 << 14, 1]]] as const) {
      const sums = await reduceF32(descriptor('sum', [...shape], [...reduced], [...strides]), data)
      for (const sum of sums) expect(Math.abs(sum / size(reduced) / exact - 1)).toBeLessThan(1e-6)
    }
  })

  test('infinities and NaN are kept', async () => {
    const data = new Float32Array(3 * 1000).fill(1)
    data[17] = Infinity
    data[1017] = Infinity
    data[1900] = -Infinity
    data[2500] = NaN
    const rows = (op: ReduceOp): Promise<Float32Array> => reduceF32(descriptor(op, [3], [1000], [1000, 1]), data)
    expect([...await rows('sum')]).toEqual([Infinity, NaN, NaN])
    expect([...await rows('max')]).toEqual([Infinity, Infinity, NaN])
    expect([...await rows('min')]).toEqual([1, -Infinity, NaN])
  })

  test.each<[ReduceOp, number]>([['sum', 0], ['prod', 1], ['max', -Infinity], ['min', Infinity]])('an empty %s is %d', async (op, expected) => {
    expect([...await reduceF32(descriptor(op, [9], [0], [0, 1]), new Float32Array(0))]).toEqual(new Array(9).fill(expected))
    expect([...await reduceF32(descriptor(op, [9], [3, 0], [1, 0, 9]), new Float32Array(0))]).toEqual(new Array(9).fill(expected))
  })

  test('one buffer may hold several operands', async () => {
    const words = Float32Array.from({ length: 130 }, (_, i) => i)
    const d: ReduceDescriptor = { ...descriptor('sum', [2], [64], [64, 1]), inputs: [f32([64, 1])], outputs: [{ operand: f32([1], 128), value: accumulator('f32') }] }
    await runWgsl(reduceKernel(d, floor, [0, 0]), [words])
    expect([...words.subarray(128)]).toEqual([2016, 6112])
  })
})

describe('the dispatches of a reduction', () => {
  const rows = (n: number, m: number) => reduceKernel(descriptor('sum', [n], [m], [m, 1]), floor)

  test('code does not depend on sizes but for how a workgroup is shared', () => {
    expect(rows(1000, 3000).dispatches[0]?.source).toBe(rows(777, 5000).dispatches[0]?.source)
    expect(rows(1000, 3000).dispatches[0]?.source).not.toBe(rows(1000, 20).dispatches[0]?.source)
  })

  test('few outputs of many elements are folded in two steps', () => {
    expect([rows(1, 10_000), rows(1000, 10_000), rows(1, 100_000), rows(16, 1_000_000)].map((k) => k.dispatches.length)).toEqual([1, 1, 2, 2])
    const { dispatches, temporaries } = rows(1, 100_000)
    expect(temporaries).toEqual([4 * 6])
    expect(dispatches.map((dispatch) => dispatch.workgroups[0])).toEqual([6, 1])
    expect(dispatches.map((dispatch) => dispatch.bindings.map(({ buffer }) => buffer))).toEqual([[0, 2], [2, 1]])
  })

  test('what it cannot do is refused', () => {
    const b: Operand = { dtype: 'bool', strides: [1], offset: 0 }
    expect(() => reduceKernel({ shape: [], reduced: [4], op: 'sum', element: load(0, 'bool'), inputs: [b], outputs: [] }, floor)).toThrow('reduce: no sum of bool values; cast to i32 first')
    expect(() => reduceKernel({ ...descriptor('sum', [1], [4], [4, 1]), parts: { count: 2, stride: 1 } }, floor)).toThrow('reduce: a kernel of this device cuts a reduction into parts itself: leave `parts` out')
    expect(() => rows(65536, 65536)).toThrow('reduce: 4294967296 elements, of which a kernel can fold 2147483648: cut the tensor')
  })
})
