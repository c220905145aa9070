/** Saving: the same bytes as all at once, piece by piece, in shards, and never half a file. */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { CheckpointError, StaleReadError, realize, variable } from '../../engine/index.ts'
import type { HostTensor } from '../../nn/checkpoint/format.ts'
import { openCheckpoint } from '../../nn/checkpoint/open.ts'
import { decodeSafetensors } from '../../nn/checkpoint/read.ts'
import { saveCheckpoint } from '../../nn/checkpoint/save.ts'
import { encodeSafetensors, streamSafetensors } from '../../nn/checkpoint/write.ts'
import { Scratch } from '../cli/langevin.ts'
import { closeAll, onEach, openAll } from '../devices.ts'
import { faulty } from '../faults.ts'
import { bitsOf, collect, entriesOf, host } from './files.ts'

const opened = await openAll()
afterAll(() => closeAll(opened))

const model = new Map([['a', host([1, 2, 3, 4], [2, 2])], ['b', host([5])], ['c', host([6, 7])]])

describe('a file', () => {
  test('is what encoding gives, to a path, a URL and a folder', async () => {
    using scratch = new Scratch()
    const bytes = Buffer.from(encodeSafetensors(model, { format: 'pt' }))
    await saveCheckpoint(scratch.path('one.safetensors'), model, { metadata: { format: 'pt' } })
    await saveCheckpoint(pathToFileURL(scratch.path('two.safetensors')), model, { metadata: { format: 'pt' } })
    await saveCheckpoint(scratch.folder, Object.fromEntries(model), { metadata: { format: 'pt' }, maxShardBytes: 28 })
    for (const name of ['one', 'two', 'model']) expect(readFileSync(scratch.path(`${name}.safetensors`))).toEqual(bytes)
    expect(readdirSync(scratch.folder)).toHaveLength(3)
  })

  test('of no tensors', async () => {
    using scratch = new Scratch()
    await saveCheckpoint(scratch.path('none.safetensors'), {})
    expect((await openCheckpoint(scratch.path('none.safetensors'))).tensors.size).toBe(0)
  })

  onEach(opened, 'holds variables as they are at the call, those too that are yet to be computed', async (device) => {
    const w = variable([1, 2], { device })
    const v = variable([0, 0], { device })
    w.assign(w.mul(3))
    v.assign(w.add(1))
    const chunks = streamSafetensors({ w, v, sum: w.add(v) })
    const { tensors } = decodeSafetensors(await collect(chunks))
    expect([...tensors].map(([name, { dtype, data }]) => [name, dtype, ...data])).toEqual([['sum', 'f32', 7, 13], ['v', 'f32', 4, 7], ['w', 'f32', 3, 6]])
  })

  onEach(opened, 'is not mixed of two steps', async (device) => {
    using scratch = new Scratch()
    const at = scratch.path('model.safetensors')
    const [w, v] = [variable([1], { device, name: 'w' }), variable([2], { device, name: 'v' })]
    await realize(w, v)
    writeFileSync(at, 'what was there')
    const saved = saveCheckpoint(at, { w, v })
    w.assign(w.mul(2))
    v.assign(v.mul(2))
    await Promise.all([expect(saved).rejects.toThrow(StaleReadError), realize(w, v)])
    expect(readFileSync(at, 'utf8')).toBe('what was there')
    expect(readdirSync(scratch.folder)).toEqual(['model.safetensors'])
  })

  onEach(opened, 'is made one tensor at a time', async (device) => {
    const [w, v] = [variable([1], { device }), variable([2], { device })]
    await realize(w, v)
    const read = vi.spyOn(device.backend, 'read')
    for (const [digests, expected] of [[false, [0, 1, 2]], [true, [2, 3, 4]]] as const) {
      read.mockClear()
      const reads: number[] = []
      for await (const _ of streamSafetensors({ w, v }, { digests })) reads.push(read.mock.calls.length)
      expect(reads).toEqual(expected)
    }
    read.mockClear()
    using scratch = new Scratch()
    await saveCheckpoint(scratch.path('model.safetensors'), { w, v }) // to a file, once
    expect(read).toHaveBeenCalledTimes(2)
    read.mockRestore()
  })

  onEach(opened, 'of a variable whose computation fails says so, if it is read', async (device) => {
    const { device: broken, faults } = faulty(device)
    for (const consumed of [true, false]) {
      const w = variable([1], { device: broken })
      await realize(w)
      w.assign(w.mul(2))
      faults.failure = new Error('no power')
      const chunks = streamSafetensors({ w })
      if (consumed) await expect(collect(chunks)).rejects.toThrow('no power')
      await broken.idle()
    }
  })

  test('that cannot be written leaves what was there', async () => {
    using scratch = new Scratch()
    const at = scratch.path('model.safetensors')
    writeFileSync(at, 'what was there')
    const bad: HostTensor = { dtype: 'i32', shape: [1], data: Int32Array.of(200), format: 'I8' }
    await expect(saveCheckpoint(at, { good: host([1]), bad })).rejects.toThrow('tensor bad is to be stored as I8 but holds 200, which I8 cannot hold')
    expect(readFileSync(at, 'utf8')).toBe('what was there')
    expect(readdirSync(scratch.folder)).toEqual(['model.safetensors'])
    await expect(saveCheckpoint(scratch.path('no/such/folder/m.safetensors'), model)).rejects.toThrow(CheckpointError)
    await expect(saveCheckpoint(scratch.path('no/such/folder/m.safetensors'), model)).rejects.toThrow('m.safetensors could not be saved: ENOENT')
    await expect(saveCheckpoint('https://example.org/m.safetensors', model)).rejects.toThrow('https://example.org/m.safetensors is a URL, which cannot be written to; pass a path')
    mkdirSync(scratch.path('taken.safetensors'))
    writeFileSync(scratch.path('taken.safetensors', 'x'), '')
    await expect(saveCheckpoint(scratch.path('taken.safetensors', 'x', 'y'), model)).rejects.toThrow('y could not be saved')
  })
})

