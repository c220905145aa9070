/** Digests: whatever happened to a file since it was written is noticed when it is read, by whichever way, or changed nothing. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import zlib from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CheckpointError, device as openDevice, variable } from '../../engine/index.ts'
import { crc32 } from '../../nn/checkpoint/crc32.browser.ts'
import type { HostTensor } from '../../nn/checkpoint/format.ts'
import { SGD, decodeSafetensors, encodeSafetensors, loadCheckpoint, openCheckpoint, saveCheckpoint } from '../../nn/index.ts'
import { Scratch } from '../cli/langevin.ts'
import { bitsOf, entriesOf, fileOf, host, hostTensors, names } from './files.ts'

/** A copy with one bit of a byte turned; `at` below 0 counts from the end. */
function flipped(file: Uint8Array, at: number, bit = 4): Uint8Array<ArrayBuffer> {
  const bad = Uint8Array.from(file)
  const index = at < 0 ? bad.length + at : at
  bad[index] = (bad[index] ?? 0) ^ (1 << bit)
  return bad
}

const bodyOf = (file: Uint8Array<ArrayBuffer>): number => 8 + Number(new DataView(file.buffer).getBigUint64(0, true))

describe('the CRC-32 of pages', () => {
  test('is that of zlib, for bytes of any length that begin anywhere', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926)
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => (i * i * 37) >> 3)
    for (let from = 0; from < 20; from++) for (let to = from; to < 120; to++) expect(crc32(bytes.subarray(from, to))).toBe(zlib.crc32(bytes.subarray(from, to)))
  })

  test('goes on where it was', () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 70 }), { maxLength: 5 }), (parts) => {
      expect(parts.reduce((crc, part) => crc32(part, crc), 0)).toBe(zlib.crc32(Buffer.concat(parts)))
    }))
  })
})

