/** Checkpoints in a page: blobs, URLs, and the origin private file system. */
import { afterAll, beforeEach, expect, test } from 'vitest'
import { CheckpointError, device as openDevice, realize, variable } from '../../engine/index.ts'
import { loadCheckpoint, openCheckpoint, saveCheckpoint, streamSafetensors } from '../../nn/index.ts'
import { collect, entriesOf, host } from '../nn/files.ts'

const device = await openDevice('cpu')
const model = new Map([['a', host([1, 2, 3, 4], [2, 2])], ['b', host([5])], ['c', host([6, 7])]])

const opfs = await navigator.storage.getDirectory()
let folder: FileSystemDirectoryHandle
let count = 0
beforeEach(async () => {
  folder = await opfs.getDirectoryHandle(`checkpoint-${count++}`, { create: true })
})
afterAll(async () => {
  for (let i = 0; i < count; i++) await opfs.removeEntry(`checkpoint-${i}`, { recursive: true })
  await device.close()
})

async function listed(): Promise<string[]> {
  const found: string[] = []
  for await (const name of folder.keys()) found.push(name)
  return found.sort()
}

test('a file in the origin private file system', async () => {
  const handle = await folder.getFileHandle('model.safetensors', { create: true })
  const w = variable([1, 2, 3], { device })
  await saveCheckpoint(handle, { w }, { metadata: { step: '1' } })
  const to = variable([0, 0, 0], { device })
  for (const where of [handle, folder, await handle.getFile()]) {
    to.assign(w.mul(0))
    await realize(to)
    await loadCheckpoint({ w: to }, where)
    expect(await to.array()).toEqual([1, 2, 3])
  }
  expect((await openCheckpoint(handle)).metadata).toEqual({ step: '1' })
})

test('damage to a file is noticed', async () => {
  const handle = await folder.getFileHandle('model.safetensors', { create: true })
  await saveCheckpoint(handle, model)
  const stream = await handle.createWritable({ keepExistingData: true })
  await stream.write({ type: 'write', position: (await handle.getFile()).size - 2, data: Uint8Array.of(1) })
  await stream.close()
  const { read } = await openCheckpoint(handle)
  expect((await read('a')).data).toEqual(Float32Array.of(1, 2, 3, 4))
  await expect(read('c')).rejects.toThrow('model.safetensors: tensor c: its bytes have the CRC-32')
  expect((await (await openCheckpoint(handle, { verify: false })).read('c')).data).toHaveLength(2)
})

test('shards in a folder of it', async () => {
  await saveCheckpoint(folder, model, { maxShardBytes: 20 })
  expect(await listed()).toEqual(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json'])
  expect(await entriesOf(await openCheckpoint(folder))).toEqual(model)
  await saveCheckpoint(folder, { ...Object.fromEntries(model), b: host([8]) }, { maxShardBytes: 20 })
  expect((await (await openCheckpoint(folder)).read('b')).data).toEqual(Float32Array.of(8))
  await folder.removeEntry('model-00002-of-00002.safetensors')
  await expect(openCheckpoint(folder)).rejects.toThrow('model.safetensors.index.json needs the shard model-00002-of-00002.safetensors')
  await expect(openCheckpoint(folder)).rejects.toThrow(CheckpointError)
})

test('a file in the place of shards and shards in the place of a file; several at once', async () => {
  const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json']
  for (const [maxShardBytes, files] of [[20, shards], [Infinity, ['model.safetensors']], [20, shards]] as const) {
    await saveCheckpoint(folder, model, { maxShardBytes })
    expect(await listed()).toEqual(files)
    expect(await entriesOf(await openCheckpoint(folder))).toEqual(model)
  }
  const other = new Map([...model].map(([name, tensor]) => [name, { ...tensor, data: tensor.data.map(() => 9) }]))
  await Promise.all([model, other, model, other].map((tensors) => saveCheckpoint(folder, tensors, { maxShardBytes: 20 })))
  expect([model, other]).toContainEqual(await entriesOf(await openCheckpoint(folder)))
})

test('a file that fails to be written stays what it was', async () => {
  const handle = await folder.getFileHandle('model.safetensors', { create: true })
  await saveCheckpoint(handle, model)
  const bad = { dtype: 'i32', shape: [1], data: Int32Array.of(200), format: 'I8' } as const
  await expect(saveCheckpoint(handle, { ...Object.fromEntries(model), bad })).rejects.toThrow('tensor bad')
  await expect(saveCheckpoint(folder, { ...Object.fromEntries(model), bad }, { maxShardBytes: 20 })).rejects.toThrow('tensor bad')
  expect(await listed()).toEqual(['model.safetensors'])
  expect(await entriesOf(await openCheckpoint(handle))).toEqual(model)
})

test('a download: a blob, and its URL', async () => {
  const blob = new Blob([await collect(streamSafetensors(model))])
  expect(await entriesOf(await openCheckpoint(blob))).toEqual(model)
  const url = URL.createObjectURL(blob)
  expect(await entriesOf(await openCheckpoint(url))).toEqual(model)
  URL.revokeObjectURL(url)
  await expect(openCheckpoint(url)).rejects.toThrow(CheckpointError)
})

test('a string is a URL, relative to the page', async () => {
  await expect(openCheckpoint('/nowhere.safetensors')).rejects.toThrow(`${location.origin}/nowhere.safetensors`)
  await expect(saveCheckpoint('model.safetensors', model)).rejects.toThrow('is a URL, which cannot be written to; pass a path or, in browsers, a file or folder handle')
})
