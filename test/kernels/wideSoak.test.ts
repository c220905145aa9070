/**
 * Thousands of kernels whose registers run short, in 256-bit code beside 128-bit code: the same bits. `MINUTES=…` for so long,
 * `SEED=…` from another first one.
 */
import process from 'node:process'
import { afterEach, expect, test, vi } from 'vitest'
import { revectorizerMissing } from '../../engine/platform.node.ts'
import { VectorScope } from '../../kernels/wasm/core/scope.ts'
import { wideCase } from './wideCases.ts'
import { disagreement } from './wideSoak.ts'

const missing = revectorizerMissing() !== undefined
const minutes = Number(process.env['MINUTES'] ?? 0)
const first = Number(process.env['SEED'] ?? 1)
afterEach(() => void vi.restoreAllMocks())

test.skipIf(missing)('256-bit code gives the bits of 128-bit code', { timeout: 60_000 * (minutes + 3) }, () => {
  const [start, kinds] = [performance.now(), new Map<string, number>()]
  for (let seed = first; seed < first + 400 || performance.now() - start < 60_000 * minutes; seed++) {
    const { kind, wrong } = disagreement(seed)
    expect(wrong).toBeUndefined()
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  if (minutes > 0) console.log(`${[...kinds.values()].reduce((a, b) => a + b)} kernels from seed ${first}: ${[...kinds].map(([kind, n]) => `${n} ${kind}`).join(', ')}`)
  expect(kinds.size).toBe(15)
})

test.skipIf(missing)('a planted fault is found', { timeout: 180_000 }, () => {
  vi.spyOn(VectorScope.prototype, 'within').mockImplementation((_, write) => write())
  // It shows in one reduction of hundreds.
  const rows = Array.from({ length: 6000 }, (_, i) => i + 1).filter((seed) => wideCase(seed).kind === 'rows')
  expect(rows.find((seed) => disagreement(seed).wrong !== undefined)).toBeDefined()
})
