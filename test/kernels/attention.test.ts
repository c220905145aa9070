import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { attentionKernel } from '../../kernels/wasm/attention.ts'
import { attentionGradKernel } from '../../kernels/wasm/attentionGrad.ts'
import type { WasmTarget } from '../../kernels/wasm/kernel.ts'
import { anyLayout, at, expectClose, floats, launch, layout, place, positions, target } from './launch-rows.ts'

const sizes = fc.record({
  batch: fc.constantFrom<number[]>([1], [3], [2, 3], []), queries: fc.constantFrom(1, 3, 4, 16, 31, 33, 70), keys: fc.constantFrom(1, 3, 8, 9, 16, 31, 33, 100, 300),
  dim: fc.constantFrom(1, 3, 4, 8, 17, 32), valueDim: fc.constantFrom(1, 4, 8, 13, 16, 24, 33), causal: fc.boolean(),
  q: anyLayout, k: anyLayout, v: anyLayout, out: anyLayout, mask: fc.option(anyLayout, { nil: undefined }),
  target: fc.constantFrom<WasmTarget>({ relaxed: false }, { relaxed: true }, { relaxed: true, wide: true }),
})
const scale = 0.7
/** Rounding errors of f32 that an element of a gradient may be wrong by, in parts of its largest terms. */
const roundings = 16 * 2 ** -24

/** Some keys are masked, with few keys all of some row's. */
const maskOf = (size: number, seed: number): Float32Array<ArrayBuffer> => floats(size, seed + 3).map((x) => (x > 0.5 ? -Infinity : x))

/** Probabilities of query row t of batch position b. */
function probabilities(score: (s: number) => number, keys: number): { p: number[]; lse: number } {
  const scores = Array.from({ length: keys }, (_, s) => score(s))
  const top = Math.max(...scores)
  if (top === -Infinity) return { p: scores.map(() => 0), lse: Infinity }
  const sum = scores.reduce((a, x) => a + Math.exp(x - top), 0)
  return { p: scores.map((x) => Math.exp(x - top) / sum), lse: top + Math.log(sum) }
}

describe('attentionKernel', () => {
  it('equals float64 loops', () => {
    fc.assert(fc.property(sizes, fc.nat(1000), (o, seed) => {
      const { batch, queries, keys, dim, valueDim, causal } = o
      const shapes = { q: [...batch, queries, dim], k: [...batch, keys, dim], v: [...batch, keys, valueDim], out: [...batch, queries, valueDim], mask: [...batch, queries, keys] }
      const [q, k, v, out] = [layout(shapes.q, o.q), layout(shapes.k, o.k), layout(shapes.v, o.v), layout(shapes.out, o.out)]
      const mask = o.mask === undefined ? undefined : layout(shapes.mask, o.mask)
      const [qs, ks, vs] = [floats(q.size, seed), floats(k.size, seed + 1), floats(v.size, seed + 2)]
      const ms = mask === undefined ? undefined : maskOf(mask.size, seed)
      const [output, lse] = [new Float32Array(out.size), new Float32Array(batch.reduce((a, b) => a * b, queries))]
      const kernel = attentionKernel({ batch, queries, keys, dim, valueDim, causal, q, k, v, out, ...(mask === undefined ? {} : { mask }) }, o.target)
      launch(kernel, [qs, ks, vs, ...(ms === undefined ? [] : [ms]), Float32Array.of(scale), output, lse], seed)
      const written = new Set<number>()
      let row = 0
      for (const b of positions(batch)) {
        for (let t = 0; t < queries; t++) {
          const score = (s: number): number => {
            if (causal && s > t) return -Infinity
            let sum = 0
            for (let d = 0; d < dim; d++) sum += at(qs, q, [...b, t, d]) * at(ks, k, [...b, s, d])
            return scale * sum + (mask === undefined || ms === undefined ? 0 : at(ms, mask, [...b, t, s]))
          }
          const expected = probabilities(score, keys)
          expectClose(lse[row++] ?? 0, expected.lse, 3e-6, `lse ${[...b, t].join()}`)
          for (let d = 0; d < valueDim; d++) {
            const value = expected.p.reduce((sum, p, s) => sum + p * at(vs, v, [...b, s, d]), 0)
            expectClose(at(output, out, [...b, t, d]), value, 5e-6, `o ${[...b, t, d].join()}`)
            written.add(place(out, [...b, t, d]))
          }
        }
      }
      output.forEach((x, i) => written.has(i) || expect(x).toBe(0))
    }), { numRuns: 40 })
  }, 20000)
})

