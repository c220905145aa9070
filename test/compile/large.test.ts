/**
 * Plans of many small launches: dependences and places in memory are those of the plain definitions, which compare all
 * pairs, and the work of compiling grows with the launches, not with their pairs.
 */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { areApart, dependences } from '../../engine/compile/dependence.ts'
import type { Load } from '../../engine/compile/fragment.ts'
import { align, planMemory } from '../../engine/compile/memory.ts'
import type { MemoryPlan } from '../../engine/compile/memory.ts'
import { accessesOf, readsOf, writesOf } from '../../engine/compile/plan.ts'
import type { MapLaunch, Plan, PlanBuffer } from '../../engine/compile/plan.ts'
import { at } from '../../engine/shape.ts'

/** For each launch all before it, from the last back to one that everything has waited for. */
function dependencesByPairs(plan: Plan, memory: MemoryPlan): number[] {
  const touch = (load: Load): { space: number; from: number; to: number; load: Load } => {
    const { id, bytes, home } = at(plan.buffers, load.buffer)
    const offset = memory.offsets.get(id)
    if (offset !== undefined) return { space: -1, from: offset, to: offset + bytes, load }
    return { space: (home.kind === 'result' ? at(plan.graph.results, home.index).overwrites : undefined) ?? id, from: 0, to: bytes, load }
  }
  const meet = (xs: readonly Load[], ys: readonly Load[]): boolean => xs.map(touch).some((x) => ys.map(touch).some((y) =>
    x.space === y.space && x.to > y.from && y.to > x.from && (x.load.buffer !== y.load.buffer || !areApart(x.load.view, y.load.view))))
  let complete = -1
  return plan.launches.map((later, j) => {
    let i = j - 1
    const dependent = (earlier: Plan['launches'][number]): boolean =>
      meet(readsOf(later), writesOf(earlier)) || meet(writesOf(later), writesOf(earlier)) || meet(writesOf(later), readsOf(earlier))
    while (i > complete && !dependent(at(plan.launches, i))) i--
    if (i === complete) return -1
    complete = i
    return i
  })
}

/** Each buffer of the workspace at the least offset where it overlaps none that is placed and alive with it, the largest first. */
function offsetsByPairs(plan: Plan): Map<number, number> {
  const { reads, writes } = accessesOf(plan)
  const spans = plan.buffers.flatMap(({ id, bytes, home }) => {
    const hosted = home.kind === 'leaf' && plan.graph.leaves[home.index]?.kind !== 'buffer'
    const touched = [...at(reads, id), ...at(writes, id)]
    if (bytes === 0 || !(hosted || (home.kind === 'workspace' && touched.length > 0))) return []
    return [{ id, bytes: align(bytes), first: hosted ? -1 : Math.min(...touched), last: Math.max(-1, ...touched) }]
  })
  const placed: { from: number; to: number; first: number; last: number }[] = []
  return new Map(spans.toSorted((x, y) => y.bytes - x.bytes || x.first - y.first).map(({ id, bytes, first, last }) => {
    let from = 0
    for (const other of placed.toSorted((x, y) => x.from - y.from)) {
      if (other.first > last || first > other.last) continue
      if (from + bytes <= other.from) break
      from = Math.max(from, other.to)
    }
    placed.push({ from, to: from + bytes, first, last })
    return [id, from]
  }))
}

const elements = 12
/** A launch reads a few buffers, near those that it writes or anywhere, each whole or a part of it. */
const touches = fc.record({ far: fc.boolean(), buffer: fc.nat(999), from: fc.constantFrom(0, 0, 0, 4, 6), size: fc.constantFrom(4, 6, 12), step: fc.constantFrom(1, 1, 2) })
const launches = fc.array(fc.record({ reads: fc.array(touches, { maxLength: 4 }), writes: fc.array(touches, { minLength: 1, maxLength: 2 }) }), { minLength: 1, maxLength: 60 })
const homes = fc.array(fc.record({ kind: fc.constantFrom('leaf', 'hosted', 'result', 'workspace', 'workspace', 'workspace'), overwrites: fc.option(fc.nat(99)), bytes: fc.constantFrom(0, 48, 48, 300, 600, 1200, 5000) }), { minLength: 3, maxLength: 40 })

