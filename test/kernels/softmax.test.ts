import fc from 'fast-check'
import { expect, it } from 'vitest'
import { softmaxGradKernel, softmaxKernel } from '../../kernels/wasm/norm/softmax.ts'
import { launch, target } from './launch-rows.ts'
import { checkSoftmax, checkSoftmaxGrad, softmaxCases } from './rowNorms.ts'

it('softmaxKernel equals float64 loops', async () => {
  await fc.assert(fc.asyncProperty(softmaxCases, fc.nat(1000), (o, seed) => checkSoftmax(o, seed, (d, buffers) => launch(softmaxKernel(d, target), buffers, seed))))
})

it('softmaxKernel makes masked elements zero, and rows with NaN or without finite elements NaN', () => {
  const infinity = Infinity
  const rows = [[0, -infinity, 0, -infinity, -1e30], [-infinity, -infinity, -infinity, -infinity, -infinity], [1, Number.NaN, 2, 3, 4], [1, 2, 3, 4, Number.NaN], [0, infinity, 0, 0, 0]]
  const output = new Float32Array(25)
  const strided = { strides: [5, 1], offset: 0 }
  launch(softmaxKernel({ rows: 5, length: 5, x: strided, y: strided }, target), [Float32Array.from(rows.flat()), output])
  expect([...output.subarray(0, 5)]).toEqual([0.5, 0, 0.5, 0, 0])
  expect([...output.subarray(5)].every(Number.isNaN)).toBe(true)
})

it('softmaxGradKernel equals float64 loops', async () => {
  await fc.assert(fc.asyncProperty(softmaxCases, fc.nat(1000), (o, seed) => checkSoftmaxGrad(o, seed, (d, buffers) => launch(softmaxGradKernel(d, target), buffers, seed))))
})
