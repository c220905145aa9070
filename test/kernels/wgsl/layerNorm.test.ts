import fc from 'fast-check'
import { describe, it } from 'vitest'
import { layerNormGradKernel, layerNormKernel } from '../../../kernels/wgsl/norm/layerNorm.ts'
import { anyLayout, halves } from '../launch-rows.ts'
import { checkConstantRows, checkLayerNorm, checkLayerNormGrad, type LayerNormCase } from '../rowNorms.ts'
import { inHalves } from './halves.ts'
import { gpu, runWgsl, target } from './run.ts'

/** Fewer structures than sizes: each is a source to compile. */
const cases: fc.Arbitrary<LayerNormCase> = fc.record({ rows: fc.constantFrom(1, 3, 600), length: fc.constantFrom(1, 31, 33, 50), centred: fc.boolean(), shift: fc.constantFrom(0, 100, 10_000), a: anyLayout, b: anyLayout, c: anyLayout })
const even = { rows: 3, length: 33, shift: 0, centred: true, a: 'contiguous', b: 'contiguous', c: 'contiguous' } as const
/** Rows in many registers, and rows that are walked along, in both orders of memory. */
const examples: [LayerNormCase, number][] = [[{ ...even, length: 4096, shift: 100 }, 1], [{ ...even, length: 9000, centred: false }, 2], [{ ...even, length: 1000, rows: 33, a: 'reversed', b: 'reversed', c: 'swapped' }, 3]]

describe.skipIf(gpu === undefined)('layerNormKernel', () => {
  it('equals float64 loops', async () => {
    await fc.assert(fc.asyncProperty(cases, fc.nat(1000), (o, seed) => checkLayerNorm(o, seed, (d, buffers) => runWgsl(layerNormKernel(d, target), buffers))), { numRuns: 10, examples })
  }, 300_000)
})

describe.skipIf(gpu === undefined)('values that are all one', () => {
  it('leave nothing', () => checkConstantRows((d, buffers) => runWgsl(layerNormKernel(d, target), buffers)), 300_000)
})

describe.skipIf(gpu === undefined)('layerNormGradKernel', () => {
  it('equals the gradient in float64', async () => {
    await fc.assert(fc.asyncProperty(cases, fc.nat(1000), (o, seed) => checkLayerNormGrad(o, seed, (d, buffers) => runWgsl(layerNormGradKernel(d, target), buffers))), { numRuns: 10, examples })
  }, 300_000)
})

describe.skipIf(gpu?.target.f16 !== true)('tensors of type f16', () => {
  it('are read and written by layerNormKernel', () => checkLayerNorm(even, 1, (d, buffers) => inHalves(layerNormKernel(d, target, 'f16'), buffers, [0, 3]), halves), 120_000)

  it('are read and written by layerNormGradKernel', () => checkLayerNormGrad(even, 1, (d, buffers) => inHalves(layerNormGradKernel(d, target, 'f16'), buffers, [0, 1, 5]), halves), 120_000)
})
