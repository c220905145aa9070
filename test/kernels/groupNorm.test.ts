import fc from 'fast-check'
import { it } from 'vitest'
import { groupNormKernel } from '../../kernels/wasm/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../kernels/wasm/norm/groupNormGrad.ts'
import { checkConstantGroups, checkGroupNorm, checkGroupNormGrad, groupNormCases } from './groupNorms.ts'
import { launch, target } from './launch-rows.ts'

it('groupNormKernel equals float64 loops', async () => {
  await fc.assert(fc.asyncProperty(groupNormCases, fc.nat(1000), (o, seed) => checkGroupNorm(o, seed, (d, buffers) => launch(groupNormKernel(d, target), buffers, seed))), { numRuns: 60 })
})

it('groupNormGradKernel equals the gradient in float64', async () => {
  await fc.assert(fc.asyncProperty(groupNormCases, fc.nat(1000), (o, seed) => checkGroupNormGrad(o, seed, (d, buffers) => launch(groupNormGradKernel(d, target), buffers, seed))), { numRuns: 60 })
})

it('leaves nothing of values that are all one', () => checkConstantGroups((d, buffers) => launch(groupNormKernel(d, target), buffers, 1)))
