/** Dependences against the definition: for random plans, whatever launch touches what another writes waits for it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { areApart, dependences } from '../../engine/compile/dependence.ts'
import type { Load } from '../../engine/compile/fragment.ts'
import type { MapLaunch, Plan } from '../../engine/compile/plan.ts'
import type { View } from '../../engine/compile/view.ts'
import { contiguousStrides, sizeOf } from '../../engine/shape.ts'

/** Positions in the buffer of a view's elements. */
function elements({ shape, strides, offset }: View): Set<number> {
  const rows = contiguousStrides(shape)
  return new Set(Array.from({ length: sizeOf(shape) }, (_, i) => shape.reduce((o, d, a) => o + (strides[a] ?? 0) * (Math.floor(i / (rows[a] ?? 1)) % d), offset)))
}

/** A part of a buffer of 4×6×5 elements that lie in some order of axes, or with some axis repeated. */
const extents: readonly number[] = [4, 6, 5]
const parts = fc.record({
  order: fc.constantFrom<number[]>([0, 1, 2], [2, 0, 1], [0, 2, 1]),
  ranges: fc.tuple(...extents.map((d) => fc.record({ from: fc.nat(d - 1), size: fc.integer({ min: 1, max: d }), step: fc.integer({ min: 1, max: 2 }) }))),
  repeated: fc.boolean(),
})
const views = parts.map(({ order, ranges, repeated }): View => {
  const packed = contiguousStrides(order.map((a) => extents[a] ?? 1))
  const whole = extents.map((_, a) => packed[order.indexOf(a)] ?? 1)
  const offset = ranges.reduce((o, { from }, a) => o + from * (whole[a] ?? 0), 0)
  const shape = ranges.map(({ from, size, step }, a) => Math.max(1, Math.min(size, Math.ceil(((extents[a] ?? 1) - from) / step))))
  return { shape: repeated ? [3, ...shape] : shape, strides: [...(repeated ? [0] : []), ...ranges.map(({ step }, a) => step * (whole[a] ?? 1))], offset, mask: undefined }
})

test('views that are said to be apart share no element', () => {
  let apart = 0
  fc.assert(fc.property(views, views, (x, y) => {
    if (!areApart(x, y)) return
    apart++
    expect([...elements(x)].filter((e) => elements(y).has(e))).toEqual([])
  }), { numRuns: 2000 })
  expect(apart).toBeGreaterThan(200)
})

test('the parts of a concatenation are apart, along any axis and in any order in memory', () => {
  for (const [order, strides] of [['rows', [30, 5, 1]], ['channels last', [30, 1, 6]]] as const) {
    for (const [axis, extent] of extents.entries()) {
      const part = (from: number, to: number): View => ({ shape: extents.map((d, a) => (a === axis ? to - from : d)), strides, offset: from * (strides[axis] ?? 0), mask: undefined })
      expect(areApart(part(0, 2), part(2, extent)), `${order}, axis ${axis}`).toBe(true)
      expect(areApart(part(0, 3), part(2, extent)), `${order}, axis ${axis}`).toBe(false)
    }
  }
})

const loads = fc.record({ buffer: fc.nat(6), view: views }).map(({ buffer, view }): Load => ({ id: 0, buffer, dtype: 'f32', view }))
const launches = fc.array(fc.record({ loads: fc.array(loads, { maxLength: 3 }), output: loads }), { maxLength: 12 })
const bytes = 4 * sizeOf(extents)
/** Buffers 0 and 1 are leaves, 2 is a result that overwrites the first; the others lie somewhere in the workspace. */
const offsets = fc.array(fc.nat(6).map((n) => n * 160), { minLength: 4, maxLength: 4 })

test('whoever touches what another writes waits for it, or for something later', () => {
  fc.assert(fc.property(launches, offsets, (list, places) => {
    const plan = {
      graph: { leaves: [], steps: [], valueCount: 0, results: [{ value: { id: 9, spec: { shape: extents, dtype: 'f32' } }, overwrites: 0 }] },
      buffers: Array.from({ length: 7 }, (_, id) => ({ id, dtype: 'f32', elements: bytes / 4, bytes, home: id < 2 ? { kind: 'leaf', index: id } : id === 2 ? { kind: 'result', index: 0 } : { kind: 'workspace' } })),
      launches: list.map((l): MapLaunch => ({ ...l, kind: 'map', expression: { op: 'const', type: 'f32', args: [], value: 0 }, label: { name: '', origin: undefined, path: '' } })),
    } satisfies Plan as Plan
    const memory = { offsets: new Map(places.map((place, i) => [i + 3, place])), workspaceBytes: 0, peakBytes: 0 }
    // The address of an element, all memory taken as one.
    const base = (buffer: number): number => (buffer > 2 ? 1e6 + (places[buffer - 3] ?? 0) / 4 : buffer === 1 ? 1e3 : 0)
    const touched = (of: readonly Load[]): Set<number> => new Set(of.flatMap((l) => [...elements(l.view)].map((e) => base(l.buffer) + e)))
    const waits = dependences(plan, memory)
    let complete = -1
    list.forEach((later, j) => {
      complete = Math.max(complete, waits[j] ?? -1)
      const [reads, writes] = [touched(later.loads), touched([later.output])]
      list.slice(0, j).forEach((earlier, i) => {
        const written = [...touched([earlier.output])]
        const conflict = written.some((e) => reads.has(e) || writes.has(e)) || [...touched(earlier.loads)].some((e) => writes.has(e))
        if (conflict) expect(complete).toBeGreaterThanOrEqual(i)
      })
      expect(complete).toBeLessThan(j)
    })
  }), { numRuns: 500 })
})
