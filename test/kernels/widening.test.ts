/** V8 joins the two vectors of a bundle into 256-bit operations; a kernel that stops being joined is half as fast. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'

const [major = 0] = process.versions.node.split('.').map(Number)

// The trace, and running TypeScript as it is, are those of Node 24; the operations exist on x86 alone.
test.skipIf(major < 24 || process.arch !== 'x64').each(['add', 'silu', 'gelu', 'logs', 'waves'])('%s is widened', (name) => {
  const trace = execFileSync(process.execPath, ['--single-threaded', path.join(import.meta.dirname, 'compileMap.ts'), name], { encoding: 'utf8' })
  const decisions = [...trace.matchAll(/Save: (\d+), cost: (\d+)/g)].map(([, save, cost]) => Number(save) - Number(cost))
  expect(decisions.some((gain) => gain > 0)).toBe(true)
})
