import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { MapDescriptor, Operand } from '../../../kernels/ir/descriptor.ts'
import { binary, constant, index, load, unary } from '../../../kernels/ir/expression.ts'
import { floor } from '../../../kernels/wgsl/core/kernel.ts'
import { mapKernel } from '../../../kernels/wgsl/elementwise/map.ts'
import { naiveMap } from '../naive.ts'
import { mapCases, storageTypes } from '../random.ts'
import { operations } from './operations.ts'
import { gpu, runWgsl, target } from './run.ts'
import { bytesOfWords, numbers, wordsOf } from './words.ts'

const f32 = (strides: number[], offset = 0, mask?: Operand['mask']): Operand => ({ dtype: 'f32', strides, offset, ...(mask && { mask }) })
const x = load(0, 'f32')

/** Runs `d` on buffers of f32 and compares with the naive evaluation. */
async function check(d: MapDescriptor, sizes: readonly number[]): Promise<void> {
  const buffers = sizes.map((n, o) => Float32Array.from({ length: n }, (_, i) => ((i * 37 + o) % 101) - 50))
  const expected = buffers.map((b) => new Uint8Array(b.buffer.slice()))
  naiveMap(d, expected)
  await runWgsl(mapKernel(d, floor), buffers)
  buffers.forEach((b, i) => expect(b).toEqual(new Float32Array(expected[i]?.buffer ?? new ArrayBuffer(0))))
}

describe.skipIf(gpu === undefined)('map', () => {
  test('agrees with the naive evaluation and touches nothing else', async () => {
    await fc.assert(fc.asyncProperty(mapCases(operations, target.f16 ? [...storageTypes, 'f16'] : storageTypes), async ({ d, buffers }) => {
      const types = [...d.inputs, ...d.outputs.map((o) => o.operand)].map((o) => o.dtype)
      const words = buffers.map((b, i) => wordsOf(b, types[i] ?? 'f32'))
      const expected = words.map((w, i) => bytesOfWords(w, types[i] ?? 'f32'))
      naiveMap(d, expected)
      await runWgsl(mapKernel(d, target), words)
      words.forEach((got, i) => expect(numbers(got)).toEqual(numbers(wordsOf(expected[i] ?? new Uint8Array(0), types[i] ?? 'f32'))))
    }), { numRuns: 30 })
  })

  // [rows, columns] with columns whole vectors or not, so that both forms of the kernel run.
  const sizes = [[3, 8], [5, 7], [40, 257], [17, 260], [129, 1024]] as const
  test.each(sizes)('%i × %i with a bias, padding, a flip and positions', async (n, m) => {
    const sum = binary('add', binary('add', x, load(1, 'f32')), binary('add', load(2, 'f32'), load(3, 'f32')))
    const value = binary('add', sum, unary('cast', binary('add', index(0), index(1)), 'f32'))
    const inputs = [f32([m, 1]), f32([0, 1]), f32([m, 1], -m - 2, [[1, n], [2, m - 1]]), f32([m, -1], m - 1)]
    await check({ shape: [n, m], inputs, outputs: [{ operand: f32([m, 1]), value }] }, [n * m, m, n * m, n * m, n * m])
  })

  test.each(sizes)('%i × %i permuted, with a column, in two outputs', async (n, m) => {
    const inputs = [f32([1, n]), f32([1, 0]), f32([0, 0], 3)]
    const scale = binary('add', load(1, 'f32'), load(2, 'f32'))
    const outputs = [{ operand: f32([m + 4, 1], 4), value: binary('sub', x, scale) }, { operand: f32([m, 1]), value: binary('max', x, scale) }]
    await check({ shape: [n, m], inputs, outputs }, [n * m, n, 4, n * (m + 4) + 4, n * m])
  })

  test.each([[16, 16], [33, 17], [64, 100]] as const)('planes of %i × %i transposed, along with a mask, a broadcast and positions', async (n, m) => {
    const sum = binary('add', binary('add', x, load(1, 'f32')), binary('add', load(2, 'f32'), load(3, 'f32')))
    const value = binary('sub', sum, unary('cast', binary('sub', index(1), index(2)), 'f32'))
    const inputs = [f32([n * m, 1, n]), f32([0, 1, n]), f32([n * m, m, 1], 0, [[1, 3], [0, n - 3], [2, m]]), f32([0, 0, 1])]
    await check({ shape: [3, n, m], inputs, outputs: [{ operand: f32([n * m, m, 1], 2), value }] }, [3 * n * m, n * m, 3 * n * m, m, 3 * n * m + 2])
  })

  test('an output may be its own input, and a buffer may hold several operands of several types', async () => {
    for (const n of [23, 24]) {
      const words = Float32Array.from({ length: 3 * n }, (_, i) => i - n)
      const i32: Operand = { dtype: 'i32', strides: [1], offset: n }
      const d: MapDescriptor = {
        shape: [n], inputs: [f32([1]), f32([1], 2 * n)],
        outputs: [{ operand: f32([1]), value: binary('mul', x, load(1, 'f32')) }, { operand: i32, value: unary('cast', x, 'i32') }],
      }
      const expected = words.slice()
      const integers = new Int32Array(expected.buffer, 4 * n, n)
      for (let i = 0; i < n; i++) [expected[i], integers[i]] = [(i - n) * (i + n), i - n]
      const kernel = mapKernel(d, floor, [0, 0, 0, 0])
      expect(kernel.dispatches[0]?.bindings).toEqual([{ buffer: 0, access: 'read_write' }])
      await runWgsl(kernel, [words])
      expect(new Uint32Array(words.buffer)).toEqual(new Uint32Array(expected.buffer))
    }
  })

  test('more invocations than one row of workgroups has', async () => {
    const n = 256 * 65536 + 1
    const y = new Int32Array(n)
    await runWgsl(mapKernel({ shape: [n], inputs: [], outputs: [{ operand: { dtype: 'i32', strides: [1], offset: 0 }, value: index(0) }] }, floor), [y])
    expect(y.every((value, i) => value === i)).toBe(true)
  })
})

