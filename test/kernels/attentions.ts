/** Float64 loops for attention and its gradient, to which the tests of every device's kernels hold them. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { AttentionDescriptor, AttentionGradDescriptor } from '../../kernels/ir/descriptor.ts'
import { anyLayout, at, expectClose, floats, layout, type LayoutName, place, positions, type Precision, type Run, singles } from './launch-rows.ts'

export interface AttentionCase {
  readonly batch: number[]
  readonly queries: number
  readonly keys: number
  readonly dim: number
  readonly valueDim: number
  readonly causal: boolean
  readonly q: LayoutName
  readonly k: LayoutName
  readonly v: LayoutName
  readonly out: LayoutName
  /** Of the gradients with respect to o and q. */
  readonly slopes: LayoutName
  readonly mask: LayoutName | undefined
}

export const attentionCases: fc.Arbitrary<AttentionCase> = fc.record({
  batch: fc.constantFrom<number[]>([1], [3], [2, 3], []), queries: fc.constantFrom(0, 1, 3, 4, 16, 31, 33, 70), keys: fc.constantFrom(0, 1, 3, 8, 9, 16, 31, 33, 100, 300),
  dim: fc.constantFrom(0, 1, 3, 4, 8, 17, 32), valueDim: fc.constantFrom(0, 1, 4, 8, 13, 16, 24, 33), causal: fc.boolean(),
  q: anyLayout, k: anyLayout, v: anyLayout, out: anyLayout, slopes: anyLayout, mask: fc.option(anyLayout, { nil: undefined }),
})

const scale = 0.7
/** Rounding errors of f32 that an element may be wrong by, in parts of its terms without their signs. */
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

export async function checkAttention(o: AttentionCase, seed: number, run: Run<AttentionDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const { batch, queries, keys, dim, valueDim, causal } = o
  const shapes = { q: [...batch, queries, dim], k: [...batch, keys, dim], v: [...batch, keys, valueDim], out: [...batch, queries, valueDim], mask: [...batch, queries, keys] }
  const [q, k, v, out] = [layout(shapes.q, o.q), layout(shapes.k, o.k), layout(shapes.v, o.v), layout(shapes.out, o.out)]
  const mask = o.mask === undefined ? undefined : layout(shapes.mask, o.mask)
  const [qs, ks, vs] = [floats(q.size, seed).map(round), floats(k.size, seed + 1).map(round), floats(v.size, seed + 2).map(round)]
  const ms = mask === undefined ? undefined : maskOf(mask.size, seed).map(round)
  const [output, lse] = [new Float32Array(out.size), new Float32Array(batch.reduce((a, b) => a * b, queries))]
  await run({ batch, queries, keys, dim, valueDim, causal, q, k, v, out, ...(mask === undefined ? {} : { mask }) }, [qs, ks, vs, ...(ms === undefined ? [] : [ms]), Float32Array.of(scale), output, lse])
  const written = new Set<number>()
  let row = 0
  for (const b of positions(batch)) {
    for (let t = 0; t < queries; t++) {
      const product = (s: number, term = (x: number): number => x): number => {
        let sum = 0
        for (let d = 0; d < dim; d++) sum += term(at(qs, q, [...b, t, d]) * at(ks, k, [...b, s, d]))
        return scale * sum
      }
      const { p, lse: logSum } = probabilities((s) => (causal && s > t ? -Infinity : product(s) + (mask === undefined || ms === undefined ? 0 : at(ms, mask, [...b, t, s]))), keys)
      // A score is wrong by some units of rounding of its terms, and its probability by as much relatively and what the others are wrong by.
      const worse = p.map((x, s) => (x === 0 ? 0 : 1 + product(s, Math.abs)))
      const mean = p.reduce((sum, x, s) => sum + x * (worse[s] ?? 0), 0)
      expectClose(lse[row++] ?? 0, logSum, roundings * (1 + mean), `lse ${[...b, t].join()}`)
      for (let d = 0; d < valueDim; d++) {
        const of = (term: (x: number, value: number, s: number) => number): number => p.reduce((sum, x, s) => sum + term(x, at(vs, v, [...b, s, d]), s), 0)
        const value = of((x, y) => x * y)
        const wrong = roundings * of((x, y, s) => x * Math.abs(y) * (mean + (worse[s] ?? 0)))
        expectClose(at(output, out, [...b, t, d]), value, wrong + tolerance, `o ${[...b, t, d].join()}`)
        written.add(place(out, [...b, t, d]))
      }
    }
  }
  output.forEach((x, i) => written.has(i) || expect(x).toBe(0))
}

/** Sums of products in float64, and of the magnitudes that their rounding in f32 is a multiple of. */
interface Gradient { value: Float64Array; rounded: Float64Array }
const gradient = (size: number): Gradient => ({ value: new Float64Array(size), rounded: new Float64Array(size) })

/** Adds `a`·`b` at `index`, where the terms of `a` add up to `largest` without their signs. */
function add(into: Gradient, index: number, a: number, largest: number, b: number): void {
  into.value[index] = (into.value[index] ?? 0) + a * b
  into.rounded[index] = (into.rounded[index] ?? 0) + largest * Math.abs(b)
}

