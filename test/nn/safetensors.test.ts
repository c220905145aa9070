/** safetensors: what is written is read back; whatever is not exactly the format is refused, with the tensor and the reason. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CheckpointError } from '../../engine/error.ts'
import { bytesSource } from '../../nn/checkpoint/bytes.ts'
import type { HostTensor } from '../../nn/checkpoint/format.ts'
import { decodeSafetensors, openSafetensors } from '../../nn/checkpoint/read.ts'
import type { Safetensors } from '../../nn/checkpoint/read.ts'
import { encodeSafetensors, streamSafetensors } from '../../nn/checkpoint/write.ts'
import { bitsOf, collect, fileOf, hostTensors, names } from './files.ts'

const u8 = (from: number, to: number): string => `{"dtype":"U8","shape":[${to - from}],"data_offsets":[${from},${to}]}`
const text = new TextDecoder()

/** A file read by ranges, which must lie within it. */
async function readByRanges(file: Uint8Array<ArrayBuffer>): Promise<Safetensors> {
  const { tensors, metadata, entries } = await openSafetensors({
    ...bytesSource(file, 'safetensors'),
    async read(from, to) {
      expect([from >= 0, from <= to, to <= file.length]).toEqual([true, true, true])
      return file.slice(from, to)
    },
  })
  const read = new Map<string, HostTensor>()
  for await (const [name, tensor] of entries()) read.set(name, tensor)
  expect([...read.keys()]).toEqual([...tensors.keys()])
  return { tensors: read, metadata, verified: [...tensors.values()].some(({ crc32 }) => crc32 !== undefined) }
}

describe('what is written is read back', () => {
  const texts = fc.string({ unit: 'binary', maxLength: 12 }).filter((value) => value.isWellFormed())
  const files = fc.tuple(fc.array(fc.tuple(names, hostTensors), { maxLength: 6 }), fc.dictionary(texts, texts))

  test('tensors bit for bit, and metadata, at once and by ranges', async () => {
    await fc.assert(
      fc.asyncProperty(files, async ([list, metadata]) => {
        const tensors = new Map(list)
        const file = encodeSafetensors(tensors, metadata)
        for (const read of [decodeSafetensors(file), await readByRanges(file)]) {
          expect(bitsOf(read.tensors)).toEqual(bitsOf(tensors))
          expect(new Map(Object.entries(read.metadata))).toEqual(new Map(Object.entries(metadata)))
          expect(encodeSafetensors(read.tensors, metadata)).toEqual(file)
        }
        expect(encodeSafetensors(new Map(list.toReversed().filter(([name, tensor]) => tensors.get(name) === tensor)), metadata)).toEqual(file)
        expect(await collect(streamSafetensors(tensors, { metadata }))).toEqual(file)
      }),
      { numRuns: 200 },
    )
  })

  test('every tensor is aligned to its elements, and the header to 8 bytes', () => {
    fc.assert(
      fc.property(files, ([list, metadata]) => {
        const file = encodeSafetensors(new Map(list), metadata)
        const length = Number(new DataView(file.buffer).getBigUint64(0, true))
        expect(length % 8).toBe(0)
        const header = JSON.parse(text.decode(file.subarray(8, 8 + length))) as Record<string, { dtype: string; data_offsets: [number, number] }>
        const bytes: Record<string, number> = { I64: 8, F64: 8, F32: 4, U32: 4, I32: 4, F16: 2, BF16: 2 }
        for (const [name, { dtype, data_offsets: [from] = [0] }] of Object.entries(header)) if (name !== '__metadata__') expect(from % (bytes[dtype] ?? 1)).toBe(0)
      }),
    )
  })

  test('tensors lie by dtype, then by name as UTF-8 sorts', () => {
    const one = (dtype: 'f32' | 'u8'): HostTensor => ({ dtype, shape: [], data: dtype === 'f32' ? new Float32Array(1) : new Uint8Array(1) })
    const file = encodeSafetensors(new Map([['b', one('u8')], ['\u{1f600}', one('f32')], ['\uffff', one('f32')], ['9', one('f32')], ['10', one('f32')], ['1', one('f32')], ['a', one('u8')]]))
    expect([...decodeSafetensors(file).tensors.keys()]).toEqual(['1', '10', '9', '\uffff', '\u{1f600}', 'a', 'b'])
  })

  test('I64 and I8 come as i32, and go back', () => {
    const body = [...new Uint8Array(BigInt64Array.of(-5n, 2n ** 31n - 1n, -(2n ** 31n)).buffer), 0x80, 0x7f]
    const file = fileOf('{"t":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},"u":{"dtype":"I8","shape":[2],"data_offsets":[24,26]}}'.padEnd(112), body)
    const { tensors } = decodeSafetensors(file)
    expect(tensors.get('t')).toEqual({ dtype: 'i32', shape: [3], data: Int32Array.of(-5, 2 ** 31 - 1, -(2 ** 31)), format: 'I64' })
    expect(tensors.get('u')).toEqual({ dtype: 'i32', shape: [2], data: Int32Array.of(-128, 127), format: 'I8' })
    expect(encodeSafetensors(tensors, {}, { digests: false })).toEqual(file)
  })

  test('floats can be stored as other floats', async () => {
    const wide = { dtype: 'f64', shape: [2], data: Float64Array.of(1 / 3, -65520) } as const
    const stored = async (format: 'F64' | 'F32' | 'F16' | 'BF16'): Promise<number[]> => {
      const single = { dtype: 'f32', shape: [2], data: Float32Array.of(1 / 3, -65520) } as const
      const { tensors } = decodeSafetensors(await collect(streamSafetensors({ wide, single }, { format: () => format })))
      expect(tensors.get('single')?.data).toEqual(format === 'F64' ? Float64Array.of(Math.fround(1 / 3), -65520) : tensors.get('wide')?.data)
      return [...(tensors.get('wide')?.data ?? [])]
    }
    expect(await stored('F64')).toEqual([1 / 3, -65520])
    expect(await stored('F32')).toEqual([Math.fround(1 / 3), -65520])
    expect(await stored('F16')).toEqual([1365 / 4096, -Infinity])
    expect(await stored('BF16')).toEqual([171 / 512, -65536])
  })
})

