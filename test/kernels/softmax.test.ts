import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { softmaxGradKernel, softmaxKernel } from '../../kernels/wasm/softmax.ts'
import { anyLayout, at, expectClose, floats, launch, layout, target } from './launch-rows.ts'

const sizes = fc.record({ rows: fc.constantFrom(0, 1, 3, 31, 33), length: fc.constantFrom(0, 1, 3, 4, 7, 8, 31, 32, 33, 100), from: anyLayout, to: anyLayout })

describe('softmaxKernel', () => {
  it('equals float64 loops', () => {
    fc.assert(fc.property(sizes, fc.constantFrom(0, 50, -1000), fc.nat(1000), ({ rows, length, from, to }, shift, seed) => {
      const [x, y] = [layout([rows, length], from), layout([rows, length], to)]
      const [input, output] = [floats(x.size, seed, shift), new Float32Array(y.size)]
      launch(softmaxKernel({ rows, length, x, y }, target), [input, output], seed)
      for (let r = 0; r < rows; r++) {
        const row = Array.from({ length }, (_, i) => at(input, x, [r, i]))
        const top = Math.max(...row)
        const sum = row.reduce((a, v) => a + Math.exp(v - top), 0)
        row.forEach((v, i) => expectClose(at(output, y, [r, i]), Math.exp(v - top) / sum, 5e-7, `row ${r} element ${i}`))
      }
    }))
  })

  it('makes masked elements zero, and rows with NaN or without finite elements NaN', () => {
    const infinity = Infinity
    const rows = [[0, -infinity, 0, -infinity, -1e30], [-infinity, -infinity, -infinity, -infinity, -infinity], [1, Number.NaN, 2, 3, 4], [1, 2, 3, 4, Number.NaN], [0, infinity, 0, 0, 0]]
    const output = new Float32Array(25)
    const strided = { strides: [5, 1], offset: 0 }
    launch(softmaxKernel({ rows: 5, length: 5, x: strided, y: strided }, target), [Float32Array.from(rows.flat()), output])
    expect([...output.subarray(0, 5)]).toEqual([0.5, 0, 0.5, 0, 0])
    expect([...output.subarray(5)].every(Number.isNaN)).toBe(true)
  })
})

describe('softmaxGradKernel', () => {
  it('equals float64 loops', () => {
    fc.assert(fc.property(sizes, anyLayout, fc.nat(1000), ({ rows, length, from, to }, middle, seed) => {
      const [y, dy, dx] = [layout([rows, length], from), layout([rows, length], middle), layout([rows, length], to)]
      const [input, upstream, output] = [floats(y.size, seed), floats(dy.size, seed + 1), new Float32Array(dx.size)]
      launch(softmaxGradKernel({ rows, length, y, dy, dx }, target), [input, upstream, output], seed)
      for (let r = 0; r < rows; r++) {
        let dot = 0
        for (let i = 0; i < length; i++) dot += at(input, y, [r, i]) * at(upstream, dy, [r, i])
        for (let i = 0; i < length; i++) expectClose(at(output, dx, [r, i]), at(input, y, [r, i]) * (at(upstream, dy, [r, i]) - dot), 1e-5, `row ${r} element ${i}`)
      }
    }))
  })
})
