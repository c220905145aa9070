/** Saving where something is already: other savings at the same time, what killed ones left, links, and a checkpoint of another layout. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { describe, expect, test } from 'vitest'
import { CheckpointError } from '../../engine/index.ts'
import type { HostTensor } from '../../nn/checkpoint/format.ts'
import { openCheckpoint } from '../../nn/checkpoint/open.ts'
import { saveCheckpoint } from '../../nn/checkpoint/save.ts'
import { Scratch } from '../cli/langevin.ts'
import { host } from './files.ts'

/** Large enough that savings of it overlap. */
const filled = (value: number): Map<string, HostTensor> =>
  new Map(['a', 'b'].map((name) => [name, { dtype: 'f32', shape: [3e5], data: new Float32Array(3e5).fill(value) }]))

/** All the different values in a checkpoint. */
async function valuesIn(where: string): Promise<number[]> {
  const values = new Set<number>()
  for await (const [, { data }] of (await openCheckpoint(where)).entries()) for (const x of data) values.add(x)
  return [...values]
}

const index = 'model.safetensors.index.json'
const shards = (count: number): string[] => Array.from({ length: count }, (_, i) => `model-0000${i + 1}-of-0000${count}.safetensors`)

describe('savings to one path at the same time', () => {
  test('leave one of them', async () => {
    using scratch = new Scratch()
    const at = scratch.path('model.safetensors')
    for (let round = 0; round < 5; round++) {
      await Promise.all([1, 2, 3].map((value) => saveCheckpoint(at, filled(value))))
      expect(await valuesIn(at)).toHaveLength(1)
      expect(readdirSync(scratch.folder)).toEqual(['model.safetensors'])
    }
  })

  test('as shards, and as a file', async () => {
    using scratch = new Scratch()
    for (let round = 0; round < 5; round++) {
      await Promise.all([1.2e6, 1.2e6, Infinity, 1.2e6].map((maxShardBytes, i) => saveCheckpoint(scratch.path('model.safetensors'), filled(i), { maxShardBytes })))
      expect(await valuesIn(scratch.folder)).toHaveLength(1)
      expect([[...shards(2), index], ['model.safetensors']]).toContainEqual(readdirSync(scratch.folder).sort())
    }
  })

  test.each([Infinity, 4e5])('of several processes, files of at most %d bytes', async (maxShardBytes) => {
    using scratch = new Scratch()
    const program = (value: number): string => `
      import { saveCheckpoint } from ${JSON.stringify(new URL('../../nn/checkpoint/save.ts', import.meta.url).href)}
      const data = new Float32Array(1e5).fill(${value})
      const tensors = Object.fromEntries('abcdefgh'.split('').map((name) => [name, { dtype: 'f32', shape: [1e5], data }]))
      for (let i = 0; i < 8; i++) await saveCheckpoint(${JSON.stringify(scratch.path('model.safetensors'))}, tensors, { maxShardBytes: ${maxShardBytes} })`
    const ended = [1, 2].map(async (value) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program(value)], { stdio: ['ignore', 'ignore', 'inherit'] })
      return (await once(child, 'close'))[0] as unknown
    })
    expect(await Promise.all(ended)).toEqual([0, 0])
    expect(await valuesIn(scratch.path('model.safetensors'))).toHaveLength(1)
    expect(readdirSync(scratch.folder).sort()).toEqual(maxShardBytes === Infinity ? ['model.safetensors'] : [...shards(8), index])
  }, 30_000)
})

test('what a killed saving left is removed by the next, what is being written is not', async () => {
  using scratch = new Scratch()
  const { pid: ended } = spawnSync(process.execPath, ['-e', ''])
  const dead = `langevin-${hostname()}-${ended}-0123abcd.tmp`
  const running = `langevin-${hostname()}-${process.pid}-0123abcd.tmp`
  const [elsewhere, abandoned] = ['langevin-else.where-1-0123abcd.tmp', 'langevin-else.where-2-0123abcd.tmp']
  for (const name of [dead, running, elsewhere, abandoned, 'mine.tmp']) writeFileSync(scratch.path(name), '')
  const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 3600
  for (const name of [abandoned, 'mine.tmp']) utimesSync(scratch.path(name), twoDaysAgo, twoDaysAgo)
  const lock = scratch.path(`${index}.lock`)
  writeFileSync(lock, '')
  utimesSync(lock, twoDaysAgo, twoDaysAgo)
  await saveCheckpoint(scratch.folder, { a: host([1]) })
  expect(readdirSync(scratch.folder).sort()).toEqual([elsewhere, running, 'mine.tmp', 'model.safetensors'].sort())
})

