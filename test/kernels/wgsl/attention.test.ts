import fc from 'fast-check'
import { describe, it } from 'vitest'
import { attentionKernel } from '../../../kernels/wgsl/attention/attention.ts'
import { attentionGradKernel } from '../../../kernels/wgsl/attention/attentionGrad.ts'
import type { AttentionDescriptor, AttentionGradDescriptor } from '../../../kernels/ir/descriptor.ts'
import { type AttentionCase, checkAttention, checkAttentionGrad, checkMaskedRows, checkPoisonedHead } from '../attentions.ts'
import { halves, type Run } from '../launch-rows.ts'
import { inHalves } from './halves.ts'
import { gpu, runWgsl, target } from './run.ts'

type Structure = Omit<AttentionCase, 'queries' | 'keys'>
const even = { batch: [3], causal: false, q: 'contiguous', k: 'contiguous', v: 'contiguous', out: 'contiguous', slopes: 'contiguous', mask: undefined } satisfies Partial<Structure>
/** What makes sources that differ, each of which takes seconds to compile: elements in vectors and not, masks, 8, 16 and 32 columns. */
const narrow: readonly Structure[] = [{ ...even, dim: 4, valueDim: 8 }, { ...even, batch: [2, 2], dim: 5, valueDim: 3, causal: true, mask: 'contiguous', q: 'padded', v: 'swapped' }]
const wide: readonly Structure[] = [{ ...even, dim: 8, valueDim: 100, causal: true, q: 'reversed', k: 'swapped', v: 'swapped', out: 'swapped' }, { ...even, batch: [1], dim: 36, valueDim: 132, mask: 'reversed' }]
const sizes = fc.record({ queries: fc.constantFrom(1, 31, 32, 33, 70), keys: fc.constantFrom(1, 31, 32, 33, 100) })
const cases = (structures: readonly Structure[]): fc.Arbitrary<AttentionCase> => fc.tuple(fc.constantFrom(...structures), sizes).map(([structure, counts]) => ({ ...structure, ...counts }))
const widest: Structure = { ...even, batch: [2], dim: 256, valueDim: 256 }
/** Every structure over several blocks of both. */
const examples = (structures: readonly Structure[]): [AttentionCase, number][] => structures.map((structure, i) => [{ ...structure, queries: 45, keys: 70 }, i])

const attend: Run<AttentionDescriptor> = (d, buffers) => runWgsl(attentionKernel(d, target), buffers)
const differentiate: Run<AttentionGradDescriptor> = (d, buffers) => runWgsl(attentionGradKernel(d, target), buffers)

describe.skipIf(gpu === undefined)('attentionKernel', () => {
  it('equals float64 loops', async () => {
    const all = [...narrow, ...wide, widest]
    await fc.assert(fc.asyncProperty(cases(all), fc.nat(1000), (o, seed) => checkAttention(o, seed, attend)), { numRuns: 12, examples: examples(all) })
  }, 300_000)
})

describe.skipIf(gpu === undefined)('attentionGradKernel', () => {
  it('equals the gradient in float64', async () => {
    await fc.assert(fc.asyncProperty(cases(narrow), fc.nat(1000), (o, seed) => checkAttentionGrad(o, seed, differentiate)), { numRuns: 12, examples: examples([...narrow, ...wide, widest]) })
  }, 300_000)
})

describe.skipIf(gpu === undefined)('rows', () => {
  it('that are masked everywhere are 0, have a log-sum-exp of +∞ and a gradient of 0', () => checkMaskedRows(attend, differentiate), 300_000)

  it('with NaN leave other heads alone', () => checkPoisonedHead(attend, differentiate), 300_000)
})

describe.skipIf(gpu === undefined)('no elements', () => {
  it.each([[0, 8, 3, 5], [4, 0, 3, 5], [4, 8, 0, 5], [4, 8, 3, 0]])('queries and keys of %i, values of %i, %i of one and %i of the others', async (dim, valueDim, queries, keys) => {
    const o: AttentionCase = { ...even, dim, valueDim, queries, keys }
    await checkAttention(o, 1, attend)
    await checkAttentionGrad(o, 1, differentiate)
  }, 300_000)
})

describe.skipIf(gpu?.target.f16 !== true)('tensors of type f16', () => {
  const o: AttentionCase = { ...even, dim: 8, valueDim: 8, queries: 33, keys: 40, mask: 'contiguous' }

  it('are read and written by attentionKernel', () => checkAttention(o, 1, (d, buffers) => inHalves(attentionKernel(d, target, 'f16'), buffers, [0, 1, 2, 3, 5]), halves), 300_000)

  it('are read and written by attentionGradKernel', () => checkAttentionGrad(o, 1, (d, buffers) => inHalves(attentionGradKernel(d, target, 'f16'), buffers, [0, 1, 2, 3, 5, 7, 8, 9, 10]), halves), 300_000)
})
