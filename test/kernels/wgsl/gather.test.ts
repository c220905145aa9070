import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gatherKernel } from '../../../kernels/wgsl/indexing/gather.ts'
import { gatherCase, gatherCases } from '../indexing.ts'
import { gpu, runWgsl } from './run.ts'

describe.skipIf(gpu === undefined)('gatherKernel', () => {
  it('takes along an axis, and invalid indices give NaN or 0', async () => {
    await fc.assert(fc.asyncProperty(gatherCases, async (drawn) => {
      const { descriptor, buffers, check } = gatherCase(drawn, true)
      await runWgsl(gatherKernel(descriptor), buffers)
      check()
    }), { numRuns: 60 })
  })

  it.each(['f32', 'f16'] as const)('takes rows in vectors of %s', async (dtype) => {
    if (gpu?.target.f16 === false && dtype === 'f16') return
    const [rows, width, places] = [50, 36, 70]
    const values = Array.from({ length: rows * width }, (_, i) => i)
    const index = Int32Array.from({ length: places }, (_, i) => ((i * 7) % (rows + 2)) - 1)
    const array = dtype === 'f16' ? Float16Array : Float32Array
    const out = new array(places * width)
    const kernel = gatherKernel({ shape: [places, width], axis: 0, extent: rows, x: { strides: [width, 1], offset: 0 }, index: { strides: [1, 0], offset: 0 }, out: { strides: [width, 1], offset: 0 }, dtype: 'f32' }, dtype)
    expect(kernel.dispatches[0]?.source).toContain('vec4')
    const bits = (x: Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => new Uint8Array(x.buffer)
    await runWgsl(kernel, [bits(new array(values)), index, bits(out)])
    index.forEach((row, i) => out.subarray(i * width, (i + 1) * width).forEach((value, c) => expect(value).toBe(values[row * width + c] ?? Number.NaN)))
  })
})
