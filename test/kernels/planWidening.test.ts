/**
 * V8 joins vectors only where a kernel is written for it; one that stops being joined is half as fast and no test of its
 * values tells. All kernels of training steps, products and attention are joined, but for those named here, with the reason.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { expect, test } from 'vitest'
import { revectorizerMissing } from '../../engine/platform.node.ts'

/** Kernels, by how their keys begin, that have nothing to join. */
const exempt: readonly RegExp[] = [
  /^transpose/, // Copies and computes nothing.
  /^columns\|\|sum\|1\|/, // One vector holds all columns.
]

const missing = revectorizerMissing()
const [major = 0] = process.versions.node.split('.').map(Number)

// The trace is that of Node 24 and later, which also run TypeScript as it is.
test.skipIf(missing !== undefined || major < 24)('kernels of whole plans are widened', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'langevin-'))
  const file = path.join(folder, 'trace')
  const output = openSync(file, 'w')
  // To a file: of what V8 prints into a pipe that is full, some is lost.
  const { stderr } = spawnSync(process.execPath, ['--single-threaded', path.join(import.meta.dirname, 'planKernels.ts')], { encoding: 'utf8', stdio: ['ignore', output, 'pipe'] })
  closeSync(output)
  const trace = readFileSync(file, 'utf8')
  rmSync(folder, { recursive: true })
  const widened = new Set(trace.split('Begin revec function wasm-function#').slice(1).flatMap((text) => {
    const gains = [...text.matchAll(/Save: (\d+), cost: (\d+)/g)].map(([, save, cost]) => Number(save) - Number(cost))
    return gains.some((gain) => gain > 0) ? [Number.parseInt(text)] : []
  }))
  const kernels = stderr.split('\n').map((key, i) => ({ key, widened: widened.has(i) }))
  expect(kernels.length).toBeGreaterThan(50)
  const plain = kernels.filter(({ key, widened }) => !widened && !exempt.some((pattern) => pattern.test(key)))
  expect(plain.map(({ key }) => key)).toEqual([])
  const idle = exempt.filter((pattern) => !kernels.some(({ key, widened }) => !widened && pattern.test(key)))
  expect(idle.map(({ source }) => source), 'exemptions that nothing needs').toEqual([])
}, 60_000)
