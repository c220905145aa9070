import fc from 'fast-check'
import { describe, it } from 'vitest'
import { gatherKernel } from '../../kernels/wasm/gather.ts'
import { scanKernel } from '../../kernels/wasm/scan.ts'
import { scatterAddKernel } from '../../kernels/wasm/scatterAdd.ts'
import { gatherCase, gatherCases, scanCase, scanCases, scatterCase, scatterCases } from './indexing.ts'
import { launch } from './launch-rows.ts'

describe('gatherKernel', () => {
  it('takes along an axis, and invalid indices give NaN or 0', () => {
    fc.assert(fc.property(gatherCases, (drawn) => {
      const { descriptor, buffers, check } = gatherCase(drawn)
      launch(gatherKernel(descriptor), buffers, drawn.drawn.seed)
      check()
    }), { numRuns: 200 })
  })
})

describe('scatterAddKernel', () => {
  it('adds in the order of the sources', () => {
    fc.assert(fc.property(scatterCases, (drawn) => {
      const { descriptor, buffers, check } = scatterCase(drawn)
      launch(scatterAddKernel(descriptor), buffers, drawn.drawn.seed)
      check()
    }), { numRuns: 200 })
  })
})

describe('scanKernel', () => {
  it('adds along the last named axis, from either end', () => {
    fc.assert(fc.property(scanCases, (drawn) => {
      const { descriptor, buffers, check } = scanCase(drawn)
      launch(scanKernel(descriptor), buffers, drawn.drawn.seed)
      check()
    }), { numRuns: 200 })
  })
})
