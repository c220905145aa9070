/** Views against the definition: a random chain of movements on a view reads what the same chain on an array gives. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bufferView, expandView, isPacked, memoryOrder, padView, permuteView, reshapeView, sliceView } from '../../engine/compile/view.ts'
import type { View } from '../../engine/compile/view.ts'
import { contiguousStrides, sizeOf } from '../../engine/shape.ts'

interface NdArray {
  readonly shape: readonly number[]
  readonly at: (index: readonly number[]) => number
}

function* positions(shape: readonly number[]): Generator<number[]> {
  const strides = contiguousStrides(shape)
  for (let i = 0; i < sizeOf(shape); i++) yield shape.map((d, k) => Math.floor(i / (strides[k] ?? 1)) % d)
}

/** Element `index` of the view of a buffer that holds 1, 2, 3, …; 0 outside the mask. */
function read(view: View, index: readonly number[]): number {
  if (view.mask?.some(([lo, hi], i) => (index[i] ?? 0) < lo || (index[i] ?? 0) >= hi) === true) return 0
  return view.strides.reduce((o, s, i) => o + s * (index[i] ?? 0), view.offset) + 1
}

function same(view: View, array: NdArray): void {
  expect(view.shape).toEqual(array.shape)
  for (const p of positions(view.shape)) expect(read(view, p)).toBe(array.at(p))
}

type Movement = (view: View, array: NdArray) => { view: View | undefined; array: NdArray }

const permutation = (seed: number): Movement => (view, array) => {
  const axes = view.shape.map((_, i) => i).sort((x, y) => ((x + 1) * (seed + 7)) % 5 - (((y + 1) * (seed + 7)) % 5) || x - y)
  const shape = axes.map((a) => array.shape[a] ?? 0)
  return { view: permuteView(view, axes), array: { shape, at: (p) => array.at(axes.map((_, i) => p[axes.indexOf(i)] ?? 0)) } }
}

const slicing = (seed: number): Movement => (view, array) => {
  const step = array.shape.map((_, i) => [1, 2, -1, -2][(seed + i) % 4] ?? 1)
  const size = array.shape.map((d, i) => Math.ceil(d / Math.abs(step[i] ?? 1)))
  const start = array.shape.map((d, i) => ((step[i] ?? 1) < 0 ? d - 1 : (d - 1) % Math.abs(step[i] ?? 1) === 0 ? 0 : 0))
  return { view: sliceView(view, start, size, step), array: { shape: size, at: (p) => array.at(p.map((x, i) => (start[i] ?? 0) + x * (step[i] ?? 1))) } }
}

const padding = (seed: number): Movement => (view, array) => {
  const low = array.shape.map((_, i) => (seed + i) % 3)
  const high = array.shape.map((_, i) => (seed + i) % 2)
  const shape = array.shape.map((d, i) => d + (low[i] ?? 0) + (high[i] ?? 0))
  const at = (p: readonly number[]): number => {
    const inner = p.map((x, i) => x - (low[i] ?? 0))
    return inner.every((x, i) => x >= 0 && x < (array.shape[i] ?? 0)) ? array.at(inner) : 0
  }
  return { view: padView(view, low, high), array: { shape, at } }
}

const expanding = (): Movement => (view, array) => {
  const shape = array.shape.map((d) => (d === 1 ? 3 : d))
  return { view: expandView(view, shape), array: { shape, at: (p) => array.at(p.map((x, i) => (array.shape[i] === 1 ? 0 : x))) } }
}

function reshaped(array: NdArray, shape: readonly number[]): NdArray {
  const [from, to] = [contiguousStrides(array.shape), contiguousStrides(shape)]
  const at = (p: readonly number[]): number => {
    const flat = p.reduce((n, x, i) => n + x * (to[i] ?? 0), 0)
    return array.at(array.shape.map((d, i) => Math.floor(flat / (from[i] ?? 1)) % d))
  }
  return { shape, at }
}

const reshaping = (seed: number): Movement => (view, array) => {
  const { shape } = array
  const options = [
    [sizeOf(shape)],
    [...shape.slice(0, 1), sizeOf(shape.slice(1))],
    shape.flatMap((d) => (d % 2 === 0 ? [d / 2, 2] : [d, 1])),
    [1, ...shape],
    [...shape.slice(0, -2), sizeOf(shape.slice(-2))],
    shape.filter((d) => d !== 1),
  ]
  const target = options[seed % options.length] ?? shape
  return { view: reshapeView(view, target), array: reshaped(array, target) }
}

const movement = fc.tuple(fc.nat(20), fc.nat(4)).map(([seed, kind]): Movement => [permutation(seed), slicing(seed), padding(seed), expanding(), reshaping(seed)][kind] ?? expanding())

test('a chain of movements reads the same elements through a view', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }), fc.array(movement, { maxLength: 6 }), (shape, chain) => {
      const strides = contiguousStrides(shape)
      let state = { view: bufferView(shape), array: { shape, at: (p: readonly number[]) => p.reduce((n, x, i) => n + x * (strides[i] ?? 0), 0) + 1 } as NdArray }
      for (const move of chain) {
        const next = move(state.view, state.array)
        if (next.view === undefined || sizeOf(next.array.shape) > 4000) return
        state = { view: next.view, array: next.array }
        same(state.view, state.array)
      }
    }),
    { numRuns: 300 },
  )
})

test('reshapes that strides can express need no copy', () => {
  expect(reshapeView(bufferView([2, 3, 4]), [6, 4])?.strides).toEqual([4, 1])
  expect(reshapeView(permuteView(bufferView([2, 3, 4]), [1, 0, 2]), [3, 8])).toBeUndefined()
  expect(reshapeView(bufferView([2, 8, 4, 4], [0, 2, 3, 1]), [2, 8, 16])?.strides).toEqual([128, 1, 8])
  // Merge and split at once, where the parts agree.
  expect(reshapeView(permuteView(bufferView([4, 6]), [1, 0]), [2, 3, 4])?.strides).toEqual([3, 1, 6])
})

test('the memory order of a view is that of its buffer', () => {
  expect(memoryOrder(bufferView([2, 3, 4, 5], [0, 2, 3, 1]))).toEqual([0, 2, 3, 1])
  expect(isPacked(bufferView([2, 3], [1, 0]), [0, 1])).toBe(false)
  expect(isPacked(bufferView([2, 3]), [0, 1])).toBe(true)
})