describe('the code of a map', () => {
  const source = (d: MapDescriptor): string | undefined => mapKernel(d, floor).dispatches[0]?.source

  test('does not depend on sizes, ranks that merge, or offsets', () => {
    const a = source({ shape: [2, 3, 4, 5], inputs: [f32([60, 20, 5, 1])], outputs: [{ operand: f32([60, 20, 5, 1]), value: x }] })
    expect(a).toBe(source({ shape: [8], inputs: [f32([1], 100)], outputs: [{ operand: f32([1]), value: x }] }))
    expect(a).toContain('array<vec4<f32>>')
  })

  test('takes vectors only where all is aligned', () => {
    const copy = (m: number, offset: number): MapDescriptor => ({ shape: [4, m], inputs: [f32([m, 1])], outputs: [{ operand: f32([m + 4, 1], offset), value: x }] })
    expect(source(copy(8, 4))).toContain('vec4')
    expect(source(copy(8, 2))).not.toContain('vec4')
    expect(source(copy(6, 4))).not.toContain('vec4')
  })

  test('an input that is contiguous along another axis goes through workgroup memory, unless the axis is short', () => {
    const turned = (n: number, m: number): MapDescriptor => ({ shape: [n, m], inputs: [f32([1, n])], outputs: [{ operand: f32([m, 1]), value: x }] })
    expect(source(turned(40, 100))).toContain('var<workgroup> tile0')
    expect(source(turned(40, 100))).toBe(source(turned(16, 1000)))
    expect(source(turned(3, 100))).not.toContain('workgroup>')
  })

  test('an empty domain dispatches nothing, a vast one is refused', () => {
    const fill = (shape: number[]): MapDescriptor => ({ shape, inputs: [], outputs: [{ operand: f32(shape.map(() => 1)), value: constant(1, 'f32') }] })
    expect(mapKernel(fill([3, 0]), floor).dispatches).toEqual([])
    expect(() => mapKernel(fill([65536, 65536]), floor)).toThrow('map: 4294967296 elements, of which a kernel can compute 2147483648: cut the tensor')
  })

  test('more buffers than can be bound are refused', () => {
    const d: MapDescriptor = { shape: [1], inputs: Array.from({ length: 8 }, () => f32([1])), outputs: [{ operand: f32([1]), value: Array.from({ length: 8 }, (_, o) => load(o, 'f32')).reduce((a, b) => binary('add', a, b)) }] }
    expect(() => mapKernel(d, floor)).toThrow('map: 9 buffers, of which a kernel can bind 8: compute part of it first')
    expect(mapKernel(d, floor, [0, 1, 2, 3, 4, 5, 6, 7, 7]).dispatches[0]?.bindings).toHaveLength(8)
  })

  test('f16 is refused where the device lacks it, and where a buffer holds other types too', () => {
    const d: MapDescriptor = { shape: [4], inputs: [{ dtype: 'f16', strides: [1], offset: 0 }], outputs: [{ operand: f32([1]), value: x }] }
    expect(() => source(d)).toThrow('map: this device has no f16: use f32')
    expect(() => mapKernel(d, { ...floor, f16: true }, [0, 0])).toThrow('map: buffer 0 holds f16 and other types, which one kernel cannot read: give them buffers of their own')
    expect(mapKernel(d, { ...floor, f16: true }).dispatches[0]?.source).toContain('array<vec4<f16>>')
  })

  test('memory and values must agree in type', () => {
    expect(() => source({ shape: [1], inputs: [], outputs: [{ operand: f32([1]), value: constant(1, 'i32') }] })).toThrow('map: f32 memory cannot hold i32 values; cast to f32 first')
  })
})
