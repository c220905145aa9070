import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { MapDescriptor } from '../../kernels/ir/descriptor.ts'
import { binary, constant, index, load, type StorageType, unary } from '../../kernels/ir/expression.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { elementBytes, naiveMap, readElement } from './naive.ts'
import { mapCases } from './random.ts'
import { runKernel } from './run.ts'

const copy = (buffers: readonly Uint8Array[]): Uint8Array[] => buffers.map((b) => b.slice())
const read = (bytes: Uint8Array | undefined, dtype: StorageType): number[] => (bytes === undefined ? [] : Array.from({ length: bytes.length / elementBytes[dtype] }, (_, i) => readElement(bytes, dtype, i)))

test('agrees with the naive evaluation in every bit, touches nothing else, and splits anywhere', () => {
  fc.assert(fc.property(mapCases(), fc.array(fc.nat(200), { maxLength: 3 }), fc.nat(4), ({ d, buffers }, cuts, first) => {
    const [expected, got, split] = [copy(buffers), copy(buffers), copy(buffers)]
    const kernel = mapKernel(d)
    naiveMap(d, expected)
    runKernel(kernel, got, { first: first % buffers.length })
    const inside = cuts.filter((c) => c < kernel.items).sort((a, b) => a - b)
    runKernel(kernel, split, { first: (first + 1) % buffers.length, cuts: inside })
    d.outputs.forEach(({ operand }, i) => expect(read(got[d.inputs.length + i], operand.dtype)).toEqual(read(expected[d.inputs.length + i], operand.dtype)))
    expect(split).toEqual(got)
  }), { numRuns: 400 })
})

describe('structure', () => {
  const f32 = (strides: number[], offset = 0): MapDescriptor['inputs'][number] => ({ dtype: 'f32', strides, offset })
  const twice = binary('add', load(0, 'f32'), load(0, 'f32'))

  test('contiguous operands of any rank share one kernel', () => {
    const a = mapKernel({ shape: [2, 3, 4, 5], inputs: [f32([60, 20, 5, 1])], outputs: [{ operand: f32([60, 20, 5, 1]), value: twice }] })
    const b = mapKernel({ shape: [7], inputs: [f32([1], 100)], outputs: [{ operand: f32([1]), value: twice }] })
    expect(a.key).toBe(b.key)
    expect(a.items).toBe(1)
    expect(a.bytes).toBe(960)
  })

  test('a permuted output is walked in its own order', () => {
    const kernel = mapKernel({ shape: [64, 32], inputs: [f32([1, 64])], outputs: [{ operand: f32([1, 64]), value: twice }] })
    expect(kernel.items).toBe(1)
  })

  test('long rows are cut into chunks', () => {
    const kernel = mapKernel({ shape: [100_000], inputs: [f32([1])], outputs: [{ operand: f32([1]), value: twice }] })
    expect(kernel.items).toBe(25)
  })

  test('an empty domain has no items', () => {
    expect(mapKernel({ shape: [3, 0], inputs: [], outputs: [{ operand: f32([0, 1]), value: constant(1, 'f32') }] }).items).toBe(0)
  })

  test('an output may be its own input', () => {
    const x = new Float32Array(23).map((_, i) => i)
    const d: MapDescriptor = { shape: [23], inputs: [f32([1])], outputs: [{ operand: f32([1]), value: binary('mul', load(0, 'f32'), unary('cast', index(0), 'f32')) }] }
    const kernel = mapKernel(d)
    const aliased = { ...kernel, args: kernel.args.map((a) => (typeof a === 'object' && 'buffer' in a ? { ...a, buffer: 0 } : a)) }
    const bytes = new Uint8Array(x.slice().buffer)
    runKernel(aliased, [bytes])
    expect(read(bytes, 'f32')).toEqual([...x].map((v) => v * v))
  })

  test.each([[16, 16], [3, 9], [64, 300], [17, 8], [5, 31], [40, 257], [144, 65]])('a transposition of %i × %i in two planes copies every bit, wherever it is split', (width, height) => {
    const size = 2 * width * height
    const bits = Int32Array.from({ length: size }, (_, i) => 0x7f800001 + 7 * i) // Signalling NaNs among them.
    const d: MapDescriptor = { shape: [2, height, width], inputs: [f32([width * height, 1, height])], outputs: [{ operand: f32([width * height + 3, width, 1], 1), value: load(0, 'f32') }] }
    const kernel = mapKernel(d)
    expect(kernel.key).toContain('transpose')
    const expected = new Int32Array(size + 4)
    for (let i = 0; i < size; i++) {
      const [plane, column, row] = [Math.floor(i / (width * height)), Math.floor(i / height) % width, i % height]
      expected[1 + plane * (width * height + 3) + row * width + column] = bits[i] ?? 0
    }
    for (const cuts of [[], [1, kernel.items >> 1]]) {
      const out = new Uint8Array(expected.byteLength)
      runKernel(kernel, [new Uint8Array(bits.buffer.slice()), out], { cuts })
      expect(new Int32Array(out.buffer)).toEqual(expected)
    }
  })

  test('f16 is refused', () => {
    expect(() => mapKernel({ shape: [1], inputs: [{ dtype: 'f16', strides: [1], offset: 0 }], outputs: [{ operand: f32([1]), value: load(0, 'f32') }] })).toThrow('WebAssembly has no f16: use f32')
  })

  test('memory and values must agree in type', () => {
    expect(() => mapKernel({ shape: [1], inputs: [], outputs: [{ operand: f32([1]), value: constant(1, 'i32') }] })).toThrow('map: f32 memory cannot hold i32 values; cast to f32 first')
  })
})