const bytes = (beginning: string, length = 64): Uint8Array<ArrayBuffer> => Uint8Array.from({ length }, (_, i) => beginning.charCodeAt(i) || 0)
const w = (entry: string): string => `{"w":{${entry}}}`

describe('what is not the format is refused', () => {
  test.each([
    ['no bytes', new Uint8Array(), 'it has 0 bytes, fewer than the 8 that a header takes; the file is damaged or not a safetensors file'],
    ['a header cut short', fileOf('{}').subarray(0, 9), 'its header should have 2 bytes but only 1 follow'],
    ['a header beyond any file', Uint8Array.from([255, 255, 255, 255, 255, 255, 255, 255, 0x7b]), 'its header should have 18446744073709552000 bytes but only 1 follow'],
    ['an empty header', fileOf(''), 'its header is not JSON'],
    ['a header that is no JSON', fileOf('{"a":'), 'its header is not JSON'],
    ['a header that is not UTF-8', fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22)), 'its header is not UTF-8'],
    ['a header that is a list', fileOf('[]'), 'its header is not a JSON object'],
    ['a header after a space', fileOf(' {}'), 'its header is not a JSON object'],
    ['a key twice', fileOf(`{"a":${u8(0, 1)},"\\u0061" :${u8(0, 1)}}`, [1]), 'its header has the key a twice'],
    ['a key twice within a tensor', fileOf(w('"dtype":"U8","shape":[1],"data_offsets":[0,1],"shape":[1]'), [1]), 'its header has the key shape twice'],
    ['metadata of numbers', fileOf('{"__metadata__":{"a":1}}'), 'its metadata is not a map from text to text'],
    ['metadata that is half a surrogate pair', fileOf('{"__metadata__":{"a":"\\ud800"}}'), 'its metadata is not a map from text to text'],
    ['a name that is half a surrogate pair', fileOf(`{"\\ud800":${u8(0, 1)}}`, [1]), 'the name of tensor \ud800 is not Unicode'],
    ['a tensor that is a number', fileOf('{"w":3}'), 'tensor w has no description'],
    ['an unknown dtype', fileOf(w('"dtype":"F7","shape":[1],"data_offsets":[0,1]'), [0]), 'tensor w has dtype "F7", which is none of I64, F64, F32, U32, I32, BF16, F16, I8, U8, BOOL'],
    ['a dtype from Object', fileOf(w('"dtype":"constructor","shape":[1],"data_offsets":[0,1]'), [0]), 'tensor w has dtype "constructor"'],
    ['a dtype that is a list', fileOf(w('"dtype":["U8"],"shape":[1],"data_offsets":[0,1]'), [0]), 'tensor w has dtype ["U8"]'],
    ['no shape', fileOf(w('"dtype":"U8","data_offsets":[0,1]'), [0]), 'tensor w has shape undefined, which is not a list of sizes'],
    ['a negative size', fileOf(w('"dtype":"U8","shape":[-1],"data_offsets":[0,1]'), [0]), 'tensor w has shape [-1], which is not a list of sizes'],
    ['a fraction', fileOf(w('"dtype":"U8","shape":[0.5,2],"data_offsets":[0,1]'), [0]), 'tensor w has shape [0.5,2], which is not a list of sizes'],
    ['minus zero', fileOf(w('"dtype":"U8","shape":[-0],"data_offsets":[0,0]')), 'tensor w has shape [0], which is not a list of sizes'],
    ['a size beyond integers', fileOf(w('"dtype":"F32","shape":[9007199254740991,9],"data_offsets":[0,1]'), [0]), 'tensor w has shape [9007199254740991,9], which is not a list of sizes'],
    ['a size beyond numbers', fileOf(w('"dtype":"F32","shape":[1e999],"data_offsets":[0,1]'), [0]), 'tensor w has shape [null], which is not a list of sizes'],
    ['a shape of a thousand lists', fileOf(w(`"dtype":"U8","shape":${'['.repeat(1e5)}${']'.repeat(1e5)},"data_offsets":[0,1]`), [0]), 'tensor w has shape a nested value, which is not a list of sizes'],
    ['half an element', fileOf(w('"dtype":"F4","shape":[3],"data_offsets":[0,1]'), [0]), 'tensor w of shape [3] takes 1.5 bytes but its offsets span 1'],
    ['three offsets', fileOf(w('"dtype":"U8","shape":[1],"data_offsets":[0,1,2]'), [0]), 'tensor w has offsets [0,1,2], which are not two positions'],
    ['offsets that are a fraction', fileOf(w('"dtype":"U8","shape":[1],"data_offsets":[0.5,1.5]'), [0]), 'tensor w has offsets [0.5,1.5], which are not two positions'],
    ['offsets beyond 2⁵³', fileOf(w('"dtype":"U8","shape":[1],"data_offsets":[9007199254740992,9007199254740993]'), [0]), 'tensor w has offsets [9007199254740992,9007199254740992], which are not two positions'],
    ['offsets reversed', fileOf(w('"dtype":"U8","shape":[1],"data_offsets":[1,0]'), [0]), 'tensor w starts at byte 1 but ends at 0'],
    ['offsets that contradict the shape', fileOf(w('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), [0, 0, 0, 0]), 'tensor w of shape [2] takes 8 bytes but its offsets span 4'],
    ['an overlap', fileOf(`{"a":${u8(0, 2)},"b":${u8(1, 3)}}`, [0, 0, 0]), 'tensor b starts at byte 1, which overlaps the tensor before it, ending at 2'],
    ['a gap', fileOf(`{"a":${u8(0, 1)},"b":${u8(2, 3)}}`, [0, 0, 0]), 'tensor b starts at byte 2, which leaves a gap after the tensor before it, ending at 1'],
    ['a gap before the first', fileOf(`{"a":${u8(1, 2)}}`, [0, 0]), 'tensor a starts at byte 1, which leaves a gap after the tensor before it, ending at 0'],
    ['a body cut short', fileOf(`{"a":${u8(0, 3)}}`, [0, 0]), 'tensor a ends at byte 3 but the file holds only 2 bytes of tensors'],
    ['bytes left over', fileOf(`{"a":${u8(0, 1)}}`, [0, 0]), '1 bytes follow the last tensor'],
    ['bytes left over without tensors', fileOf('{}', [0]), '1 bytes follow the last tensor'],
    ['a bool of 2', fileOf(w('"dtype":"BOOL","shape":[1],"data_offsets":[0,1]'), [2]), 'tensor w is BOOL and holds 2, which is neither 0 nor 1; convert it before it is loaded'],
    ['an I64 beyond i32', fileOf(w('"dtype":"I64","shape":[2],"data_offsets":[0,16]'), [1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 127, 255, 255, 255, 255]), 'tensor w is I64 and holds -2147483649, which i32 cannot hold'],
    ['floats of 8 bits', fileOf(w('"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]'), [0]), 'tensor w is F8_E4M3: there are no floats of fewer than 16 bits here; convert it to BF16 or F32'],
    ['unsigned integers of 64 bits', fileOf(w('"dtype":"U64","shape":[0],"data_offsets":[0,0]')), 'tensor w is U64: there is no such integer type here'],
  ])('%s', async (_, file, message) => {
    expect(() => decodeSafetensors(file, 'safetensors')).toThrow(CheckpointError)
    expect(() => decodeSafetensors(file, 'safetensors')).toThrow(`safetensors: ${message}`)
    await expect(readByRanges(file)).rejects.toThrow(CheckpointError)
    await expect(readByRanges(file)).rejects.toThrow(`safetensors: ${message}`)
  })

  test('a header of more than 100 MB, before it is read', async () => {
    const start = fileOf('{'.padEnd(8))
    new DataView(start.buffer).setBigUint64(0, 100_000_001n, true)
    const source = { name: 'large', size: 200_000_000, read: async (from: number, to: number) => start.slice(from, to) }
    await expect(openSafetensors(source)).rejects.toThrow('large: its header has 100000001 bytes, more than the 100000000 that are allowed')
  })

  test.each([
    ['a checkpoint of PyTorch', bytes('PK\x03\x04\0\0\x08\x08'), 'a zip archive, probably a file of torch.save (.pt, .pth, .ckpt, .bin), which runs code when it is read and is not read here; in Python, load its state dict and write it with safetensors.torch.save_file'],
    ['an old checkpoint of PyTorch', bytes('\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9'), 'a pickle, probably a file of torch.save'],
    ['GGUF', bytes('GGUF\x03\0\0\0'), 'a GGUF or GGML file'],
    ['a pointer', bytes('version https://git-lfs.github.com/spec/v1'), 'a Git LFS pointer, not the file itself'],
    ['a page', bytes('<!DOCTYPE html>'), 'a web page, not the file'],
    ['HDF5', bytes('\x89HDF\r\n\x1a\n'), 'an HDF5 file'],
    ['NumPy', bytes('\x93NUMPY\x01\0'), 'a NumPy array'],
    ['an index', bytes('{\n  "metadata": {'), 'JSON; for a sharded checkpoint pass its folder'],
    ['four bytes of a zip', bytes('PK\x03\x04', 4), 'a zip archive'],
  ])('by its name: %s', (_, file, message) => {
    expect(() => decodeSafetensors(file, 'model')).toThrow(CheckpointError)
    expect(() => decodeSafetensors(file, 'model')).toThrow(`model is ${message}`)
  })

  test('but a header whose length looks like another format is read', () => {
    // 0x280 bytes of header begin as a pickle of protocol 2 does.
    const file = fileOf(`{"a":${u8(0, 1)}}`.padEnd(0x280), [7])
    expect([...file.subarray(0, 2)]).toEqual([0x80, 2])
    expect(decodeSafetensors(file).tensors.get('a')?.data).toEqual(Uint8Array.of(7))
  })

  test('one tensor that cannot be read does not keep others from it', async () => {
    const file = fileOf(`{"a":${u8(0, 1)},"f":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[1,3]}}`, [7, 0, 0])
    const { tensors, read } = await openSafetensors(bytesSource(file, 'mixed'))
    expect(tensors.get('f')).toEqual({ dtype: undefined, shape: [2], format: 'F8_E5M2', range: [file.length - 2, file.length] })
    expect((await read('a')).data).toEqual(Uint8Array.of(7))
    await expect(read('f')).rejects.toThrow('mixed: tensor f is F8_E5M2')
    await expect(read('g')).rejects.toThrow('mixed has no tensor g; its tensors property lists those it has')
  })
})

describe('whatever is done to a file', () => {
  /** Both readers read the same, of which every byte is accounted for, or both refuse for the same reason. */
  async function attempt(file: Uint8Array<ArrayBuffer>): Promise<void> {
    const outcome = (problem: unknown): string => {
      expect(problem).toBeInstanceOf(CheckpointError)
      return String(problem)
    }
    const ranges = await readByRanges(file).catch(outcome)
    let whole: Safetensors | string
    try {
      whole = decodeSafetensors(file)
    } catch (error) {
      whole = outcome(error)
    }
    if (typeof whole === 'string' || typeof ranges === 'string') {
      expect(whole).toBe(ranges)
      return
    }
    expect(bitsOf(whole.tensors)).toEqual(bitsOf(ranges.tensors))
    const again = encodeSafetensors(whole.tensors, whole.metadata)
    const body = file.length - Number(new DataView(file.buffer).getBigUint64(0, true))
    expect(again.length - Number(new DataView(again.buffer).getBigUint64(0, true))).toBe(body)
    expect(bitsOf(decodeSafetensors(again).tensors)).toEqual(bitsOf(whole.tensors))
  }

  const files = fc.array(fc.tuple(names, hostTensors), { minLength: 1, maxLength: 4 }).map((list) => encodeSafetensors(new Map(list), { format: 'pt' }))

  test('bits flipped in it', async () => {
    await fc.assert(fc.asyncProperty(files, fc.array(fc.tuple(fc.nat(), fc.nat(7)), { minLength: 1, maxLength: 4 }), async (file, flips) => {
      for (const [at, bit] of flips) file[at % file.length] = (file[at % file.length] ?? 0) ^ (1 << bit)
      await attempt(file)
    }), { numRuns: 1000 })
  })

  test('a piece cut out or put in', async () => {
    await fc.assert(fc.asyncProperty(files, fc.nat(), fc.nat(12), fc.uint8Array({ maxLength: 12 }), async (file, where, cut, put) => {
      const at = where % file.length
      await attempt(Uint8Array.from([...file.subarray(0, at), ...put, ...file.subarray(at + cut)]))
    }), { numRuns: 1000 })
  })

  test('its end cut off', async () => {
    await fc.assert(fc.asyncProperty(files, fc.nat(), async (file, where) => {
      const cut = file.slice(0, where % file.length)
      expect(() => decodeSafetensors(cut)).toThrow(CheckpointError)
      await expect(readByRanges(cut)).rejects.toThrow(CheckpointError)
    }), { numRuns: 300 })
  })

  test('numbers and names in its header replaced', async () => {
    const tokens = ['-1', '0.5', '-0', '1e400', '1e1', '9007199254740993', 'null', '[]', '{}', '"F32"', '"F4"', '"I8"', '"__proto__"', '"__metadata__"', '""']
    await fc.assert(fc.asyncProperty(files, fc.nat(), fc.constantFrom(...tokens), async (file, which, token) => {
      const length = Number(new DataView(file.buffer).getBigUint64(0, true))
      const header = text.decode(file.subarray(8, 8 + length))
      const found = [...header.matchAll(/\d+|"(?:[^"\\]|\\.)*"/g)]
      const { 0: old = '', index = 0 } = found[which % found.length] ?? {}
      await attempt(fileOf(header.slice(0, index) + token + header.slice(index + old.length), [...file.subarray(8 + length)]))
    }), { numRuns: 1000 })
  })

  test('bytes and JSON that never were one', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (some) => attempt(Uint8Array.from(some))))
    await fc.assert(fc.asyncProperty(fc.json(), fc.uint8Array({ maxLength: 20 }), async (header, body) => attempt(fileOf(header, [...body]))))
  })
})

