/** The row kernels under each of V8's compilers: the baseline, the optimising one, and that with 256-bit code. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'

const [major = 0] = process.versions.node.split('.').map(Number)
const run = (...flags: string[]): string => execFileSync(process.execPath, ['--single-threaded', path.join(import.meta.dirname, 'rowKernels.ts'), ...flags], { encoding: 'utf8', maxBuffer: 2 ** 28 })
const wide = ['--no-liftoff', '--experimental-wasm-revectorize']

// Running TypeScript as it is needs Node 24, whose trace this reads; 256-bit code exists on x86 alone.
test.skipIf(major < 24)('the same bits from every compiler', () => {
  const baseline = run('all', '--liftoff-only')
  expect(run('all', '--no-liftoff')).toBe(baseline)
  expect(run('all', ...wide)).toBe(baseline)
}, 60000)

const kernels = ['groupNormLast', 'groupNormFirst', 'groupNormGradLast', 'groupNormGradFirst', 'attention', 'attentionGrad', 'adamw', 'squaredNorm', 'softmax', 'softmaxGrad', 'layerNorm', 'layerNormGrad', 'philox', 'scan']
test.skipIf(major < 24 || process.arch !== 'x64').each(kernels)('%s is widened', (name) => {
  const decisions = [...run(name, ...wide, '--trace-wasm-revectorize').matchAll(/Save: (\d+), cost: (\d+)/g)].map(([, save, cost]) => Number(save) - Number(cost))
  expect(decisions.some((gain) => gain > 0)).toBe(true)
}, 20000)