test('a symbolic link stays one, and what it leads to is written', async () => {
  using scratch = new Scratch()
  mkdirSync(scratch.path('disk'))
  writeFileSync(scratch.path('disk', 'there'), 'what was there')
  symlinkSync('there', scratch.path('disk', 'on'))
  symlinkSync('disk', scratch.path('folder'))
  const links = { direct: 'disk/there', twice: 'folder/on', 'to nothing': 'folder/new' }
  for (const [link, to] of Object.entries(links)) {
    symlinkSync(to, scratch.path(link))
    await saveCheckpoint(scratch.path(link), { a: host([link.length]) })
    expect(lstatSync(scratch.path(link)).isSymbolicLink()).toBe(true)
    expect(readFileSync(scratch.path(to))).toEqual(readFileSync(scratch.path(link)))
    expect(await valuesIn(scratch.path(link))).toEqual([link.length])
  }
  expect(readdirSync(scratch.path('disk')).sort()).toEqual(['new', 'on', 'there'])
  symlinkSync('round', scratch.path('round'))
  await expect(saveCheckpoint(scratch.path('round'), { a: host([1]) })).rejects.toThrow('round could not be saved: ELOOP')
  expect(lstatSync(scratch.path('round')).isSymbolicLink()).toBe(true)
})

describe('a checkpoint of another layout under the same name', () => {
  const model = (value: number): Record<string, HostTensor> => ({ a: host([value]), b: host([value]), c: host([value]) })
  /** Bytes for so many shards. */
  const sizes = { 1: Infinity, 2: 8, 3: 4 } as const

  test.each<(keyof typeof sizes)[]>([[1, 2, 1], [3, 2, 3, 1], [1, 1, 3, 3], [2, 1, 2]])('leaves nothing of it: %d, %d, %d files …', async (...counts) => {
    using scratch = new Scratch()
    writeFileSync(scratch.path('model-other.txt'), '')
    const at = scratch.path('model.safetensors')
    for (const [i, count] of counts.entries()) {
      await saveCheckpoint(at, model(i), { maxShardBytes: sizes[count] })
      expect(readdirSync(scratch.folder).sort()).toEqual([...(count === 1 ? [] : shards(count)), 'model-other.txt', count === 1 ? 'model.safetensors' : index])
      for (const where of [at, scratch.folder]) expect(await valuesIn(where)).toEqual([i])
    }
  })

  test('goes only once the new one is there', async () => {
    using scratch = new Scratch()
    const at = scratch.path('model.safetensors')
    await saveCheckpoint(at, model(1))
    mkdirSync(scratch.path(index))
    await expect(saveCheckpoint(at, model(2), { maxShardBytes: 8 })).rejects.toThrow(CheckpointError)
    expect(await valuesIn(at)).toEqual([1])
    rmSync(scratch.path(index), { recursive: true })
    await saveCheckpoint(at, model(3), { maxShardBytes: 4 })
    for (const name of shards(2)) rmSync(scratch.path(name))
    mkdirSync(scratch.path(shards(2)[1] ?? ''))
    await expect(saveCheckpoint(at, model(4), { maxShardBytes: 8 })).rejects.toThrow('model.safetensors could not be saved')
    expect(await valuesIn(at)).toEqual([3])
  })

  test('of which the index lists what is no shard of that name: that stays', async () => {
    using scratch = new Scratch()
    for (const name of ['adapter', 'model-00001-of-00002']) await saveCheckpoint(scratch.path(`${name}.safetensors`), model(1))
    writeFileSync(scratch.path(index), JSON.stringify({ weight_map: { a: 'adapter.safetensors', b: 'model-00001-of-00002.safetensors' } }))
    await saveCheckpoint(scratch.path('model.safetensors'), model(2))
    expect(readdirSync(scratch.folder).sort()).toEqual(['adapter.safetensors', 'model.safetensors'])
    writeFileSync(scratch.path(index), 'no index')
    await saveCheckpoint(scratch.path('model.safetensors'), model(3))
    expect(readdirSync(scratch.folder).sort()).toEqual(['adapter.safetensors', 'model.safetensors'])
  })
})

test('a path with a colon is no URL, and one that ends in a slash is a folder', async () => {
  using scratch = new Scratch()
  const before = process.cwd()
  process.chdir(scratch.folder)
  try {
    await saveCheckpoint('run:1.safetensors', { a: host([2]) })
    expect(await valuesIn('run:1.safetensors')).toEqual([2])
  } finally {
    process.chdir(before)
  }
  await expect(saveCheckpoint(`${scratch.path('new')}/`, { a: host([1]) })).rejects.toThrow(/^model\.safetensors could not be saved: ENOENT: .*new.*; create its folder first$/)
  await expect(openCheckpoint(`${scratch.path('new')}/`)).rejects.toThrow(/new\/ cannot be read: ENOENT/)
  expect(readdirSync(scratch.folder)).toEqual(['run:1.safetensors'])
  mkdirSync(scratch.path('new'))
  await saveCheckpoint(`${scratch.path('new')}/`, { a: host([1]) })
  expect(readdirSync(scratch.path('new'))).toEqual(['model.safetensors'])
})
