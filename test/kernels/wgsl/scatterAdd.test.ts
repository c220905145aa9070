import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { scatterAddKernel } from '../../../kernels/wgsl/indexing/scatterAdd.ts'
import { scatterCase, scatterCases } from '../indexing.ts'
import { random } from '../launch-rows.ts'
import { gpu, runWgsl } from './run.ts'

describe.skipIf(gpu === undefined)('scatterAddKernel', () => {
  it('adds in the order of the sources', async () => {
    await fc.assert(fc.asyncProperty(scatterCases, async (drawn) => {
      const { descriptor, buffers, check } = scatterCase(drawn)
      await runWgsl(scatterAddKernel(descriptor), buffers)
      check()
    }), { numRuns: 30 })
  })

  /** Of every row of a table, the sum of the gradients of its copies, some of them many. */
  it.each([[20, 36], [33, 36], [700, 36], [700, 7], [3000, 8]])('sums %i gradients of rows of %i', async (copies, width) => {
    const rows = 200
    const next = random(copies)
    const index = Int32Array.from({ length: copies }, () => (next() < 0.3 ? 5 : Math.floor(next() * rows)))
    const src = Float32Array.from({ length: copies * width }, () => 2 * next() - 1)
    const y = new Float32Array(rows * width)
    const packed = { strides: [width, 1], offset: 0 }
    const kernel = scatterAddKernel({ shape: [copies, width], axis: 0, extent: rows, x: { strides: [0, 0], offset: 0 }, index: { strides: [1, 0], offset: 0 }, src: packed, y: packed, dtype: 'f32' })
    expect(kernel.dispatches.at(-1)?.source.includes('vec4<f32>')).toBe(width % 4 === 0)
    await runWgsl(kernel, [new Float32Array(1), index, src, y])
    const expected = new Float32Array(rows * width)
    index.forEach((row, i) => {
      for (let c = 0; c < width; c++) expected[row * width + c] = Math.fround((expected[row * width + c] ?? 0) + (src[i * width + c] ?? 0))
    })
    expect(y).toEqual(expected)
  })
})
