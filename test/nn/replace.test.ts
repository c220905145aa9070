/** Saving where something is already: other savings at the same time, what killed ones left, links, and a checkpoint of another layout. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdirSync, readFileSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { describe, expect, test } from 'vitest'
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

  test('of several processes, too', async () => {
    using scratch = new Scratch()
    const at = scratch.path('model.safetensors')
    const program = (value: number): string => `
      import { saveCheckpoint } from ${JSON.stringify(new URL('../../nn/checkpoint/save.ts', import.meta.url).href)}
      const data = new Float32Array(2e6).fill(${value})
      for (let i = 0; i < 10; i++) await saveCheckpoint(${JSON.stringify(at)}, { a: { dtype: 'f32', shape: [2e6], data } })`
    const ended = [1, 2].map(async (value) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program(value)], { stdio: ['ignore', 'ignore', 'inherit'] })
      return (await once(child, 'close'))[0] as unknown
    })
    expect(await Promise.all(ended)).toEqual([0, 0])
    expect(await valuesIn(at)).toHaveLength(1)
    expect(readdirSync(scratch.folder)).toEqual(['model.safetensors'])
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
