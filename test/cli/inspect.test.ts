/** `langevin inspect`: what a checkpoint holds, and whether it is still what was written. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { HostTensor } from '../../nn/checkpoint/format.ts'
import { encodeSafetensors } from '../../nn/checkpoint/write.ts'
import { saveCheckpoint } from '../../nn/checkpoint/save.ts'
import { host } from '../nn/files.ts'
import { Scratch, langevin } from './langevin.ts'

const slow = { timeout: 120_000 }
const model = new Map<string, HostTensor>([['w.weight', host([1, 2, 3, 4], [2, 2])], ['half', { dtype: 'f16', shape: [], data: Float32Array.of(1) }], ['\u001b[2J', host([5])]])
const listed = `name         dtype  shape  bytes
"\\u001b[2J"  F32    [1]    4
w.weight     F32    [2,2]  16
half         F16    []     2
3 tensors, 22 bytes
`

test('names, dtypes, shapes, bytes and metadata, whoever wrote it', slow, async () => {
  using scratch = new Scratch()
  for (const digests of [true, false]) {
    writeFileSync(scratch.path('model.safetensors'), encodeSafetensors(model, { format: 'pt', 'two\nlines': '' }, { digests }))
    const metadata = 'metadata\n  format        pt\n  "two\\nlines"  ""\n'
    expect(await langevin(`inspect ${scratch.path('model.safetensors')}`)).toMatchObject({ code: 0, stderr: '', stdout: listed + metadata })
    const last = digests ? '3 tensors verified, 0 have no digest\n' : '0 tensors verified, 3 have no digest\n'
    expect(await langevin(`inspect --verify ${scratch.folder}`)).toMatchObject({ code: 0, stderr: '', stdout: listed + metadata + last })
  }
})

test('shards, of which two tensors are damaged', slow, async () => {
  using scratch = new Scratch()
  await saveCheckpoint(scratch.folder, model, { maxShardBytes: 16 })
  const index = scratch.path('model.safetensors.index.json')
  const whole = await langevin(`inspect ${index} --verify`)
  expect([whole.code, whole.stdout.endsWith('\n3 tensors verified, 0 have no digest\n')]).toEqual([0, true])
  for (const n of [1, 2]) {
    const shard = scratch.path(`model-0000${n}-of-00002.safetensors`)
    const bytes = readFileSync(shard)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 128
    writeFileSync(shard, bytes)
  }
  expect((await langevin(`inspect ${index}`)).code).toBe(0)
  const { code, stdout, stderr } = await langevin(`inspect ${index} --verify`)
  expect(code).toBe(1)
  expect(stdout).toMatch(/tensor w\.weight: its bytes have the CRC-32 .*\n.*tensor half: its bytes have the CRC-32 .*\n1 tensors verified, 0 have no digest\n$/)
  expect(stderr).toBe(`langevin: ${index}: 2 of 3 tensors are damaged: w.weight, half\n`)
})

test('a damaged header, and what is no checkpoint', slow, async () => {
  using scratch = new Scratch()
  const file = scratch.path('model.safetensors')
  writeFileSync(file, Buffer.from(encodeSafetensors(new Map([['a', host([1])]])).map((byte) => (byte === 'a'.charCodeAt(0) ? 'b'.charCodeAt(0) : byte))))
  expect(await langevin(`inspect ${file} --verify`)).toMatchObject({ code: 1 })
  writeFileSync(file, 'hello, world')
  const { code, stdout, stderr } = await langevin(`inspect ${file}`)
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain('its header should have')
})