function expectWithinRounding(actual: Float32Array, { value, rounded }: Gradient, tolerance: number, what: string): void {
  value.forEach((x, i) => {
    const off = Math.abs((actual[i] ?? 0) - x)
    if (!(off <= (roundings + tolerance) * (rounded[i] ?? 0))) expect.fail(`${what} ${i}: ${actual[i]} instead of ${x}, ${off / (rounded[i] ?? 0)} of its terms`)
  })
}

export async function checkAttentionGrad(o: AttentionCase, seed: number, run: Run<AttentionGradDescriptor>, { round, tolerance }: Precision = singles): Promise<void> {
  const { batch, queries, keys, dim, valueDim, causal } = o
  const [q, k, v, out] = [layout([...batch, queries, dim], o.q), layout([...batch, keys, dim], o.k), layout([...batch, keys, valueDim], o.v), layout([...batch, queries, valueDim], o.out)]
  const [dout, dq, dk, dv] = [layout([...batch, queries, valueDim], o.slopes), layout([...batch, queries, dim], o.slopes), layout([...batch, keys, dim], o.q), layout([...batch, keys, valueDim], o.out)]
  const mask = o.mask === undefined ? undefined : layout([...batch, queries, keys], o.mask)
  const [qs, ks, vs, douts] = [floats(q.size, seed).map(round), floats(k.size, seed + 1).map(round), floats(v.size, seed + 2).map(round), floats(dout.size, seed + 4).map(round)]
  const ms = mask === undefined ? undefined : maskOf(mask.size, seed).map(round)
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
  await run(
    { batch, queries, keys, dim, valueDim, causal, q, k, v, out, dout, dq, dk, dv, ...(mask === undefined ? {} : { mask }) },
    [qs, ks, vs, ...(ms === undefined ? [] : [ms]), Float32Array.of(scale), os, lse, douts, dqs, dks, dvs],
  )
  expectWithinRounding(dqs, expectedQ, tolerance, 'dq')
  expectWithinRounding(dks, expectedK, tolerance, 'dk')
  expectWithinRounding(dvs, expectedV, tolerance, 'dv')
}

const [rowQueries, rowKeys, rowDim] = [5, 7, 3]
const strided = (rows: number): { strides: number[]; offset: number } => ({ strides: [rows * rowDim, rowDim, 1], offset: 0 })
const rowSizes = {
  batch: [3], queries: rowQueries, keys: rowKeys, dim: rowDim, valueDim: rowDim, causal: false,
  q: strided(rowQueries), k: strided(rowKeys), v: strided(rowKeys), out: strided(rowQueries),
}
const rowSlopes = { dout: rowSizes.q, dq: rowSizes.q, dk: rowSizes.k, dv: rowSizes.k }

/** Rows that are masked everywhere are 0, and have a log-sum-exp of +∞ and a gradient of 0. */
export async function checkMaskedRows(attend: Run<AttentionDescriptor>, differentiate: Run<AttentionGradDescriptor>): Promise<void> {
  const mask = { strides: [0, rowKeys, 1], offset: 0 }
  const masks = new Float32Array(rowQueries * rowKeys).fill(-Infinity, rowKeys, 2 * rowKeys)
  const [qs, ks, vs, douts] = [floats(3 * rowQueries * rowDim, 1), floats(3 * rowKeys * rowDim, 2), floats(3 * rowKeys * rowDim, 3), floats(3 * rowQueries * rowDim, 4)]
  const [output, lse] = [new Float32Array(qs.length), new Float32Array(3 * rowQueries)]
  await attend({ ...rowSizes, mask }, [qs, ks, vs, masks, Float32Array.of(scale), output, lse])
  lse.forEach((x, i) => expect(i % rowQueries === 1 ? x === Infinity : Number.isFinite(x)).toBe(true))
  output.forEach((x, i) => expect(x === 0).toBe(Math.floor(i / rowDim) % rowQueries === 1))
  const gradients = [qs, ks, vs].map((x) => new Float32Array(x.length))
  await differentiate({ ...rowSizes, ...rowSlopes, mask }, [qs, ks, vs, masks, Float32Array.of(scale), output, lse, douts, ...gradients])
  gradients[0]?.forEach((x, i) => expect(x === 0).toBe(Math.floor(i / rowDim) % rowQueries === 1))
  for (const values of gradients) expect(values.every(Number.isFinite)).toBe(true)
}

/** Heads with NaN leave other heads alone. */
export async function checkPoisonedHead(attend: Run<AttentionDescriptor>, differentiate: Run<AttentionGradDescriptor>): Promise<void> {
  const head = rowQueries * rowDim
  const poisoned = floats(3 * head, 1).fill(Number.NaN, head, 2 * head)
  const [ks, vs] = [floats(3 * rowKeys * rowDim, 2), floats(3 * rowKeys * rowDim, 3)]
  const [output, lse] = [new Float32Array(3 * head), new Float32Array(3 * rowQueries)]
  await attend(rowSizes, [poisoned, ks, vs, Float32Array.of(scale), output, lse])
  const gradients = [output, ks, vs].map((x) => new Float32Array(x.length))
  await differentiate({ ...rowSizes, ...rowSlopes }, [poisoned, ks, vs, Float32Array.of(scale), output, lse, floats(3 * head, 4), ...gradients])
  for (const values of [output, lse, ...gradients]) values.forEach((x, i) => expect(Number.isNaN(x)).toBe(Math.floor((3 * i) / values.length) === 1))
}
