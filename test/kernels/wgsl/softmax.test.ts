import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { softmaxGradKernel, softmaxKernel } from '../../../kernels/wgsl/norm/softmax.ts'
import { anyLayout, halves } from '../launch-rows.ts'
import { checkSoftmax, checkSoftmaxGrad, type RowCase } from '../rowNorms.ts'
import { inHalves } from './halves.ts'
import { gpu, runWgsl, target } from './run.ts'

/** Fewer structures than sizes: each is a source to compile. */
const cases: fc.Arbitrary<RowCase> = fc.record({ rows: fc.constantFrom(0, 1, 3, 600), length: fc.constantFrom(0, 1, 31, 33, 50), shift: fc.constantFrom(0, 50, -1000), a: anyLayout, b: anyLayout, c: anyLayout })
const even = { rows: 3, length: 33, shift: 0, a: 'contiguous', b: 'contiguous', c: 'contiguous' } as const
/** Rows that are walked along, in both orders of memory. */
const examples: [RowCase, number][] = [[{ ...even, length: 5000 }, 1], [{ ...even, length: 1000, rows: 33, a: 'reversed', b: 'reversed', c: 'swapped' }, 2]]

describe.skipIf(gpu === undefined)('softmaxKernel', () => {
  it('equals float64 loops', async () => {
    await fc.assert(fc.asyncProperty(cases, fc.nat(1000), (o, seed) => checkSoftmax(o, seed, (d, buffers) => runWgsl(softmaxKernel(d, target), buffers))), { numRuns: 10, examples })
  }, 300_000)

  it('makes masked elements zero, and rows with NaN or without finite elements NaN', async () => {
    const infinity = Infinity
    const rows = [[0, -infinity, 0, -infinity, -1e30], [-infinity, -infinity, -infinity, -infinity, -infinity], [1, Number.NaN, 2, 3, 4], [1, 2, 3, 4, Number.NaN], [0, infinity, 0, 0, 0]]
    const output = new Float32Array(25)
    const strided = { strides: [5, 1], offset: 0 }
    await runWgsl(softmaxKernel({ rows: 5, length: 5, x: strided, y: strided }, target), [Float32Array.from(rows.flat()), output])
    expect([...output.subarray(0, 5)]).toEqual([0.5, 0, 0.5, 0, 0])
    expect([...output.subarray(5)].every(Number.isNaN)).toBe(true)
  })
})

describe.skipIf(gpu === undefined)('softmaxGradKernel', () => {
  it('equals float64 loops', async () => {
    await fc.assert(fc.asyncProperty(cases, fc.nat(1000), (o, seed) => checkSoftmaxGrad(o, seed, (d, buffers) => runWgsl(softmaxGradKernel(d, target), buffers))), { numRuns: 10, examples })
  }, 300_000)
})

describe.skipIf(gpu?.target.f16 !== true)('tensors of type f16', () => {
  it('are read and written by softmaxKernel', () => checkSoftmax(even, 1, (d, buffers) => inHalves(softmaxKernel(d, target, 'f16'), buffers, [0, 1]), halves), 120_000)

  it('are read and written by softmaxGradKernel', () => checkSoftmaxGrad(even, 1, (d, buffers) => inHalves(softmaxGradKernel(d, target, 'f16'), buffers, [0, 1, 2]), halves), 120_000)
})
