/** Random cases of gather, scatter and scan for the tests of both devices' kernels: descriptors, buffers and what must come out. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { GatherDescriptor, ScanDescriptor, ScatterAddDescriptor } from '../../kernels/ir/descriptor.ts'
import { anyLayout, at, fill, layout, place, positions, random, type LayoutName, type Values } from './launch-rows.ts'

interface Case<D> {
  readonly descriptor: D
  /** Inputs, then the output. */
  readonly buffers: Values[]
  /** Looks at the output. */
  readonly check: () => void
}

interface Drawn {
  readonly shape: readonly number[]
  readonly axis: number
  readonly layouts: readonly [LayoutName, LayoutName, LayoutName, LayoutName]
  readonly seed: number
}

const shapes = fc.array(fc.constantFrom<number>(0, 1, 2, 3, 5, 8, 17, 33, 36), { minLength: 1, maxLength: 3 }).filter((s) => s.reduce((a, b) => a * b, 1) < 3000)
const drawn: fc.Arbitrary<Drawn> = shapes.chain((shape) => fc.record({
  shape: fc.constant(shape), axis: fc.integer({ min: 0, max: shape.length - 1 }), layouts: fc.tuple(anyLayout, anyLayout, anyLayout, anyLayout), seed: fc.nat(1000),
}))
const replaced = (shape: readonly number[], axis: number, n: number): number[] => shape.map((m, k) => (k === axis ? n : m))

/** An index for `shape`: full, or one that is shared by all positions outside `axis`. */
function indices({ shape, axis, layouts, seed }: Drawn, extent: number, shared: boolean) {
  const next = random(seed)
  const full = layout(shape, layouts[2])
  const strided = shared ? { strides: shape.map((_, k) => (k === axis ? 1 : 0)), offset: 0, size: shape[axis] ?? 0 } : full
  // A few lie outside.
  return { strided, values: Int32Array.from({ length: strided.size }, () => (next() < 0.05 ? (next() < 0.5 ? -1 : extent) : Math.floor(next() * extent))) }
}

type GatherType = 'f32' | 'i32' | 'bf16' | 'u8'
const invalid: Readonly<Record<GatherType, number>> = { f32: Number.NaN, i32: 0, bf16: 0x7fc0, u8: 0 }
interface GatherCase {
  readonly drawn: Drawn
  readonly extent: number
  /** All lines have one index. */
  readonly shared: boolean
  readonly dtype: GatherType
}

export const gatherCases: fc.Arbitrary<GatherCase> = fc.record({ drawn, extent: fc.constantFrom(0, 1, 2, 40), shared: fc.boolean(), dtype: fc.constantFrom('f32', 'i32', 'bf16', 'u8') })

/** With `words`, elements take 32 bits each, whatever their type. */
export function gatherCase({ drawn: c, extent, shared, dtype }: GatherCase, words = false): Case<GatherDescriptor> {
  const { shape, axis, layouts, seed } = c
  const [x, out] = [layout(replaced(shape, axis, extent), layouts[0]), layout(shape, layouts[1])]
  const index = indices(c, extent, shared)
  const next = random(seed + 1)
  const stored = !words ? dtype : dtype === 'bf16' ? 'f32' : dtype === 'u8' ? 'u32' : dtype
  const [input, output] = [fill(stored, x.size, () => Math.floor(next() * 200)), fill(stored, out.size, () => 0)]
  return {
    descriptor: { shape, axis, extent, x, index: index.strided, out, dtype },
    buffers: [input, index.values, output],
    check() {
      for (const p of positions(shape)) {
        const i = at(index.values, index.strided, p)
        expect(at(output, out, p)).toBe(i >= 0 && i < extent ? at(input, x, replaced(p, axis, i)) : invalid[stored === 'f32' ? 'f32' : dtype])
      }
    },
  }
}

interface ScatterCase {
  readonly drawn: Drawn
  readonly extent: number
  /** All lines have one index. */
  readonly shared: boolean
  readonly integer: boolean
  /** All of x is one element. */
  readonly uniform: boolean
}

export const scatterCases: fc.Arbitrary<ScatterCase> = fc.record({ drawn, extent: fc.constantFrom(1, 2, 40), shared: fc.boolean(), integer: fc.boolean(), uniform: fc.boolean() })

/** Sums have the order of the sources. */
export function scatterCase({ drawn: c, extent, shared, integer, uniform }: ScatterCase): Case<ScatterAddDescriptor> {
  const { shape, axis, layouts, seed } = c
  const whole = replaced(shape, axis, extent)
  const [filled, src, y] = [layout(whole, layouts[0]), layout(shape, layouts[1]), layout(whole, layouts[3])]
  const x = uniform ? { strides: shape.map(() => 0), offset: 0, size: 1 } : filled
  const index = indices(c, extent, shared)
  const dtype = integer ? 'i32' : 'f32'
  const next = random(seed)
  const [input, source] = [fill(dtype, x.size, () => 1000 * next()), fill(dtype, src.size, () => 1000 * next())]
  const [output, expected] = [fill(dtype, y.size, () => 0), fill(dtype, y.size, () => 0)]
  return {
    descriptor: { shape, axis, extent, x, index: index.strided, src, y, dtype },
    buffers: [input, index.values, source, output],
    check() {
      for (const p of positions(whole)) expected[place(y, p)] = at(input, x, p)
      for (const p of positions(shape)) {
        const i = at(index.values, index.strided, p)
        if (i >= 0 && i < extent) {
          const to = place(y, replaced(p, axis, i))
          expected[to] = Math.fround((expected[to] ?? 0) + at(source, src, p))
        } else if (!integer) expected[place(y, replaced(p, axis, 0))] = Number.NaN
      }
      expect([...output]).toEqual([...expected])
    },
  }
}

interface ScanCase {
  readonly drawn: Drawn
  readonly reverse: boolean
  readonly integer: boolean
}

export const scanCases: fc.Arbitrary<ScanCase> = fc.record({ drawn, reverse: fc.boolean(), integer: fc.boolean() })

/** Sums of floats may have any order. */
export function scanCase({ drawn: { shape, axis, layouts, seed }, reverse, integer }: ScanCase): Case<ScanDescriptor> {
  const last = <T>(values: readonly T[]): T[] => [...values.filter((_, k) => k !== axis), ...values.filter((_, k) => k === axis)]
  const [x, y] = [layout(shape, layouts[0]), layout(shape, layouts[1])]
  const dtype = integer ? 'i32' : 'f32'
  const next = random(seed)
  const [input, output] = [fill(dtype, x.size, () => 200 * next() - 100), fill(dtype, y.size, () => 0)]
  return {
    descriptor: { shape: last(shape), x: { ...x, strides: last(x.strides) }, y: { ...y, strides: last(y.strides) }, reverse, dtype },
    buffers: [input, output],
    check() {
      const n = shape[axis] ?? 0
      for (const p of positions(replaced(shape, axis, n > 0 ? 1 : 0))) {
        let [sum, magnitude] = [0, 0]
        for (let k = 0; k < n; k++) {
          const q = replaced(p, axis, reverse ? n - 1 - k : k)
          sum += at(input, x, q)
          magnitude += Math.abs(at(input, x, q))
          if (!(Math.abs(at(output, y, q) - sum) <= (integer ? 0 : 1e-6 * magnitude))) expect.fail(`y ${q.join()}: ${at(output, y, q)} instead of ${sum}`)
        }
      }
    },
  }
}
