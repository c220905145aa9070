/** Files of the Python package safetensors are read here and written the same; where it is installed, it reads those of here. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formats } from '../../nn/checkpoint/format.ts'
import type { FileDType, HostTensor } from '../../nn/checkpoint/format.ts'
import { openCheckpoint } from '../../nn/checkpoint/open.ts'
import { decodeSafetensors } from '../../nn/checkpoint/read.ts'
import { encodeSafetensors } from '../../nn/checkpoint/write.ts'
import { Scratch } from '../cli/langevin.ts'
import expected from '../oracles/safetensors/expected.json' with { type: 'json' }
import { hostTensors, names } from './files.ts'

const folder = path.join(import.meta.dirname, '../oracles/safetensors')
const fixture = (name: string): Uint8Array<ArrayBuffer> => new Uint8Array(readFileSync(path.join(folder, name)))

describe('files that Python wrote', () => {
  const { tensors, metadata } = decodeSafetensors(fixture('all.safetensors'))

  test('have the values that Python gave them', () => {
    for (const [name, values] of Object.entries(expected.values)) expect([name, ...(tensors.get(name)?.data ?? [])]).toEqual([name, ...values])
    expect(Object.keys(expected.values).sort()).toEqual((Object.keys(formats) as FileDType[]).map((format) => `values.${format}`).sort())
    expect(tensors.get('empty.F32')).toEqual({ dtype: 'f32', shape: [3, 0, 2], data: new Float32Array() })
    expect(tensors.get('scalar.I64')).toEqual({ dtype: 'i32', shape: [], data: Int32Array.of(3), format: 'I64' })
    const hard = ['', '0', '10', '9', '__proto__', 'constructor', 'a.b.weight', '"quoted"\\\n\x01\x7f', 'é', '\u2028', '\uffff', '\u{1f600}']
    expect(hard.map((name) => tensors.get(name)?.data[0])).toEqual(hard.map((_, i) => i))
    expect(metadata).toEqual({ format: 'pt é' })
  })

  test('are written here byte for byte as there, but for digests', () => {
    expect(encodeSafetensors(new Map([...tensors].toReversed()), metadata, { digests: false })).toEqual(fixture('all.safetensors'))
  })

  test('with dtypes that there are none of here are opened; those tensors are refused', async () => {
    const { tensors: infos, read } = await openCheckpoint(path.join(folder, 'foreign.safetensors'))
    expect((await read('known')).data).toEqual(Float32Array.of(1))
    const foreign = [...infos.keys()].filter((name) => name !== 'known')
    expect(foreign.sort()).toEqual(['C64', 'F4', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'I16', 'U16', 'U64'])
    for (const name of foreign) await expect(read(name)).rejects.toThrow(`tensor ${name} is ${name}: there`)
  })
})

const python = process.env['PYTHON'] ?? 'python3'
const installed = spawnSync(python, ['-c', 'from safetensors import TensorSpec'], { stdio: 'ignore' }).status === 0
if (!installed) console.warn(`\nNO safetensors (0.8 or newer) FOR ${python}: comparisons with the Python package are SKIPPED. pip install safetensors, or set PYTHON to one that has it.\n`)

describe.skipIf(!installed)('the installed Python package', () => {
  const run = (...args: readonly string[]): string => execFileSync(python, [path.join(folder, 'interchange.py'), ...args], { encoding: 'utf8' })

  test('still writes the files that are kept here', () => {
    using scratch = new Scratch()
    run('write', scratch.folder)
    for (const name of ['all.safetensors', 'foreign.safetensors']) expect(new Uint8Array(readFileSync(scratch.path(name)))).toEqual(fixture(name))
  })

  test('reads what is written here, with digests or without, and without them writes the same', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(names, hostTensors), { maxLength: 12 }), fc.option(fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed()), { nil: undefined }), fc.boolean(), (list, note, digests) => {
        using scratch = new Scratch()
        const tensors = new Map<string, HostTensor>(list)
        const metadata: Record<string, string> = note === undefined ? {} : { note }
        const file = encodeSafetensors(tensors, metadata, { digests })
        writeFileSync(scratch.path('file.safetensors'), file)
        const read = JSON.parse(run('read', scratch.path('file.safetensors'))) as { metadata: Record<string, string> | null; same: boolean; tensors: { name: string; dtype: string; shape: number[]; hex: string }[] }
        const { 'langevin.crc32': kept = '', ...own } = read.metadata ?? {}
        expect([own, kept.length]).toEqual([metadata, digests ? 8 * (tensors.size + 1) : 0])
        if (!digests) expect(read.same).toBe(true)
        const described = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + Number(new DataView(file.buffer).getBigUint64(0, true))))) as Record<string, { data_offsets: [number, number] }>
        const start = 8 + Number(new DataView(file.buffer).getBigUint64(0, true))
        expect(read.tensors.map(({ name }) => name).sort()).toEqual([...tensors.keys()].sort())
        for (const { name, dtype, shape, hex } of read.tensors) {
          const tensor = tensors.get(name)
          const [from, to] = described[name]?.data_offsets ?? [0, 0]
          expect([dtype, shape]).toEqual([tensor?.format ?? tensor?.dtype.toUpperCase(), tensor?.shape])
          expect(hex).toBe(Buffer.from(file.subarray(start + from, start + to)).toString('hex'))
        }
      }),
      { numRuns: 20 },
    )
  }, 120_000)
})