/** Sums of products in float64, and of the magnitudes that their rounding in f32 is a multiple of. */
interface Gradient { value: Float64Array; rounded: Float64Array }
const gradient = (size: number): Gradient => ({ value: new Float64Array(size), rounded: new Float64Array(size) })

/** Adds `a`·`b` at `index`, where the terms of `a` add up to `largest` without their signs. */
function add(into: Gradient, index: number, a: number, largest: number, b: number): void {
  into.value[index] = (into.value[index] ?? 0) + a * b
  into.rounded[index] = (into.rounded[index] ?? 0) + largest * Math.abs(b)
}

function expectWithinRounding(actual: Float32Array, { value, rounded }: Gradient, what: string): void {
  value.forEach((x, i) => {
    const off = Math.abs((actual[i] ?? 0) - x)
    if (!(off <= roundings * (rounded[i] ?? 0))) expect.fail(`${what} ${i}: ${actual[i]} instead of ${x}, ${off / (rounded[i] ?? 0)} of its terms`)
  })
}

describe('attentionGradKernel', () => {
  it('equals the gradient in float64', () => {
    fc.assert(fc.property(sizes, anyLayout, fc.nat(1000), (o, other, seed) => {
      const { batch, queries, keys, dim, valueDim, causal } = o
      const [q, k, v, out] = [layout([...batch, queries, dim], o.q), layout([...batch, keys, dim], o.k), layout([...batch, keys, valueDim], o.v), layout([...batch, queries, valueDim], o.out)]
      const [dout, dq, dk, dv] = [layout([...batch, queries, valueDim], other), layout([...batch, queries, dim], other), layout([...batch, keys, dim], o.q), layout([...batch, keys, valueDim], o.out)]
      const mask = o.mask === undefined ? undefined : layout([...batch, queries, keys], o.mask)
      const [qs, ks, vs, douts] = [floats(q.size, seed), floats(k.size, seed + 1), floats(v.size, seed + 2), floats(dout.size, seed + 4)]
      const ms = mask === undefined ? undefined : maskOf(mask.size, seed)
      const [os, lse] = [new Float32Array(out.size), new Float32Array(batch.reduce((a, b) => a * b, queries))]
      const [dqs, dks, dvs] = [new Float32Array(dq.size), new Float32Array(dk.size), new Float32Array(dv.size)]
      const [expectedQ, expectedK, expectedV] = [gradient(dq.size), gradient(dk.size), gradient(dv.size)]
      let row = 0
      for (const b of positions(batch)) {
        for (let t = 0; t < queries; t++) {
          const dot = (x: Float32Array, sx: typeof q, i: number, y: Float32Array, sy: typeof q, j: number, n: number, term = (product: number): number => product): number => {
            let sum = 0
            for (let d = 0; d < n; d++) sum += term(at(x, sx, [...b, i, d]) * at(y, sy, [...b, j, d]))
            return sum
          }
          const { p, lse: logSum } = probabilities((s) => (causal && s > t ? -Infinity : scale * dot(qs, q, t, ks, k, s, dim) + (mask === undefined || ms === undefined ? 0 : at(ms, mask, [...b, t, s]))), keys)
          lse[row++] = logSum
          let [delta, largestDelta] = [0, 0]
          for (let d = 0; d < valueDim; d++) {
            const value = p.reduce((sum, x, s) => sum + x * at(vs, v, [...b, s, d]), 0)
            os[place(out, [...b, t, d])] = value
            delta += value * at(douts, dout, [...b, t, d])
            largestDelta += Math.abs(value * at(douts, dout, [...b, t, d]))
          }
          p.forEach((x, s) => {
            const ds = scale * x * (dot(douts, dout, t, vs, v, s, valueDim) - delta)
            // A score is wrong by some units of rounding of its terms, and its probability by as much relatively.
            const worse = 1 + scale * dot(qs, q, t, ks, k, s, dim, Math.abs)
            const largest = worse * scale * x * (dot(douts, dout, t, vs, v, s, valueDim, Math.abs) + largestDelta)
            for (let d = 0; d < dim; d++) {
              add(expectedQ, place(dq, [...b, t, d]), ds, largest, at(ks, k, [...b, s, d]))
              add(expectedK, place(dk, [...b, s, d]), ds, largest, at(qs, q, [...b, t, d]))
            }
            for (let d = 0; d < valueDim; d++) add(expectedV, place(dv, [...b, s, d]), x, worse * x, at(douts, dout, [...b, t, d]))
          })
        }
      }
      const kernel = attentionGradKernel({ batch, queries, keys, dim, valueDim, causal, q, k, v, out, dout, dq, dk, dv, ...(mask === undefined ? {} : { mask }) }, o.target)
      launch(kernel, [qs, ks, vs, ...(ms === undefined ? [] : [ms]), Float32Array.of(scale), os, lse, douts, dqs, dks, dvs], seed)
      expectWithinRounding(dqs, expectedQ, 'dq')
      expectWithinRounding(dks, expectedK, 'dk')
      expectWithinRounding(dvs, expectedV, 'dv')
    }), { numRuns: 40 })
  }, 20000)
})