describe('in a file with digests', () => {
  const some = fc.tuple(fc.array(fc.tuple(names, hostTensors), { minLength: 1, maxLength: 4 }), fc.dictionary(names.filter((name) => name !== 'langevin.crc32'), names, { maxKeys: 2 }))
  const notice = async (good: Uint8Array<ArrayBuffer>, bad: Uint8Array<ArrayBuffer>): Promise<void> => {
    const { tensors } = decodeSafetensors(good)
    const ranges = openCheckpoint(bad).then(entriesOf)
    let read: ReadonlyMap<string, HostTensor>
    try {
      read = decodeSafetensors(bad).tensors
    } catch (error) {
      expect(error).toBeInstanceOf(CheckpointError)
      await expect(ranges).rejects.toThrow(CheckpointError)
      return
    }
    expect(bitsOf(read)).toEqual(bitsOf(tensors)) // the key of the digests themselves was hit
    expect(bitsOf(await ranges)).toEqual(bitsOf(tensors))
  }

  test('tensors whose places were exchanged are noticed', () => {
    const file = encodeSafetensors(new Map([['a', host([1, 1, 1, 1, 1, 1], [2, 3])], ['b', host([2, 2, 2, 2, 2, 2], [2, 3])]]))
    const body = bodyOf(file)
    const header = new TextDecoder().decode(file.subarray(8, body))
    const exchanged = header.replace('"data_offsets":[0,24]', '"data_offsets":[ ]').replace('"data_offsets":[24,48]', '"data_offsets":[0,24]').replace('"data_offsets":[ ]', '"data_offsets":[24,48]')
    expect(exchanged).not.toBe(header)
    expect(exchanged.length).toBe(header.length)
    const bad = Uint8Array.from(file)
    bad.set(new TextEncoder().encode(exchanged), 8)
    expect(() => decodeSafetensors(bad)).toThrow(/its header has the CRC-32/)
  })

  test('a flipped bit is noticed or changes nothing', async () => {
    await fc.assert(fc.asyncProperty(some, fc.nat(), fc.nat(7), async ([list, metadata], at, bit) => {
      const file = encodeSafetensors(new Map(list), metadata)
      await notice(file, flipped(file, at % file.length, bit))
    }), { numRuns: 500 })
  })

  test('so are bytes of tensors overwritten', async () => {
    await fc.assert(fc.asyncProperty(some, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 40 }), async ([list], where, put) => {
      const file = encodeSafetensors(new Map(list))
      fc.pre(bodyOf(file) < file.length)
      const bad = file.slice()
      const at = bodyOf(file) + (where % (file.length - bodyOf(file)))
      bad.set(put.subarray(0, file.length - at), at)
      await notice(file, bad)
    }), { numRuns: 300 })
  })

  test('they are the CRC-32 of each tensor\'s bytes as it lies in the file, for anybody to check', async () => {
    const file = encodeSafetensors(new Map<string, HostTensor>([['a', host([1, 2])], ['half', { dtype: 'f16', shape: [3], data: Float32Array.of(1, 2, 3) }], ['none', host([])]]))
    const { tensors } = await openCheckpoint(file)
    for (const { range, crc32: kept } of tensors.values()) expect(kept).toBe(zlib.crc32(file.subarray(...range)))
  })

  const file = encodeSafetensors(new Map<string, HostTensor>([['w', host([1, 2])], ['count', { dtype: 'i32', shape: [2], data: Int32Array.of(5, -6), format: 'I64' }]]), { step: '12' })

  test('the message names the tensor and both digests', () => {
    const crc = (bytes: Uint8Array): string => zlib.crc32(bytes).toString(16).padStart(8, '0')
    const bad = flipped(file, -1)
    expect(() => decodeSafetensors(bad, 'model')).toThrow(`model: tensor w: its bytes have the CRC-32 ${crc(bad.subarray(-8))} but were written with ${crc(file.subarray(-8))}; the file is damaged: restore it from a copy, or pass { verify: false } to read it as it is`)
    // Not that it should be converted.
    expect(() => decodeSafetensors(flipped(file, bodyOf(file) + 5), 'model')).toThrow('tensor count: its bytes have the CRC-32')
  })

  test('what another program changed in the header is said', () => {
    const changed = new TextDecoder('latin1').decode(file).replace('"step":"12"', '"step":"13"')
    expect(() => decodeSafetensors(Uint8Array.from(changed, (c) => c.charCodeAt(0)), 'model')).toThrow(/^model: its header has the CRC-32 [\da-f]{8} but was written with [\da-f]{8}; unless a program changed it and kept the metadata langevin\.crc32, restore it from a copy, or pass \{ verify: false \} to read it as it is; the file is damaged/)
  })

  test.each(['', 'abc', '00000000', 'g'.repeat(16)])('digests that are none: %j', (text) => {
    expect(() => decodeSafetensors(fileOf(`{"__metadata__":{"langevin.crc32":"${text}"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, [1]))).toThrow('its header has the CRC-32')
  })

  test('verification can be left out, and a file without digests has none', async () => {
    const bad = flipped(file, -1)
    expect(decodeSafetensors(bad, 'model', { verify: false })).toMatchObject({ verified: false, metadata: { step: '12' } })
    expect((await (await openCheckpoint(bad, { verify: false })).read('w')).data).toEqual(Float32Array.of(1, 2 ** 33)) // a bit of the exponent
    const plain = encodeSafetensors(new Map([['w', host([1, 2])]]), {}, { digests: false })
    expect(decodeSafetensors(flipped(plain, -1))).toMatchObject({ verified: false })
    expect(decodeSafetensors(file)).toMatchObject({ verified: true, metadata: { step: '12' } })
  })
})

describe('every way of reading', () => {
  const wide = { dtype: 'bf16', shape: [2 ** 23 + 4], data: new Float32Array(2 ** 23 + 4).fill(3) } as const // is read in two pieces
  const large = encodeSafetensors(new Map<string, HostTensor>([['a', host([1])], ['wide', wide], ['z', { dtype: 'u8', shape: [3], data: Uint8Array.of(1, 2, 3) }]]))

  test.each([['first', bodyOf(large) + 4], ['last', -4]])('in pieces, of which the %s is damaged; other tensors are read', async (_, at) => {
    const { read } = await openCheckpoint(flipped(large, at))
    await expect(read('wide')).rejects.toThrow('bytes: tensor wide: its bytes have the CRC-32')
    expect((await read('a')).data).toEqual(Float32Array.of(1))
    expect((await read('z')).data).toEqual(Uint8Array.of(1, 2, 3))
  })

  test('paths, blobs, lists and shards, into variables and optimisers', async () => {
    using scratch = new Scratch()
    const cpu = await openDevice('cpu', { threads: 1 })
    const saved = { 'momentum_buffer.w': host([1, 2]), other: host([4, 5]) }
    const where = scratch.path('sharded')
    mkdirSync(where)
    await saveCheckpoint(where, saved, { maxShardBytes: 8 })
    const shards = [1, 2].map((n) => `${where}/model-0000${n}-of-00002.safetensors`)
    for (const shard of shards) expect(decodeSafetensors(new Uint8Array(readFileSync(shard))).verified).toBe(true)
    writeFileSync(shards[0] ?? '', flipped(readFileSync(shards[0] ?? ''), -2))
    const w = variable([0, 0], { device: cpu })
    for (const from of [where, shards, new Blob([readFileSync(shards[0] ?? '')]), shards[0] ?? '']) {
      const load = (verify?: false): Promise<unknown> => loadCheckpoint({ w }, from, { prefix: 'momentum_buffer.', ...(verify === false && { verify }) })
      await expect(load()).rejects.toThrow(/tensor momentum_buffer\.w: its bytes have the CRC-32 .*\. Only 0 of 1 tensors were loaded$/)
      await load(false)
    }
    const optimizer = new SGD({ w }, { lr: 1, momentum: 0.9 })
    await expect(optimizer.load(where, { strict: false })).rejects.toThrow('tensor momentum_buffer.w: its bytes have the CRC-32')
    await optimizer.load(where, { strict: false, verify: false })
    await cpu.close()
  })
})
