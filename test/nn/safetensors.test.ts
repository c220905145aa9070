/** safetensors: what is written is read back; whatever is not exactly the format is refused, with the tensor and the reason. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CheckpointError } from '../../engine/error.ts'
import { fromBf16, fromF16, toBf16, toF16 } from '../../nn/half.ts'
import { decodeSafetensors, encodeSafetensors } from '../../nn/safetensors.ts'
import type { HostTensor } from '../../nn/safetensors.ts'

function fileOf(header: string, body: readonly number[] = []): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header)
  const file = new Uint8Array(8 + text.length + body.length)
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true)
  file.set(text, 8)
  file.set(body, 8 + text.length)
  return file
}

const u8 = (from: number, to: number): string => `{"dtype":"U8","shape":[${to - from}],"data_offsets":[${from},${to}]}`

describe('what is written is read back', () => {
  const name = fc.string({ unit: 'binary', maxLength: 12 }).filter((text) => text !== '__metadata__')
  const shape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 })
  const sized = shape.chain((s) => {
    const size = s.reduce((n, d) => n * d, 1)
    const list = <T>(element: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(element, { minLength: size, maxLength: size })
    const value = fc.oneof(
      list(fc.float()).map((v): HostTensor => ({ dtype: 'f32', shape: s, data: Float32Array.from(v) })),
      list(fc.double()).map((v): HostTensor => ({ dtype: 'f64', shape: s, data: Float64Array.from(v) })),
      list(fc.integer()).map((v): HostTensor => ({ dtype: 'i32', shape: s, data: Int32Array.from(v) })),
      list(fc.nat(0xffffffff)).map((v): HostTensor => ({ dtype: 'u32', shape: s, data: Uint32Array.from(v) })),
      list(fc.nat(255)).map((v): HostTensor => ({ dtype: 'u8', shape: s, data: Uint8Array.from(v) })),
      list(fc.nat(1)).map((v): HostTensor => ({ dtype: 'bool', shape: s, data: Uint8Array.from(v) })),
      list(fc.nat(0xffff)).map((v): HostTensor => ({ dtype: 'f16', shape: s, data: Float32Array.from(v, fromF16) })),
      list(fc.nat(0xffff)).map((v): HostTensor => ({ dtype: 'bf16', shape: s, data: Float32Array.from(v, fromBf16) })),
    )
    return value
  })

  test('tensors and metadata', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, sized), { maxLength: 6 }), fc.dictionary(name, fc.string()), (list, metadata) => {
        const tensors = new Map(list)
        const file = encodeSafetensors(tensors, metadata)
        const read = decodeSafetensors(file)
        expect(Object.fromEntries(read.tensors)).toEqual(Object.fromEntries(tensors))
        expect({ ...read.metadata }).toEqual({ ...metadata })
        expect(encodeSafetensors(tensors, metadata)).toEqual(file)
      }),
    )
  })

  test('halves', () => {
    const all = Array.from({ length: 0x10000 }, (_, bits) => bits)
    expect(all.filter((bits) => !Number.isNaN(fromF16(bits)) && toF16(fromF16(bits)) !== bits)).toEqual([])
    expect(all.filter((bits) => !Number.isNaN(fromBf16(bits)) && toBf16(fromBf16(bits)) !== bits)).toEqual([])
    expect([1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519, 65520, 2 ** -25, 2 ** -25 * 1.01, 1e-10].map((x) => fromF16(toF16(x)))).toEqual([1, 1 + 2 ** -9, 65504, Infinity, 0, 2 ** -24, 0])
    expect(fromF16(toF16(Number.NaN))).toBeNaN()
    expect(fromBf16(toBf16(Number.NaN))).toBeNaN()
    expect(fromBf16(toBf16(1 + 2 ** -8))).toBe(1)
  })

  test('i64 comes as i32', () => {
    const body = [...new Uint8Array(BigInt64Array.of(-5n, 2n ** 31n - 1n).buffer)]
    expect(decodeSafetensors(fileOf('{"t":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}', body)).tensors.get('t')).toEqual({ dtype: 'i32', shape: [2], data: Int32Array.of(-5, 2 ** 31 - 1) })
  })
})

describe('what is not the format is refused', () => {
  test.each([
    ['no bytes', new Uint8Array(), 'it has 0 bytes, fewer than the 8 that a header takes'],
    ['a header cut short', fileOf('{}').subarray(0, 9), 'its header should have 2 bytes but only 1 follow'],
    ['a header that is no JSON', fileOf('{"a":'), 'its header is not JSON'],
    ['a header that is a list', fileOf('[]'), 'its header is not a JSON object'],
    ['a key twice', fileOf(`{"a":${u8(0, 1)},"\\u0061":${u8(0, 1)}}`, [1]), 'key a is in the header twice'],
    ['metadata of numbers', fileOf('{"__metadata__":{"a":1}}'), 'its metadata is not a map from text to text'],
    ['an unknown dtype', fileOf('{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', [0]), 'tensor w has dtype "F8_E4M3", which is none of'],
    ['a dtype from Object', fileOf('{"w":{"dtype":"constructor","shape":[1],"data_offsets":[0,1]}}', [0]), 'tensor w has dtype "constructor"'],
    ['a negative size', fileOf('{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', [0]), 'tensor w has shape [-1], which is not a list of sizes'],
    ['a size beyond integers', fileOf('{"w":{"dtype":"F32","shape":[9007199254740991,9],"data_offsets":[0,1]}}', [0]), 'tensor w has shape [9007199254740991,9], which is not a list of sizes'],
    ['three offsets', fileOf('{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', [0]), 'tensor w has offsets [0,1,2], which are not two positions'],
    ['offsets reversed', fileOf('{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', [0]), 'tensor w starts at byte 1 but ends at 0'],
    ['offsets that contradict the shape', fileOf('{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', [0, 0, 0, 0]), 'tensor w of shape [2] takes 8 bytes but its offsets span 4'],
    ['an overlap', fileOf(`{"a":${u8(0, 2)},"b":${u8(1, 3)}}`, [0, 0, 0]), 'tensor b starts at byte 1, which overlaps the tensor before it, ending at 2'],
    ['a gap', fileOf(`{"a":${u8(0, 1)},"b":${u8(2, 3)}}`, [0, 0, 0]), 'tensor b starts at byte 2, which leaves a gap after the tensor before it, ending at 1'],
    ['a body cut short', fileOf(`{"a":${u8(0, 3)}}`, [0, 0]), 'tensor a ends at byte 3 but the file holds only 2 bytes of tensors'],
    ['bytes left over', fileOf(`{"a":${u8(0, 1)}}`, [0, 0]), '1 bytes follow the last tensor'],
    ['a bool of 2', fileOf('{"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}', [2]), 'tensor a is BOOL but holds values that are neither 0 nor 1'],
    ['an i64 beyond i32', fileOf('{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', [0, 0, 0, 0, 1, 0, 0, 0]), 'tensor a is I64 and holds 4294967296, which i32 cannot'],
  ])('%s', (_, file, message) => {
    expect(() => decodeSafetensors(file, 'model.safetensors')).toThrow(CheckpointError)
    expect(() => decodeSafetensors(file, 'model.safetensors')).toThrow(`model.safetensors: ${message}`)
  })

  test('nothing but CheckpointError, however a file is damaged', () => {
    const good = encodeSafetensors(new Map<string, HostTensor>([['a.weight', { dtype: 'f32', shape: [2, 3], data: new Float32Array(6) }], ['b', { dtype: 'u8', shape: [5], data: new Uint8Array(5) }]]), { format: 'pt' })
    const attempt = (file: Uint8Array<ArrayBuffer>): void => {
      try {
        const { tensors } = decodeSafetensors(file)
        for (const { shape, data } of tensors.values()) expect(data.length).toBe(shape.reduce((n, d) => n * d, 1))
      } catch (error) {
        expect(error).toBeInstanceOf(CheckpointError)
      }
    }
    for (let end = 0; end < good.length; end++) expect(() => decodeSafetensors(good.slice(0, end))).toThrow(CheckpointError)
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), (edits) => {
      const file = good.slice()
      for (const [at, byte] of edits) file[at] = byte
      attempt(file)
    }), { numRuns: 2000 })
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => attempt(Uint8Array.from(bytes))))
    fc.assert(fc.property(fc.json(), fc.uint8Array({ maxLength: 20 }), (header, body) => attempt(fileOf(header, [...body]))))
  })

  test('data that does not fill its shape is not written', () => {
    expect(() => encodeSafetensors(new Map([['w', { dtype: 'f32', shape: [2], data: new Float32Array(3) }]]))).toThrow('tensor w has shape [2] but 3 values; pass as many as the shape holds')
  })
})
