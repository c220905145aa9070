/**
 * No single vector uses the lower half of what V8 has made 256 bits wide, in any kernel of two training steps and of the op table. V8
 * gives a pair and its lower half one name; where both have to be moved at once it may copy the half and take it for the pair,
 * whose upper half then is 0. That needs registers to be short, so values rarely tell: V8's own graph does.
 */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import process from 'node:process'
import { expect, test } from 'vitest'
import { revectorizerMissing } from '../../engine/platform.node.ts'

const [major = 0] = process.versions.node.split('.').map(Number)
// The graph is that of Node 24 and later, which also run TypeScript as it is.
const missing = revectorizerMissing() !== undefined || major < 24

function uses(...programs: string[]): unknown[] {
  const { stderr } = spawnSync(process.execPath, ['--single-threaded', path.join(import.meta.dirname, 'pairUses.ts'), ...programs], { encoding: 'utf8', maxBuffer: 2 ** 28 })
  return stderr.trim().split('\n').map((line): unknown => JSON.parse(line))
}

test.skipIf(missing)('single vectors use nothing that comes in pairs', () => {
  const lines = uses()
  const last = lines.pop()
  expect(lines).toEqual([])
  expect(last).toMatchObject({ kernels: expect.toSatisfy((n: number) => n > 250) as unknown })
}, 300_000)

test.skipIf(missing)('a constant that both use is found', () => {
  expect(uses('planted')).toEqual([{ key: 'planted', uses: [expect.stringMatching(/^Simd256Constant 0x(3fc00000){8} -> Simd128Binop \[F32x4Add\], Simd128Binop \[F32x4Add\]$/)] }, { kernels: 1 }])
}, 60_000)
