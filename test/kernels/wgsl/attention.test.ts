import fc from 'fast-check'
import { describe, it } from 'vitest'
import { attentionKernel } from '../../../kernels/wgsl/attention.ts'
import type { AttentionDescriptor } from '../../../kernels/descriptor.ts'
import { type AttentionCase, checkAttention } from '../attentions.ts'
import type { Run } from '../launch-rows.ts'
import { gpu, runWgsl, target } from './run.ts'

type Structure = Omit<AttentionCase, 'queries' | 'keys'>
const even = { batch: [3], causal: false, q: 'contiguous', k: 'contiguous', v: 'contiguous', out: 'contiguous', slopes: 'contiguous', mask: undefined } satisfies Partial<Structure>
/** What makes sources that differ, each of which takes seconds to compile: elements in vectors and not, masks, 8, 16 and 32 columns. */
const narrow: readonly Structure[] = [
  { ...even, dim: 4, valueDim: 8 }, { ...even, batch: [2, 2], dim: 17, valueDim: 13, causal: true, mask: 'contiguous', q: 'padded' },
  { ...even, dim: 40, valueDim: 100, causal: true, q: 'reversed', k: 'swapped', v: 'swapped', out: 'swapped' },
]
const wide: Structure = { ...even, batch: [1], dim: 36, valueDim: 256, causal: true, mask: 'reversed' }
const sizes = fc.record({ queries: fc.constantFrom(1, 31, 32, 33, 70), keys: fc.constantFrom(1, 31, 32, 33, 100) })
const cases = (structures: readonly Structure[]): fc.Arbitrary<AttentionCase> => fc.tuple(fc.constantFrom(...structures), sizes).map(([structure, counts]) => ({ ...structure, ...counts }))
/** Every structure over several blocks of both. */
const examples = (structures: readonly Structure[]): [AttentionCase, number][] => structures.map((structure, i) => [{ ...structure, queries: 45, keys: 70 }, i])

const attend: Run<AttentionDescriptor> = (d, buffers) => runWgsl(attentionKernel(d, target), buffers)

describe.skipIf(gpu === undefined)('attentionKernel', () => {
  it('equals float64 loops', async () => {
    const all = [...narrow, wide]
    await fc.assert(fc.asyncProperty(cases(all), fc.nat(1000), (o, seed) => checkAttention(o, seed, attend)), { numRuns: 16, examples: examples(all) })
  }, 300_000)
})
