import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Operand, ReduceDescriptor, ReduceOp } from '../../kernels/ir/descriptor.ts'
import { accumulator, type Expression, load, type StorageType, unary } from '../../kernels/ir/expression.ts'
import { reduceKernel, reduceParts } from '../../kernels/wasm/reduce/reduce.ts'
import { elementBytes, naiveReduce, readElement } from './naive.ts'
import { reduceCases } from './random.ts'
import { runKernel } from './run.ts'

const copy = (buffers: readonly Uint8Array[]): Uint8Array[] => buffers.map((b) => b.slice())
const read = (bytes: Uint8Array | undefined, dtype: StorageType): number[] => (bytes === undefined ? [] : Array.from({ length: bytes.length / elementBytes[dtype] }, (_, i) => readElement(bytes, dtype, i)))

test('agrees with the naive evaluation in every bit, touches nothing else, and splits anywhere', () => {
  fc.assert(fc.property(reduceCases(), fc.array(fc.nat(200), { maxLength: 3 }), fc.nat(4), ({ d, buffers }, cuts, first) => {
    const [expected, got, split] = [copy(buffers), copy(buffers), copy(buffers)]
    const kernel = reduceKernel(d)
    naiveReduce(d, expected)
    runKernel(kernel, got, { first: first % buffers.length })
    const inside = cuts.filter((c) => c < kernel.items).sort((a, b) => a - b)
    runKernel(kernel, split, { first: (first + 1) % buffers.length, cuts: inside })
    d.outputs.forEach(({ operand }, i) => expect(read(got[d.inputs.length + i], operand.dtype)).toEqual(read(expected[d.inputs.length + i], operand.dtype)))
    expect(split).toEqual(got)
  }), { numRuns: 500 })
})

test('parts, folded in turn, give the whole', () => {
  fc.assert(fc.property(reduceCases(), fc.integer({ min: 1, max: 7 }), ({ d, buffers }, count) => {
    const { type } = d.element
    const size = d.shape.reduce((a, b) => a * b, 1)
    const strides = d.shape.map((_, i) => d.shape.slice(i + 1).reduce((a, b) => a * b, 1))
    const operand = { dtype: type, strides, offset: 0 } as const
    const whole: ReduceDescriptor = { ...d, outputs: [{ operand, value: accumulator(type) }] }
    const inputs = buffers.slice(0, d.inputs.length)
    const room = (n: number): Uint8Array => new Uint8Array(n * elementBytes[type])
    const [expected, parts, got] = [room(size), room(count * size), room(size)]
    naiveReduce(whole, [...copy(inputs), expected])
    const cut = reduceKernel({ ...whole, parts: { count, stride: size } })
    runKernel(cut, [...copy(inputs), parts], { cuts: [Math.floor(cut.items / 2)] })
    runKernel(reduceKernel({ ...whole, reduced: [count], inputs: [{ dtype: type, strides: [...strides, size], offset: 0 }], element: load(0, type) }), [parts, got])
    expect(read(got, type)).toEqual(read(expected, type))
  }), { numRuns: 100 })
})

const f32 = (strides: number[]): Operand => ({ dtype: 'f32', strides, offset: 0 })
const x = load(0, 'f32')

function reduceF32(op: ReduceOp, shape: number[], reduced: number[], strides: number[], data: Float32Array<ArrayBuffer>, element: Expression = x): Float32Array {
  const count = shape.reduce((a, b) => a * b, 1)
  const y = new Uint8Array(4 * count)
  const d: ReduceDescriptor = { shape, reduced, op, element, inputs: [f32(strides)], outputs: [{ operand: f32(shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1))), value: accumulator('f32') }] }
  runKernel(reduceKernel(d), [new Uint8Array(data.buffer), y])
  return new Float32Array(y.buffer)
}

