/**
 * The CPU device's levels of vector instructions: what is chosen and said, the op table on each of them, and the levels
 * against each other: `wide` gives the bits of `relaxed`.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { revectorizerMissing } from '../engine/platform.node.ts'
import { chooseInstructions, compareKernels, fingerprintOf, instructionLevels } from '../engine/device/cpu/instructions.ts'
import type { InstructionLevel } from '../engine/device/cpu/instructions.ts'
import type { Device } from '../engine/device/device.ts'
import { device } from '../engine/device/open.ts'
import type { AnyOp } from '../engine/op.ts'
import type { Call } from './op-calls.ts'
import { bitsOn, checkDevice, checkDeviceGradient } from './op-checks.ts'
import { records } from './op-records.ts'
import { table } from './op-table.ts'

const opened = new Map<InstructionLevel, Device>()
const missing = revectorizerMissing()
for (const instructions of instructionLevels) {
  if (instructions !== 'wide' || missing === undefined) opened.set(instructions, await device('cpu', { instructions, makeDefault: false }))
}
if (missing !== undefined) console.warn(`\nNO 256-bit CODE: its tests are SKIPPED (${missing})\n`)
afterAll(async () => {
  for (const one of opened.values()) await one.close()
})

function at(level: InstructionLevel): Device {
  const found = opened.get(level)
  if (found === undefined) throw new Error(`no device for ${level}`)
  return found
}

const seed = Number(process.env['SEED'] ?? 20260202)
const rows: readonly (readonly [string, { readonly calls: fc.Arbitrary<Call>; readonly smooth?: fc.Arbitrary<Call> | null }])[] = Object.entries(table)
const ops = new Map<string, AnyOp>(Object.entries(records))

describe.each(rows)('%s', (name, { calls, smooth = calls }) => {
  const op = ops.get(name)
  if (op === undefined) throw new Error(`${name} is in the table but is no record`)
  const forAll = async (arbitrary: fc.Arbitrary<Call>, numRuns: number, check: (call: Call) => Promise<unknown>): Promise<void> =>
    fc.assert(fc.asyncProperty(arbitrary, async (call) => void (await check(call))), { seed, numRuns })

  test.each(['simd128', 'relaxed'] as const)('values and gradients at %s are the reference’s', async (level) => {
    await forAll(calls, 5, async (call) => checkDevice(op, call, at(level)))
    if (smooth !== null) await forAll(smooth, 3, async (call) => checkDeviceGradient(op, call, at(level)))
  })

  test.skipIf(missing !== undefined)('256-bit code gives the bits of 128-bit code', async () => {
    await forAll(calls, 8, async (call) => expect(await bitsOn(op, call, at('wide'), false)).toEqual(await bitsOn(op, call, at('relaxed'), false)))
    if (smooth !== null) await forAll(smooth, 4, async (call) => expect(await bitsOn(op, call, at('wide'), true)).toEqual(await bitsOn(op, call, at('relaxed'), true)))
  })
})

test('info says what was chosen and why, and the fingerprint tells levels apart', async () => {
  expect(at('relaxed').info.instructions).toEqual({ level: 'relaxed', why: 'asked for', failed: [] })
  expect(new Set([...opened.values()].map((one) => one.fingerprint)).size).toBe(opened.size)
  await using refused = await device('cpu', { experimental: false, threads: 1, makeDefault: false })
  expect(refused.info).toMatchObject({ kind: 'cpu', threads: 1, instructions: { level: 'relaxed', why: 'experimental flags were refused' } })
  expect(refused.fingerprint).toBe(at('relaxed').fingerprint)
})

describe('who runs the kernels', () => {
  const { versions } = process
  const posing = <T>(as: string, run: () => T): T => {
    Object.defineProperty(process, 'versions', { configurable: true, value: { ...versions, [as]: '1.0.0' } })
    try {
      return run()
    } finally {
      Object.defineProperty(process, 'versions', { configurable: true, value: versions })
    }
  }

  test('is part of the fingerprint, and so is whether it rounds multiply-and-add once', () => {
    expect(fingerprintOf('simd128')).toBe('cpu wasm v8 simd128')
    expect(fingerprintOf('relaxed')).toMatch(/^cpu wasm v8 simd128 relaxed( fused)?$/)
    expect(fingerprintOf('wide')).toBe(`${fingerprintOf('relaxed')} wide`)
    expect(posing('bun', () => fingerprintOf('simd128'))).toBe('cpu wasm javascriptcore simd128')
    expect(posing('deno', () => fingerprintOf('simd128'))).toBe('cpu wasm v8 simd128')
  })

  test.each(['bun', 'deno'])('%s does not pass for Node, whichever V8 it names', (name) => {
    expect(posing(name, revectorizerMissing)).toBe(`256-bit code was tested in Node, and this is ${name}`)
  })

  const bun = process.env['BUN'] ?? 'bun'
  const found = spawnSync(bun, ['--version']).status === 0
  if (!found) console.warn('\nNO BUN: its test is SKIPPED (put bun on the PATH, or its path in BUN)\n')
  test.skipIf(!found)('bun itself names its engine, takes no 256-bit code, and computes', () => {
    const file = path.join(mkdtempSync(path.join(tmpdir(), 'langevin-')), 'main.ts')
    writeFileSync(file, `import { device, mean, ones } from '${path.resolve(import.meta.dirname, '../engine/index.ts')}'
      const opened = await device('cpu')
      console.log(JSON.stringify({ fingerprint: opened.fingerprint, level: opened.info.instructions?.level, mean: await mean(ones([300, 300])).item() }))
      await opened.close()`)
    const { stdout } = spawnSync(bun, [file], { encoding: 'utf8' })
    rmSync(path.dirname(file), { recursive: true })
    expect(JSON.parse(stdout)).toEqual({ fingerprint: expect.stringMatching(/^cpu wasm javascriptcore simd128/) as unknown, level: expect.stringMatching(/^(relaxed|simd128)$/) as unknown, mean: 1 })
  }, 60_000)
})

test.skipIf(missing !== undefined)('256-bit code is chosen where nothing speaks against it', () => {
  expect(chooseInstructions(undefined, true, () => undefined).level).toBe('wide')
  expect(at('wide').info.instructions?.level).toBe('wide')
})

test('what the self-test finds makes the device fall back, or fail if the level was asked for', () => {
  const problem = (): string => 'the self-test found wrong results in 256-bit code'
  expect(chooseInstructions(undefined, true, problem)).toEqual({ level: 'relaxed', why: 'the self-test found wrong results in 256-bit code' })
  expect(() => chooseInstructions('wide', true, problem)).toThrow('device: instructions is "wide", but the self-test found wrong results in 256-bit code; use "relaxed"')
})

test('options that make no sense are refused', async () => {
  await expect(device('cpu', { instructions: 'wide', experimental: false })).rejects.toThrow('device: instructions "wide" needs an experimental flag of V8, and experimental is false; leave one of them out')
  // @ts-expect-error: no such level
  await expect(device('cpu', { instructions: 'avx2' })).rejects.toThrow('device: instructions is "avx2"; use "simd128", "relaxed" or "wide"')
})

describe('the self-test', () => {
  const busy = (until: number): void => {
    const start = performance.now()
    while (performance.now() - start < until) continue
  }
  const kernel = (result: number, time: number) => ({ buffers: [Float32Array.of(result)], run: () => busy(time) })

  test('passes what is right and faster', () => expect(compareKernels([kernel(1, 2)], [kernel(1, 0.5)])).toBeUndefined())
  test('finds one wrong bit', () => expect(compareKernels([kernel(0, 2)], [kernel(-0, 0.5)])).toBe('the self-test found wrong results in 256-bit code'))
  test('finds a wrong result in a later kernel', () => expect(compareKernels([kernel(1, 2), kernel(2, 0)], [kernel(1, 0.5), kernel(3, 0)])).toBe('the self-test found wrong results in 256-bit code'))
  test('finds what is not faster', () => expect(compareKernels([kernel(1, 0.5)], [kernel(1, 1)])).toMatch(/^256-bit code is not faster here \(0\.\d\d times\)$/))
})
