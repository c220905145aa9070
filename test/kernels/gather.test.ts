import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gatherKernel } from '../../kernels/wasm/indexing/gather.ts'
import { scanKernel } from '../../kernels/wasm/reduce/scan.ts'
import { scatterAddKernel } from '../../kernels/wasm/indexing/scatterAdd.ts'
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
  const scanned = (shape: readonly [number, number], strides: readonly [number, number], values: Float32Array<ArrayBuffer>, reverse = false): Float32Array => {
    const y = new Float32Array(values.length)
    const operand = { strides, offset: 0 }
    launch(scanKernel({ shape, x: operand, y: operand, reverse, dtype: 'f32' }), [values, y], 1)
    return y
  }

  it.each([
    ['a line', 1, 100_003, false], ['a line from its end', 1, 100_003, true], ['a short line', 1, 7, false], ['columns', 23, 30_011, false], ['columns from their ends', 23, 30_011, true],
  ] as const)('rounds the exact sums of %s', (_, columns, length, reverse) => {
    const x = Float32Array.from({ length: columns * length }, (__, i) => 0.1 + Math.sin(i) / 50)
    const y = scanned([columns, length], [1, columns], x, reverse)
    for (let c = 0; c < columns; c++) {
      for (let i = 0, sum = 0; i < length; i++) {
        const at = (reverse ? length - 1 - i : i) * columns + c
        sum += x[at] ?? NaN
        // The order of additions in f64 may differ.
        if (!(Math.abs((y[at] ?? NaN) - sum) <= sum * (2 ** -24 + 2 ** -45))) expect.fail(`element ${i} of column ${c}: ${y[at]}, not ${sum}`)
      }
    }
  })

  it('goes on counting beyond 2²⁴, and past sums that f32 does not hold', () => {
    expect([...scanned([1, 5], [0, 1], Float32Array.of(2 ** 24, 1, 1, 1, 1))]).toEqual([2 ** 24, 2 ** 24, 2 ** 24 + 2, 2 ** 24 + 4, 2 ** 24 + 4])
    expect([...scanned([1, 6], [0, 1], Float32Array.of(3e38, 3e38, -3e38, Infinity, 1, -Infinity))]).toEqual([Math.fround(3e38), Infinity, Math.fround(3e38), Infinity, Infinity, NaN])
  })

  it('adds along the last named axis, from either end', () => {
    fc.assert(fc.property(scanCases, (drawn) => {
      const { descriptor, buffers, check } = scanCase(drawn)
      launch(scanKernel(descriptor), buffers, drawn.drawn.seed)
      check()
    }), { numRuns: 200 })
  })
})
