import fc from 'fast-check'
import { expect, it } from 'vitest'
import { layerNormGradKernel, layerNormKernel } from '../../kernels/wasm/norm/layerNorm.ts'
import { launch, target } from './launch-rows.ts'
import { checkConstantRows, checkLayerNorm, checkLayerNormGrad, layerNormCases } from './rowNorms.ts'

it('equals float64 loops', async () => {
  await fc.assert(fc.asyncProperty(layerNormCases, fc.nat(1000), (o, seed) => checkLayerNorm(o, seed, (d, buffers) => launch(layerNormKernel(d, target), buffers, seed))), { numRuns: 60 })
})

it('equals the gradient in float64', async () => {
  await fc.assert(fc.asyncProperty(layerNormCases, fc.nat(1000), (o, seed) => checkLayerNormGrad(o, seed, (d, buffers) => launch(layerNormGradKernel(d, target), buffers, seed))), { numRuns: 60 })
})

it('does nothing without rows', () => {
  const strided = { strides: [5, 1], offset: 0 }
  expect(layerNormKernel({ rows: 0, length: 5, centred: true, x: strided, y: strided, eps: 1e-5 }, target).items).toBe(0)
})

it('leaves nothing of values that are all one', () => checkConstantRows((d, buffers) => launch(layerNormKernel(d, target), buffers, 1)))
