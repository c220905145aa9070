/** Opening checkpoints and loading them: only what is asked for is read, and what does not fit is said before anything is loaded. */
import { truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { crc32 } from 'node:zlib'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { CheckpointError, realize, variable, zeros } from '../../engine/index.ts'
import type { Device, Variable } from '../../engine/index.ts'
import { bytesSource } from '../../nn/checkpoint/bytes.ts'
import type { ByteSource } from '../../nn/checkpoint/bytes.ts'
import type { HostTensor } from '../../nn/checkpoint/format.ts'
import type { Checkpoint } from '../../nn/checkpoint/read.ts'
import { loadCheckpoint, loadVariables } from '../../nn/checkpoint/load.ts'
import { openCheckpoint } from '../../nn/checkpoint/open.ts'
import { encodeSafetensors } from '../../nn/checkpoint/write.ts'
import { Scratch } from '../cli/langevin.ts'
import { closeAll, onEach, openAll } from '../devices.ts'
import { bitsOf, entriesOf, fileOf, host } from './files.ts'

const opened = await openAll()
afterAll(() => closeAll(opened))

const model = new Map([['a', host([1, 2, 3, 4], [2, 2])], ['b', host([5])], ['c', host([6, 7])]])
const file = encodeSafetensors(model, { format: 'pt' })

/** Faster than `toEqual` by far. */
function same(x: HostTensor | undefined, y: HostTensor): boolean {
  return x !== undefined && x.data.length === y.data.length && Buffer.compare(new Uint8Array(x.data.buffer), new Uint8Array(y.data.buffer)) === 0
}

/** A source that notes what is read of it. */
function watched(bytes: Uint8Array<ArrayBuffer>): { readonly source: ByteSource; readonly ranges: [number, number][] } {
  const ranges: [number, number][] = []
  const read: ByteSource['read'] = async (from, to) => {
    ranges.push([from, to])
    return bytes.slice(from, to)
  }
  return { source: { name: 'watched', size: bytes.length, read }, ranges }
}

describe('only what is asked for is read', () => {
  const size = 2 ** 23 + 4 // 8 bytes more than are read at once
  const large: HostTensor = { dtype: 'bf16', shape: [size], data: new Float32Array(size).fill(3).fill(4, size - 4) }
  const bytes = encodeSafetensors(new Map<string, HostTensor>([['first', host([1])], ['second', host([2])], ['large', large], ['last', { dtype: 'u8', shape: [2], data: Uint8Array.of(8, 9) }]]))
  const header = bytes.length - 8 - 2 * size - 2

  test('the header, and a tensor', async () => {
    const { source, ranges } = watched(bytes)
    const { tensors, read } = await openCheckpoint(source)
    expect(tensors.get('last')).toEqual({ dtype: 'u8', shape: [2], format: 'U8', range: [bytes.length - 2, bytes.length], crc32: crc32(Uint8Array.of(8, 9)) })
    expect(ranges).toEqual([[0, 16], [8, header]])
    expect((await read('last')).data).toEqual(Uint8Array.of(8, 9))
    expect(ranges.slice(2).filter(([from, to]) => to > from)).toEqual([[bytes.length - 2, bytes.length]])
  })

  test('small neighbours together, a large tensor in pieces', async () => {
    const { source, ranges } = watched(bytes)
    const tensors = await entriesOf(await openCheckpoint(source))
    expect(same(tensors.get('large'), large)).toBe(true)
    expect([...tensors.keys()]).toEqual(['first', 'second', 'large', 'last'])
    const ends = [header, header + 8, header + 8 + 2 ** 24, bytes.length]
    expect(ranges.slice(2).filter(([from, to]) => to > from)).toEqual(ends.slice(1).map((to, i) => [ends[i], to]))
  })

  test('a tensor that needs no decoding as a whole, without a copy', async () => {
    const wide = host(Array.from({ length: 2 ** 22 + 1 }, (_, i) => i))
    const whole = encodeSafetensors(new Map([['a', host([1])], ['wide', wide]]))
    const { source, ranges } = watched(whole)
    const given: ArrayBuffer[] = []
    const checkpoint = await openCheckpoint({ ...source, read: async (from, to) => {
      const part = await source.read(from, to)
      given.push(part.buffer)
      return part
    } })
    expect(same(await checkpoint.read('wide'), wide)).toBe(true)
    expect(ranges[2]).toEqual([whole.length - 4 * wide.data.length, whole.length])
    expect((await checkpoint.read('wide')).data.buffer).toBe(given[4])
  })

  test('what is read is the reader\'s own', async () => {
    const own = file.slice()
    const { read } = await openCheckpoint(own)
    ;(await read('a')).data.fill(9)
    expect(own).toEqual(file)
    expect((await read('a')).data).toEqual(Float32Array.of(1, 2, 3, 4))
  })

  test('in the order of the file, whatever the order asked for', async () => {
    const { source, ranges } = watched(file)
    const { entries } = await openCheckpoint(source)
    const got: string[] = []
    for await (const [name] of entries(['c', 'a'])) got.push(name)
    expect(got).toEqual(['a', 'c'])
    expect(ranges.slice(2).filter(([from, to]) => to > from)).toEqual([[file.length - 28, file.length - 12], [file.length - 8, file.length]])
  })

  test('a source that gives other bytes than asked for, or none', async () => {
    const source = bytesSource(file, 'short')
    const { read } = await openCheckpoint({ ...source, read: async (from, to) => file.slice(from, from > 16 ? to - 1 : to) })
    await expect(read('c')).rejects.toThrow(`bytes ${file.length - 8} to ${file.length} of short could not be read: only 7 came; it was cut short meanwhile`)
    const broken = await openCheckpoint({ ...source, read: async (from, to) => (from > 16 ? Promise.reject(new TypeError('unplugged')) : file.slice(from, to)) })
    await expect(broken.read('c')).rejects.toThrow(CheckpointError)
    await expect(broken.read('c')).rejects.toThrow('of short could not be read: unplugged')
  })
})

describe('where a checkpoint can lie', () => {
  test('in memory, in blobs, in files', async () => {
    using scratch = new Scratch()
    const at = scratch.path('model one.safetensors')
    writeFileSync(at, file)
    const locations = [file, new Blob([file]), new File([file], 'model.safetensors'), at, pathToFileURL(at), pathToFileURL(at).href, scratch.folder, bytesSource(file, 'own'), [file], [at]]
    for (const where of locations) {
      const checkpoint = await openCheckpoint(where)
      expect(bitsOf(await entriesOf(checkpoint))).toEqual(bitsOf(model))
      expect({ ...checkpoint.metadata }).toEqual({ format: 'pt' })
    }
    expect((await openCheckpoint(at)).source).toBe(at)
    expect((await openCheckpoint(new File([file], 'chosen.safetensors'))).source).toBe('chosen.safetensors')
  })

  test('a file that is not there, a folder without one or with several', async () => {
    using scratch = new Scratch()
    await expect(openCheckpoint(scratch.path('none.safetensors'))).rejects.toThrow(CheckpointError)
    await expect(openCheckpoint(scratch.path('none.safetensors'))).rejects.toThrow(/^none\.safetensors cannot be read: ENOENT: no such file or directory, open '.*none\.safetensors'$/)
    await expect(openCheckpoint(scratch.folder)).rejects.toThrow('holds no checkpoint: there is neither a .safetensors file nor the .safetensors.index.json of a sharded one in it')
    for (const name of ['b', 'a', 'c-00001-of-00002']) writeFileSync(scratch.path(`${name}.safetensors`), file)
    await expect(openCheckpoint(scratch.folder)).rejects.toThrow('holds several checkpoints: a.safetensors, b.safetensors; pass the path of one of them')
  })

  test('a file that is changed between opening and reading', async () => {
    using scratch = new Scratch()
    const at = scratch.path('model.safetensors')
    writeFileSync(at, file)
    const { read } = await openCheckpoint(at)
    expect((await read('b')).data).toEqual(Float32Array.of(5))
    utimesSync(at, 1, 1)
    await expect(read('b')).rejects.toThrow(`${at} was changed while it was read; open it again`)
    truncateSync(at, file.length - 1)
    await expect(openCheckpoint(at)).rejects.toThrow('tensor c ends at byte 28 but the file holds only 27 bytes of tensors')
  })
})

describe('loading', () => {
  const blank = (device: Device, shapes: Readonly<Record<string, readonly number[]>>): Record<string, Variable> =>
    Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, variable(zeros(shape, { device }))]))

  onEach(opened, 'gives every variable its values', async (device) => {
    const to = { a: variable([[0, 0], [0, 0]], { device }), b: variable([0], { device }), c: variable([0, 0], { device }) }
    expect(await loadCheckpoint(to, file)).toEqual({ missing: [], unexpected: [] })
    expect(device.moved.size).toBe(0)
    expect([await to.a.array(), await to.b.array(), await to.c.array()]).toEqual([[[1, 2], [3, 4]], [5], [6, 7]])
  })

  onEach(opened, 'writes each tensor before the next is read, and runs nothing for it', async (device) => {
    const names = ['a', 'b', 'c']
    const to = Object.fromEntries(names.map((name) => [name, variable(zeros([1000], { device, dtype: 'u8' }))]))
    await realize(...Object.values(to))
    const write = vi.spyOn(device.backend, 'write')
    const written: number[] = []
    const value = (i: number): HostTensor => ({ dtype: 'u8', shape: [1000], data: new Uint8Array(1000).fill(i) })
    const [submits, plans] = [device.counters.submits, device.plans.compiled]
    const given: Checkpoint = {
      source: 'given', metadata: {}, tensors: new Map(names.map((name) => [name, { dtype: 'u8', shape: [1000], format: 'U8', range: [0, 1000] }])),
      read: async (name) => value(names.indexOf(name) + 1),
      async *entries(): AsyncGenerator<[string, HostTensor], void> {
        for (const name of names) {
          written.push(write.mock.calls.length)
          yield [name, await given.read(name)]
        }
      },
    }
    await loadCheckpoint(to, given)
    write.mockRestore()
    expect(written).toEqual([0, 1, 2])
    expect([device.counters.submits, device.plans.compiled]).toEqual([submits, plans])
    for (const [i, cell] of Object.values(to).entries()) expect(await cell.data()).toEqual(new Uint8Array(1000).fill(i + 1))
  })

  onEach(opened, 'converts floats to the width of the variable', async (device) => {
    const values = [1 / 3, -2.5, 65519]
    const bytes = encodeSafetensors(new Map<string, HostTensor>([
      ['double', { dtype: 'f64', shape: [3], data: Float64Array.from(values) }],
      ['half', { dtype: 'f16', shape: [3], data: Float32Array.from(values) }],
      ['brain', { dtype: 'bf16', shape: [3], data: Float32Array.from(values) }],
      ['single', host(values)],
    ]))
    const to = { double: variable([0, 0, 0], { device }), half: variable([0, 0, 0], { device }), brain: variable([0, 0, 0], { device }), single: variable([0, 0, 0], { device, dtype: 'bf16' }) }
    await loadCheckpoint(to, bytes)
    const brain = [171 / 512, -2.5, 65536]
    expect(await Promise.all([to.double, to.half, to.brain, to.single].map((cell) => cell.array()))).toEqual([[Math.fround(1 / 3), -2.5, 65519], [1365 / 4096, -2.5, 65504], brain, brain])
  })

  onEach(opened, 'gives integers what they were, I64 and I8 as i32', async (device) => {
    const bytes = encodeSafetensors(new Map<string, HostTensor>([
      ['wide', { dtype: 'i32', shape: [2], data: Int32Array.of(-(2 ** 31), 7), format: 'I64' }],
      ['narrow', { dtype: 'i32', shape: [2], data: Int32Array.of(-128, 127), format: 'I8' }],
      ['mask', { dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) }],
    ]))
    const to = { wide: variable([0, 0], { device, dtype: 'i32' }), narrow: variable([0, 0], { device, dtype: 'i32' }), mask: variable([false, false], { device }) }
    await loadCheckpoint(to, bytes)
    expect([await to.wide.array(), await to.narrow.array(), await to.mask.array()]).toEqual([[-(2 ** 31), 7], [-128, 127], [true, false]])
  })

  onEach(opened, 'says everything that does not fit, and loads nothing', async (device) => {
    const bytes = encodeSafetensors(new Map<string, HostTensor>([...model, ['step', { dtype: 'i32', shape: [], data: new Int32Array(1) }]]))
    const to = blank(device, { a: [2, 2], b: [2], d: [1], step: [] })
    const { source, ranges } = watched(bytes)
    await expect(loadCheckpoint(to, source)).rejects.toThrow(
      'watched does not fit the model. missing: d. unexpected: c. of another shape or type: b is f32 [1] but the model has f32 [2]; step is i32 [] but the model has f32 []. Load it into the model it was saved from',
    )
    await expect(loadCheckpoint(to, source, { strict: false, source: 'mine' })).rejects.toThrow(/^mine does not fit the model\. of another shape or type: b is f32 \[1\].* Load it into the model it was saved from$/)
    expect(ranges).toHaveLength(4)
    expect(await to['a']?.array()).toEqual([[0, 0], [0, 0]])
  })

  onEach(opened, 'not strictly: what is on both sides, and says what is not', async (device) => {
    const to = blank(device, { b: [1], d: [1] })
    expect(await loadCheckpoint(to, file, { strict: false })).toEqual({ missing: ['d'], unexpected: ['a', 'c'] })
    expect([await to['b']?.array(), await to['d']?.array()]).toEqual([[5], [0]])
  })

  onEach(opened, 'strictly: names on one side only say how to load the rest', async (device) => {
    for (const [shapes, problem] of [[{ a: [2, 2], b: [1] }, 'unexpected: c'], [{ a: [2, 2], b: [1], c: [2], d: [1] }, 'missing: d']] as const) {
      await expect(loadCheckpoint(blank(device, shapes), file)).rejects.toThrow(`${problem}. Load it into the model it was saved from, or pass { strict: false } to load what fits`)
    }
  })

  onEach(opened, 'a tied variable from either of its names, or from both where they agree', async (device) => {
    const [one, two] = [host([1, NaN]), host([1, 3])]
    const files: [Record<string, HostTensor>, number[]][] = [[{ head: one }, [1, NaN]], [{ 'embedding.weight': two }, [1, 3]], [{ head: one, 'embedding.weight': one }, [1, NaN]]]
    for (const [tensors, expected] of files) {
      const weight = variable([0, 0], { device })
      const to = { 'embedding.weight': weight, head: weight }
      expect(await loadCheckpoint(to, encodeSafetensors(new Map(Object.entries(tensors))))).toEqual({ missing: [], unexpected: [] })
      expect(await weight.array()).toEqual(expected)
      weight.assign(weight.mul(0))
      expect(loadVariables(to, new Map(Object.entries(tensors)), { strict: false })).toEqual({ missing: [], unexpected: [] })
      expect(await weight.array()).toEqual(expected)
    }
  })

  onEach(opened, 'a tied variable of which there are two different values, or none, is refused', async (device) => {
    const weight = variable([0, 0], { device })
    const to = { first: variable([0], { device }), head: weight, tail: weight }
    const differ = (head: HostTensor, tail: HostTensor): Map<string, HostTensor> => new Map([['model.first', host([1])], ['model.head', head], ['model.tail', tail]])
    const message = 'bytes has different values for model.head and model.tail, which are one variable in the model; which are meant is not known. Load it into a model where they are two'
    for (const values of [differ(host([1, 2]), host([1, 3])), differ(host([1, 2]), { dtype: 'f16', shape: [2], data: Float32Array.of(1, 2) })]) {
      await expect(loadCheckpoint(to, encodeSafetensors(values), { prefix: 'model.' })).rejects.toThrow(message)
      expect(() => loadVariables(to, values, { prefix: 'model.', source: 'bytes' })).toThrow(message)
    }
    expect(() => loadVariables(to, differ(host([1, 2]), host([1, 3])), { prefix: 'model.' })).toThrow(CheckpointError)
    expect([await to.first.array(), await weight.array()]).toEqual([[0], [0, 0]])
    expect(() => loadVariables(to, differ(host([1, 2]), host([1])), { prefix: 'model.' })).toThrow('of another shape or type: model.tail is f32 [1] but the model has f32 [2]')
    expect(() => loadVariables(to, new Map([['first', host([1])]]))).toThrow('missing: head, tail. Load')
  })

  onEach(opened, 'of a prefix', async (device) => {
    const bytes = encodeSafetensors(new Map([['ema.b', host([1])], ['model.b', host([2])]]))
    const to = blank(device, { b: [1] })
    expect(await loadCheckpoint(to, bytes, { prefix: 'model.' })).toEqual({ missing: [], unexpected: [] })
    expect(await to['b']?.array()).toEqual([2])
  })

  onEach(opened, 'a dtype that there is none of here, by name and reason', async (device) => {
    const bytes = fileOf('{"b":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', [0])
    await expect(loadCheckpoint(blank(device, { b: [1] }), bytes)).rejects.toThrow('b is F8_E4M3 [1] but the model has f32 [1] (there are no floats of fewer than 16 bits here; convert it to BF16 or F32)')
  })

  onEach(opened, 'a value that cannot be read says how far loading came', async (device) => {
    const bytes = fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"I64","shape":[1],"data_offsets":[4,12]}}', [0, 0, 128, 63, 0, 0, 0, 0, 1, 0, 0, 0])
    const to = { a: variable([0], { device }), b: variable([0], { device, dtype: 'i32' }) }
    await expect(loadCheckpoint(to, bytes)).rejects.toThrow('bytes: tensor b is I64 and holds 4294967296, which i32 cannot hold; convert it before it is loaded. Only 1 of 2 tensors were loaded')
    expect([...(await to.a.data()), ...(await to.b.data())]).toEqual([1, 0])
  })
})
