import fc from 'fast-check'
import { describe, it } from 'vitest'
import { groupNormKernel } from '../../../kernels/wgsl/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../../kernels/wgsl/norm/groupNormGrad.ts'
import { checkConstantGroups, checkGroupNorm, checkGroupNormGrad, type GroupNormCase } from '../groupNorms.ts'
import { anyLayout, halves } from '../launch-rows.ts'
import { inHalves } from './halves.ts'
import { gpu, runWgsl, target } from './run.ts'

/** Fewer structures than sizes: each is a source to compile. */
const cases: fc.Arbitrary<GroupNormCase> = fc.record({
  batch: fc.integer({ min: 1, max: 3 }), groups: fc.constantFrom(1, 3, 9), perGroup: fc.constantFrom(1, 3, 8), spatial: fc.constantFrom(1, 3, 4, 33, 700),
  silu: fc.boolean(), x: anyLayout, y: anyLayout, dy: anyLayout, shift: fc.constantFrom(0, 100, 10_000),
})
const small = { batch: 2, groups: 2, perGroup: 3, spatial: 33, silu: true, x: 'contiguous', y: 'contiguous', dy: 'contiguous', shift: 100 } as const
const swapped = { x: 'swapped', y: 'swapped', dy: 'swapped' } as const
/** Whole groups and parts of groups, in both orders of memory; the last have more partial sums than a workgroup has invocations. */
const examples: [GroupNormCase, number][] = [
  [small, 1], [{ ...small, ...swapped }, 2], [{ ...small, perGroup: 5, spatial: 1100 }, 3], [{ ...small, perGroup: 5, spatial: 1100, ...swapped }, 4],
  [{ ...small, batch: 1, groups: 1, perGroup: 300, spatial: 33, silu: false }, 5], [{ ...small, batch: 1, groups: 1, perGroup: 300, spatial: 33, ...swapped }, 6],
]

describe.skipIf(gpu === undefined)('groupNormKernel', () => {
  it('equals float64 loops', async () => {
    await fc.assert(fc.asyncProperty(cases, fc.nat(1000), (o, seed) => checkGroupNorm(o, seed, (d, buffers) => runWgsl(groupNormKernel(d, target), buffers))), { numRuns: 10, examples })
  }, 300_000)
})

describe.skipIf(gpu === undefined)('values that are all one', () => {
  it('leave nothing', () => checkConstantGroups((d, buffers) => runWgsl(groupNormKernel(d, target), buffers)), 300_000)
})

describe.skipIf(gpu === undefined)('groupNormGradKernel', () => {
  it('equals the gradient in float64', async () => {
    await fc.assert(fc.asyncProperty(cases, fc.nat(1000), (o, seed) => checkGroupNormGrad(o, seed, (d, buffers) => runWgsl(groupNormGradKernel(d, target), buffers))), { numRuns: 10, examples })
  }, 300_000)
})

describe.skipIf(gpu?.target.f16 !== true)('tensors of type f16', () => {
  it('are read and written by groupNormKernel', () => checkGroupNorm(small, 1, (d, buffers) => inHalves(groupNormKernel(d, target, 'f16'), buffers, [0, 3]), halves), 120_000)

  it('are read and written by groupNormGradKernel', () => checkGroupNormGrad(small, 1, (d, buffers) => inHalves(groupNormGradKernel(d, target, 'f16'), buffers, [0, 1, 6]), halves), 120_000)
})