describe('rows', () => {
  const [queries, keys, dim] = [5, 7, 3]
  const q = { strides: [queries * dim, dim, 1], offset: 0 }
  const k = { strides: [keys * dim, dim, 1], offset: 0 }
  const sizes = { batch: [3], queries, keys, dim, valueDim: dim, causal: false, q, k, v: k, out: q }

  it('that are masked everywhere are 0, have a log-sum-exp of +∞ and a gradient of 0', () => {
    const mask = { strides: [0, keys, 1], offset: 0 }
    const masks = new Float32Array(queries * keys).fill(-Infinity, keys, 2 * keys)
    const [qs, ks, vs, douts] = [floats(3 * queries * dim, 1), floats(3 * keys * dim, 2), floats(3 * keys * dim, 3), floats(3 * queries * dim, 4)]
    const [output, lse] = [new Float32Array(qs.length), new Float32Array(3 * queries)]
    launch(attentionKernel({ ...sizes, mask }, target), [qs, ks, vs, masks, Float32Array.of(scale), output, lse])
    lse.forEach((x, i) => expect(i % queries === 1 ? x === Infinity : Number.isFinite(x)).toBe(true))
    output.forEach((x, i) => expect(x === 0).toBe(Math.floor(i / dim) % queries === 1))
    const gradients = [qs, ks, vs].map((x) => new Float32Array(x.length))
    launch(attentionGradKernel({ ...sizes, mask, dout: q, dq: q, dk: k, dv: k }, target), [qs, ks, vs, masks, Float32Array.of(scale), output, lse, douts, ...gradients])
    gradients[0]?.forEach((x, i) => expect(x === 0).toBe(Math.floor(i / dim) % queries === 1))
    for (const values of gradients) expect(values.every(Number.isFinite)).toBe(true)
  })

  it('with NaN leave other heads alone', () => {
    const queryCount = queries * dim
    const poisoned = floats(3 * queryCount, 1).fill(Number.NaN, queryCount, 2 * queryCount)
    const [ks, vs] = [floats(3 * keys * dim, 2), floats(3 * keys * dim, 3)]
    const [output, lse] = [new Float32Array(3 * queryCount), new Float32Array(3 * queries)]
    launch(attentionKernel(sizes, target), [poisoned, ks, vs, Float32Array.of(scale), output, lse])
    const gradients = [output, ks, vs].map((x) => new Float32Array(x.length))
    launch(attentionGradKernel({ ...sizes, dout: q, dq: q, dk: k, dv: k }, target), [poisoned, ks, vs, Float32Array.of(scale), output, lse, floats(3 * queryCount, 4), ...gradients])
    for (const values of [output, lse, ...gradients]) values.forEach((x, i) => expect(Number.isNaN(x)).toBe(Math.floor((3 * i) / values.length) === 1))
  })
})
