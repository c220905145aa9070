import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gatherKernel } from '../../kernels/wasm/gather.ts'
import { scanKernel } from '../../kernels/wasm/scan.ts'
import { scatterAddKernel } from '../../kernels/wasm/scatterAdd.ts'
import { anyLayout, at, expectClose, fill, launch, layout, place, positions, random } from './launch-rows.ts'

const shapes = fc.array(fc.constantFrom<number>(0, 1, 2, 3, 5, 17, 33), { minLength: 1, maxLength: 3 }).filter((s) => s.reduce((a, b) => a * b, 1) < 3000)
const shapeAndAxis = shapes.chain((shape) => fc.record({ shape: fc.constant(shape), axis: fc.integer({ min: 0, max: shape.length - 1 }) }))
const replaced = (shape: readonly number[], axis: number, n: number): number[] => shape.map((m, k) => (k === axis ? n : m))

/** An index for `shape`: full, or one that is shared by all positions outside `axis`. */
function indices(shape: readonly number[], axis: number, extent: number, shared: boolean, name: Parameters<typeof layout>[1], seed: number) {
  const next = random(seed)
  const full = layout(shape, name)
  const strided = shared ? { strides: shape.map((_, k) => (k === axis ? 1 : 0)), offset: 0, size: shape[axis] ?? 0 } : full
  // A few lie outside.
  return { strided, values: Int32Array.from({ length: strided.size }, () => (next() < 0.05 ? (next() < 0.5 ? -1 : extent) : Math.floor(next() * extent))) }
}

describe('gatherKernel', () => {
  it('takes along an axis, and invalid indices give NaN or 0', () => {
    const dtypes = [['f32', Number.NaN], ['i32', 0], ['bf16', 0x7fc0], ['u8', 0]] as const
    fc.assert(fc.property(shapeAndAxis, fc.constantFrom(0, 1, 2, 40), fc.boolean(), fc.constantFrom(...dtypes), fc.tuple(anyLayout, anyLayout, anyLayout), fc.nat(1000), ({ shape, axis }, extent, shared, [dtype, invalid], layouts, seed) => {
      const x = layout(replaced(shape, axis, extent), layouts[0])
      const out = layout(shape, layouts[1])
      const index = indices(shape, axis, extent, shared, layouts[2], seed)
      const next = random(seed + 1)
      const input = fill(dtype, x.size, () => Math.floor(next() * 200))
      const output = fill(dtype, out.size, () => 0)
      launch(gatherKernel({ shape, axis, extent, x, index: index.strided, out, dtype }), [input, index.values, output], seed)
      for (const p of positions(shape)) {
        const i = at(index.values, index.strided, p)
        expect(at(output, out, p)).toBe(i >= 0 && i < extent ? at(input, x, replaced(p, axis, i)) : invalid)
      }
    }), { numRuns: 200 })
  })
})

describe('scatterAddKernel', () => {
  it('adds in the order of the sources', () => {
    fc.assert(fc.property(shapeAndAxis, fc.constantFrom(1, 2, 40), fc.boolean(), fc.boolean(), fc.tuple(anyLayout, anyLayout, anyLayout, anyLayout), fc.nat(1000), ({ shape, axis }, extent, shared, integer, layouts, seed) => {
      const whole = replaced(shape, axis, extent)
      const [x, src, y] = [layout(whole, layouts[0]), layout(shape, layouts[1]), layout(whole, layouts[2])]
      const index = indices(shape, axis, extent, shared, layouts[3], seed)
      const dtype = integer ? 'i32' : 'f32'
      const next = random(seed)
      const [input, source] = [fill(dtype, x.size, () => 1000 * next()), fill(dtype, src.size, () => 1000 * next())]
      const output = fill(dtype, y.size, () => 0)
      launch(scatterAddKernel({ shape, axis, extent, x, index: index.strided, src, y, dtype }), [input, index.values, source, output], seed)
      const expected = fill(dtype, y.size, () => 0)
      for (const p of positions(whole)) expected[place(y, p)] = at(input, x, p)
      for (const p of positions(shape)) {
        const i = at(index.values, index.strided, p)
        if (i >= 0 && i < extent) {
          const to = place(y, replaced(p, axis, i))
          expected[to] = Math.fround((expected[to] ?? 0) + at(source, src, p))
        } else if (!integer) expected[place(y, replaced(p, axis, 0))] = Number.NaN
      }
      expect([...output]).toEqual([...expected])
    }), { numRuns: 200 })
  })
})

describe('scanKernel', () => {
  it('adds along the last named axis, from either end', () => {
    fc.assert(fc.property(shapeAndAxis, fc.boolean(), fc.boolean(), anyLayout, anyLayout, fc.nat(1000), ({ shape, axis }, reverse, integer, from, to, seed) => {
      const moved = <T>(values: readonly T[]): T[] => [...values.filter((_, k) => k !== axis), ...values.filter((_, k) => k === axis)]
      const [x, y] = [layout(shape, from), layout(shape, to)]
      const dtype = integer ? 'i32' : 'f32'
      const next = random(seed)
      const [input, output] = [fill(dtype, x.size, () => 200 * next() - 100), fill(dtype, y.size, () => 0)]
      launch(scanKernel({ shape: moved(shape), x: { ...x, strides: moved(x.strides) }, y: { ...y, strides: moved(y.strides) }, reverse, dtype }), [input, output], seed)
      const n = shape[axis] ?? 0
      for (const p of positions(replaced(shape, axis, n > 0 ? 1 : 0))) {
        let sum = 0
        for (let k = 0; k < n; k++) {
          const q = replaced(p, axis, reverse ? n - 1 - k : k)
          sum += at(input, x, q)
          expectClose(at(output, y, q), sum, integer ? 0 : 1e-4, `y ${q.join()}`)
        }
      }
    }), { numRuns: 200 })
  })
})