const plans = fc.tuple(homes, launches).map(([kinds, list]): Plan => {
  // As plans have them: leaves come first.
  const [leaves, others] = [kinds.filter(({ kind }) => kind === 'leaf' || kind === 'hosted'), kinds.filter(({ kind }) => kind === 'result' || kind === 'workspace')]
  const written = leaves.flatMap(({ kind }, i) => (kind === 'leaf' ? [i] : []))
  const value = (id: number) => ({ id, spec: { shape: [elements], dtype: 'f32' as const } })
  const results = others.filter(({ kind }) => kind === 'result').map(({ overwrites }, i) => ({ value: value(i), overwrites: overwrites === null ? undefined : written.splice(overwrites % Math.max(1, written.length), 1)[0] }))
  let count = 0
  const buffers = [...leaves, ...others].map(({ kind, bytes }, id): PlanBuffer => {
    const home = kind === 'workspace' ? { kind } as const : kind === 'result' ? { kind, index: count++ } as const : { kind: 'leaf', index: id } as const
    const leaf = leaves[(home.kind === 'result' ? results[home.index]?.overwrites : undefined) ?? -1]
    return { id, dtype: 'f32', elements: (leaf?.bytes ?? bytes) / 4, bytes: leaf?.bytes ?? bytes, home }
  })
  const load = (near: number, { far, buffer, from, size, step }: { far: boolean; buffer: number; from: number; size: number; step: number }): Load =>
    ({ id: 0, buffer: (far ? buffer : near + (buffer % 3)) % buffers.length, dtype: 'f32', view: { shape: [size], strides: [step], offset: from, mask: undefined } })
  return {
    graph: { leaves: leaves.map(({ kind }, i) => ({ value: value(i), kind: kind === 'leaf' ? 'buffer' : 'data' })), steps: [], results, valueCount: 0 },
    buffers,
    launches: list.flatMap(({ reads, writes }, i): MapLaunch[] => {
      const near = Math.floor((i * buffers.length) / list.length)
      return writes.map((w) => ({ kind: 'map', expression: { op: 'const', type: 'f32', args: [], value: 0 }, label: { name: 'map', origin: 0, path: '' }, loads: reads.map((r) => load(near, r)), output: load(near, w) }))
    }),
  }
})

test('launches wait for what they would by comparing all pairs, wherever buffers lie', () => {
  let waits = 0
  fc.assert(fc.property(plans, fc.array(fc.nat(40), { minLength: 40, maxLength: 40 }), (plan, places) => {
    const planned = planMemory(plan)
    // And where memory is shared by buffers that are alive together.
    const crowded = { ...planned, offsets: new Map([...planned.offsets.keys()].map((id) => [id, 100 * at(places, id % 40)])) }
    for (const memory of [planned, crowded]) {
      const expected = dependencesByPairs(plan, memory)
      expect(dependences(plan, memory)).toEqual(expected)
      waits += expected.filter((i) => i >= 0).length
    }
  }), { numRuns: 600 })
  expect(waits).toBeGreaterThan(1000)
})

test('buffers lie where they would by comparing all pairs', () => {
  fc.assert(fc.property(plans, (plan) => {
    expect([...planMemory(plan).offsets]).toEqual([...offsetsByPairs(plan)])
  }), { numRuns: 600 })
})

/** More buffers than are kept together. */
test.each([[1500, 3], [1500, 400], [2000, 5000]])('also where %i are, alive for up to %i launches', (count, longest) => {
  const random = (i: number, n: number): number => Math.abs(Math.trunc(1e6 * Math.sin(12.9898 * i + 78.233))) % n
  const buffers = Array.from({ length: count }, (_, id): PlanBuffer => ({ id, dtype: 'f32', elements: 1, bytes: 4 * (1 + random(id, 700)), home: id % 7 === 0 && id < 700 ? { kind: 'leaf', index: id } : { kind: 'workspace' } }))
  const leaves = buffers.map(({ id }) => ({ value: { id, spec: { shape: [1], dtype: 'f32' as const } }, kind: 'scalar' as const }))
  const load = (buffer: number): Load => ({ id: 0, buffer, dtype: 'f32', view: { shape: [1], strides: [1], offset: 0, mask: undefined } })
  const list = buffers.map(({ id }): MapLaunch => ({ kind: 'map', expression: { op: 'const', type: 'f32', args: [], value: 0 }, label: { name: 'map', origin: 0, path: '' }, output: load(id), loads: [0, 1].map((k) => load(Math.max(0, id - random(2 * id + k, longest)))) }))
  const plan: Plan = { graph: { leaves, steps: [], results: [], valueCount: 0 }, buffers, launches: list }
  const memory = planMemory(plan)
  expect([...memory.offsets]).toEqual([...offsetsByPairs(plan)])
  expect(dependences(plan, memory)).toEqual(dependencesByPairs(plan, memory))
})

test('compiling and running n outputs takes work in proportion to n', { timeout: 120_000 }, () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(import.meta.dirname, 'work.ts'), '300', '2400'], { encoding: 'utf8' })
  expect(stderr).toBe('')
  expect(status).toBe(0)
  const counts = JSON.parse(stdout) as Readonly<Record<string, readonly [number, number]>>
  expect(Object.keys(counts)).toHaveLength(4)
  for (const [name, [some, more]] of Object.entries(counts)) expect(more / some, `outputs ${name}: ${some} steps for 300, ${more} for 2400`).toBeLessThan(8 * 1.5)
})