describe('float sums', () => {
  // Not a power of two, so that every partial sum is rounded.
  test.each([0.1, 1 / 3, 0.7])('of 2^20 times %d keep a relative error below 1e-6', (value) => {
    const [rows = NaN] = reduceF32('sum', [], [1 << 20], [1], new Float32Array(1 << 20).fill(value))
    const columns = reduceF32('sum', [8], [1 << 17], [1, 8], new Float32Array(1 << 20).fill(value))
    const exact = Math.fround(value)
    expect(Math.abs(rows / (1 << 20) / exact - 1)).toBeLessThan(1e-6)
    for (const column of columns) expect(Math.abs(column / (1 << 17) / exact - 1)).toBeLessThan(1e-6)
  })

  test('of mixed numbers err by less than 4e-7 of the sum of magnitudes', () => {
    for (const [shape, reduced, strides] of [[[3], [5000], [5000, 1]], [[40], [1000], [1, 40]], [[2, 8], [33, 31], [8 * 1023, 1, 31 * 8, 8]]] as const) {
      const data = new Float32Array(16 * 40_000).map((_, i) => ((i * 0.6180339887498949) % 1) * 200 - 100)
      const got = reduceF32('sum', [...shape], [...reduced], [...strides], data)
      const count = shape.reduce((a: number, b) => a * b, 1)
      const exact = new Uint8Array(4 * count)
      const size = new Uint8Array(4 * count)
      const outputs = [{ operand: f32(shape.length === 1 ? [1] : [8, 1]), value: accumulator('f32') }]
      const d: ReduceDescriptor = { shape, reduced, op: 'sum', element: x, inputs: [f32([...strides])], outputs }
      naiveReduce(d, [new Uint8Array(data.buffer), exact])
      naiveReduce({ ...d, element: unary('abs', x) }, [new Uint8Array(data.buffer), size])
      const [exacts, sizes] = [new Float32Array(exact.buffer), new Float32Array(size.buffer)]
      got.forEach((y, i) => expect(Math.abs(y - (exacts[i] ?? 0))).toBeLessThan(4e-7 * (sizes[i] ?? 0)))
    }
  })

  test('keep infinities and NaN', () => {
    const data = new Float32Array(3 * 1000).fill(1)
    data[17] = Infinity
    data[1017] = Infinity
    data[1900] = -Infinity
    data[2500] = NaN
    expect([...reduceF32('sum', [3], [1000], [1000, 1], data)]).toEqual([Infinity, NaN, NaN])
    expect([...reduceF32('max', [3], [1000], [1000, 1], data)]).toEqual([Infinity, Infinity, NaN])
    expect([...reduceF32('min', [3], [1000], [1000, 1], data)]).toEqual([1, -Infinity, NaN])
  })
})

describe('empty reductions give the identity', () => {
  test.each<[ReduceOp, number]>([['sum', 0], ['prod', 1], ['max', -Infinity], ['min', Infinity]])('%s is %d', (op, expected) => {
    expect([...reduceF32(op, [9], [0], [0, 1], new Float32Array(0))]).toEqual(new Array(9).fill(expected))
    expect([...reduceF32(op, [9], [3, 0], [1, 0, 9], new Float32Array(0))]).toEqual(new Array(9).fill(expected))
  })
})

describe('structure', () => {
  test('sizes are not in the key', () => {
    const kernel = (n: number, m: number) => reduceKernel({ shape: [n], reduced: [m], op: 'sum', element: x, inputs: [f32([m, 1])], outputs: [{ operand: f32([1]), value: accumulator('f32') }] })
    expect(kernel(3, 100).key).toBe(kernel(7, 999).key)
    expect(kernel(3, 100).items).toBe(3)
  })

  test('columns are vectorised when they lie contiguously', () => {
    const kernel = reduceKernel({ shape: [64], reduced: [1000], op: 'sum', element: x, inputs: [f32([1, 64])], outputs: [{ operand: f32([1]), value: accumulator('f32') }] })
    expect(kernel.key).toMatch(/^columns/)
    expect(kernel.items).toBe(2)
  })

  test('few outputs of many elements are cut into parts', () => {
    const d = (n: number, m: number): ReduceDescriptor => ({ shape: [n], reduced: [m], op: 'sum', element: x, inputs: [f32([m, 1])], outputs: [{ operand: f32([1]), value: accumulator('f32') }] })
    expect([d(1, 100_000), d(1, 200_000), d(1, 10_000_000), d(16, 1_000_000), d(1000, 100_000)].map(reduceParts)).toEqual([1, 12, 32, 2, 1])
  })

  test('bool has no sum', () => {
    const b = { dtype: 'bool', strides: [1], offset: 0 } as const
    expect(() => reduceKernel({ shape: [], reduced: [4], op: 'sum', element: load(0, 'bool'), inputs: [b], outputs: [] })).toThrow('reduce: no sum of bool values; cast to i32 first')
  })
})