describe('what a file cannot hold is not written', () => {
  const one = (tensor: HostTensor, name = 'w') => (): Uint8Array => encodeSafetensors(new Map([[name, tensor]]))
  const scalar: HostTensor = { dtype: 'f32', shape: [], data: new Float32Array(1) }

  test.each([
    ['data that does not fill its shape', one({ dtype: 'f32', shape: [2], data: new Float32Array(3) }), 'tensor w has shape [2] but 3 values; pass as many as the shape holds'],
    ['data of another type', one({ dtype: 'f32', shape: [3], data: new Int32Array(3) }), 'tensor w is f32 but its data is a Int32Array; pass a Float32Array'],
    ['a bool of 2', one({ dtype: 'bool', shape: [1], data: Uint8Array.of(2) }), 'tensor w is to be stored as BOOL but holds 2, which is neither 0 nor 1'],
    ['an I8 of 128', one({ dtype: 'i32', shape: [1], data: Int32Array.of(128), format: 'I8' }), 'tensor w is to be stored as I8 but holds 128, which I8 cannot hold'],
    ['a float as an integer', one({ ...scalar, format: 'I32' }), 'tensor w is f32, which cannot be stored as I32; cast it first'],
    ['the name of the metadata', one(scalar, '__metadata__'), 'no tensor in a safetensors file can be called __metadata__; rename it'],
    ['half a surrogate pair', one(scalar, '\ud800'), 'no tensor in a safetensors file can be called \ud800; rename it'],
    ['digests of one\'s own', () => encodeSafetensors(new Map(), { 'langevin.crc32': '' }), 'langevin.crc32 is where metadata has the digests of tensors; leave it out, or choose another key'],
    ['half a surrogate pair as metadata', () => encodeSafetensors(new Map(), { a: '\ud800' }), 'metadata of a safetensors file maps text to text; turn other values into text, such as JSON'],
  ])('%s', (_, write, message) => {
    expect(write).toThrow(CheckpointError)
    expect(write).toThrow(message)
  })
})
