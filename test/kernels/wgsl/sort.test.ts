import fc from 'fast-check'
import { describe, it } from 'vitest'
import { argsortKernel } from '../../../kernels/wgsl/indexing/sort.ts'
import { argsortCase, argsortCases } from '../sorting.ts'
import { gpu, runWgsl } from './run.ts'

describe.skipIf(gpu === undefined)('argsortKernel', () => {
  const agrees = async (lengths: readonly number[], numRuns: number): Promise<void> => {
    await fc.assert(fc.asyncProperty(argsortCases(lengths), async (drawn) => {
      const { descriptor, buffers, check } = argsortCase(drawn)
      await runWgsl(argsortKernel(descriptor), buffers)
      check()
    }), { numRuns })
  }

  it('is stable, with NaN greatest', () => agrees([0, 1, 2, 3, 4, 5, 31, 32, 33, 100, 257, 1000], 30))
  it('merges runs of lines that no workgroup can hold', () => agrees([1024, 1025, 2048, 2049, 3000, 5000], 10))
})