describe('shards', () => {
  const index = (map: Record<string, string>): string => JSON.stringify({ metadata: { total_size: 28 }, weight_map: map })
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']

  /** A folder with the model in two shards. */
  async function sharded(): Promise<Scratch> {
    const scratch = new Scratch()
    await saveCheckpoint(scratch.path('model.safetensors'), model, { maxShardBytes: 20, metadata: { format: 'pt' } })
    return scratch
  }

  test('are laid out as Hugging Face does, and read back', async () => {
    using scratch = await sharded()
    expect(readdirSync(scratch.folder).sort()).toEqual([...names, 'model.safetensors.index.json'])
    expect(readFileSync(scratch.path('model.safetensors.index.json'), 'utf8')).toBe(`{
  "metadata": {
    "total_size": 28
  },
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "c": "model-00002-of-00002.safetensors"
  }
}
`)
    const files = [...names, 'model.safetensors.index.json'].map((name) => new File([readFileSync(scratch.path(name))], name))
    for (const where of [scratch.folder, scratch.path('model.safetensors.index.json'), pathToFileURL(scratch.path('model.safetensors.index.json')), files, files.slice(0, 2)]) {
      const checkpoint = await openCheckpoint(where)
      expect(bitsOf(await entriesOf(checkpoint))).toEqual(bitsOf(model))
      expect(checkpoint.metadata).toEqual({ format: 'pt' })
      expect((await checkpoint.read('c')).data).toEqual(Float32Array.of(6, 7))
      await expect(checkpoint.read('d')).rejects.toThrow('has no tensor d')
    }
  })

  test('keep the metadata of each; where two differ the first one\'s', async () => {
    const [one, two] = [encodeSafetensors(new Map([['a', host([1])]]), { format: 'pt', x: '1' }), encodeSafetensors(new Map([['b', host([2])]]), { format: 'np', y: '2' })]
    expect((await openCheckpoint([one, two])).metadata).toEqual({ format: 'pt', x: '1', y: '2' })
  })

  test('of one tensor each where every one is too large', async () => {
    using scratch = new Scratch()
    await saveCheckpoint(scratch.path('m.safetensors'), model, { maxShardBytes: 1 })
    expect(readdirSync(scratch.folder)).toHaveLength(4)
    expect(bitsOf(await entriesOf(await openCheckpoint(scratch.folder)))).toEqual(bitsOf(model))
    await expect(saveCheckpoint(scratch.path('m.safetensors'), model, { maxShardBytes: 0 })).rejects.toThrow('shards of at most 0 bytes cannot hold anything; use a positive size')
  })

  test('that are not written leave the old ones and their index', async () => {
    using scratch = await sharded()
    const before = readdirSync(scratch.folder).map((name) => [name, readFileSync(scratch.path(name), 'utf8')])
    const bad: HostTensor = { dtype: 'i32', shape: [5], data: Int32Array.of(200, 0, 0, 0, 0), format: 'I8' }
    await expect(saveCheckpoint(scratch.path('model.safetensors'), { a: host([9, 9, 9, 9, 9]), bad }, { maxShardBytes: 20 })).rejects.toThrow('tensor bad')
    expect(readdirSync(scratch.folder).map((name) => [name, readFileSync(scratch.path(name), 'utf8')])).toEqual(before)
  })

  test('of which some cannot be put in their places leave no index, that old and new ones are not mixed', async () => {
    using scratch = await sharded()
    const [, second = ''] = names
    rmSync(scratch.path(second))
    mkdirSync(scratch.path(second, 'in the way'), { recursive: true })
    await expect(saveCheckpoint(scratch.path('model.safetensors'), { ...Object.fromEntries(model), a: host([9, 9, 9, 9]) }, { maxShardBytes: 20 })).rejects.toThrow('model.safetensors could not be saved')
    expect(readdirSync(scratch.folder).sort()).toEqual(names)
    await expect(openCheckpoint(scratch.folder)).rejects.toThrow('holds no checkpoint')
  })

  test.each<[string, (scratch: Scratch) => void, string]>([
    ['a shard is missing', (s) => rmSync(s.path(names[1] ?? '')), 'model.safetensors.index.json needs the shard model-00002-of-00002.safetensors: model-00002-of-00002.safetensors cannot be read: ENOENT'],
    ['a shard is cut short', (s) => writeFileSync(s.path(names[1] ?? ''), readFileSync(s.path(names[1] ?? '')).subarray(0, -1)), 'tensor c ends at byte 8 but the file holds only 7 bytes of tensors'],
    ['a tensor is missing', (s) => writeFileSync(s.path(names[1] ?? ''), encodeSafetensors(new Map())), 'tensor c should be in'],
    ['a tensor is in two', (s) => writeFileSync(s.path(names[1] ?? ''), encodeSafetensors(new Map([['b', host([1])], ['c', host([6, 7])]]))), 'tensor b is both in'],
    ['a tensor is not listed', (s) => writeFileSync(s.path(names[1] ?? ''), encodeSafetensors(new Map([['c', host([6, 7])], ['d', host([6, 7])]]))), 'but the index does not list it; the files do not belong together'],
    ['the index is another', (s) => writeFileSync(s.path('model.safetensors.index.json'), index({ a: names[0] ?? '', b: names[1] ?? '', c: names[1] ?? '' })), 'but the index says it is in model-00002-of-00002.safetensors; the files do not belong together'],
    ['the index leads elsewhere', (s) => writeFileSync(s.path('model.safetensors.index.json'), index({ a: '../model.safetensors' })), 'its weight_map names "../model.safetensors", which is no file beside it; it is not the index of a sharded checkpoint'],
    ['the index has no map', (s) => writeFileSync(s.path('model.safetensors.index.json'), '{}'), 'it has no weight_map from tensors to files'],
    ['the index is no JSON', (s) => writeFileSync(s.path('model.safetensors.index.json'), '{"weight_map"'), 'its content is not JSON'],
    ['the index lists a tensor twice', (s) => writeFileSync(s.path('model.safetensors.index.json'), '{"weight_map":{"a":"x","a":"y"}}'), 'its content has the key a twice'],
  ])('refused: %s', async (_, damage, message) => {
    using scratch = await sharded()
    damage(scratch)
    await expect(openCheckpoint(scratch.folder)).rejects.toThrow(CheckpointError)
    await expect(openCheckpoint(scratch.folder)).rejects.toThrow(message)
  })

  test('refused: as a list, one that lacks a shard, has a tensor twice or two indices; an index alone', async () => {
    using scratch = await sharded()
    const [one, two, list] = [...names, 'model.safetensors.index.json'].map((name) => new File([readFileSync(scratch.path(name))], name))
    if (one === undefined || two === undefined || list === undefined) throw new RangeError('three files')
    await expect(openCheckpoint([list, one])).rejects.toThrow('model.safetensors.index.json needs the shard model-00002-of-00002.safetensors: model-00002-of-00002.safetensors cannot be read: it is not in the list')
    await expect(openCheckpoint([one, one])).rejects.toThrow('the list of files: tensor a is both in model-00001-of-00002.safetensors and in model-00001-of-00002.safetensors; which of them is meant is not known')
    await expect(openCheckpoint([list, list, one, two])).rejects.toThrow('the list has several indices')
    await expect(openCheckpoint(list)).rejects.toThrow('pass a list of it and its shards')
  })
})
