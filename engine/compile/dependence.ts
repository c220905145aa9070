/**
 * Which launches must be complete before another may start: those that write memory it touches, or touch memory it
 * writes. A pure function of the plan and of where its buffers lie; memory that several buffers take in turn counts too.
 */
import { at } from '../shape.ts'
import type { BufferId, Load } from './fragment.ts'
import type { MemoryPlan } from './memory.ts'
import { readsOf, writesOf } from './plan.ts'
import type { Plan } from './plan.ts'
import { TouchTree } from './touches.ts'
import type { View } from './view.ts'

/** What a buffer occupies, counted in the stretches between all places where one begins or ends; nothing, if it is empty. */
interface Extent {
  readonly from: number
  readonly to: number
}

/**
 * For each launch, the last of those before it that it must wait for: that one and all before it must be complete.
 * -1 where launches before it have waited for everything already.
 */
export function dependences(plan: Plan, memory: MemoryPlan): number[] {
  const extents = extentsOf(plan, memory)
  const [read, written] = [new History(extents), new History(extents)]
  let complete = -1
  return plan.launches.map((launch, j) => {
    const [reads, writes] = [readsOf(launch), writesOf(launch)]
    let last = complete
    for (const load of [...reads, ...writes]) last = written.last(load, last)
    for (const load of writes) last = read.last(load, last)
    for (const load of reads) read.add(load, j)
    for (const load of writes) written.add(load, j)
    if (last === complete) return -1
    complete = last
    return last
  })
}

/** The workspace, then the memory of every leaf and result, one behind the other. */
function extentsOf({ buffers, graph }: Plan, { offsets, workspaceBytes }: MemoryPlan): Extent[] {
  const starts: number[] = []
  let end = buffers.reduce((most, { id, bytes }) => Math.max(most, (offsets.get(id) ?? 0) + bytes), workspaceBytes)
  for (const { id, bytes, home } of buffers) {
    // Leaves are the first buffers, and a result that overwrites one lies where it does.
    const leaf = home.kind === 'result' ? at(graph.results, home.index).overwrites : undefined
    const start = offsets.get(id) ?? (leaf === undefined ? end : at(starts, leaf))
    starts.push(start)
    end = Math.max(end, start + bytes)
  }
  const bounds = [...new Set(buffers.flatMap(({ bytes }, i) => [at(starts, i), at(starts, i) + bytes]))].sort((x, y) => x - y)
  const numbers = new Map(bounds.map((bound, i) => [bound, i]))
  const numberOf = (bound: number): number => numbers.get(bound) ?? 0
  return buffers.map(({ bytes }, i) => ({ from: numberOf(at(starts, i)), to: numberOf(at(starts, i) + bytes) }))
}

/** The reads, or the writes, so far. */
class History {
  private readonly extents: readonly Extent[]
  private readonly own = new Map<BufferId, { readonly launch: number; readonly view: View }[]>()
  private readonly memory: TouchTree

  constructor(extents: readonly Extent[]) {
    this.extents = extents
    this.memory = new TouchTree(extents.reduce((most, { to }) => Math.max(most, to), 0))
  }

  add({ buffer, view }: Load, launch: number): void {
    const { from, to } = at(this.extents, buffer)
    if (from === to) return
    this.memory.add(from, to, launch, buffer)
    const own = this.own.get(buffer)
    if (own === undefined) this.own.set(buffer, [{ launch, view }])
    else own.push({ launch, view })
  }

  /** The last launch that touched what the load does, or `least` if that is later: through other buffers there, or elements of this one. */
  last({ buffer, view }: Load, least: number): number {
    const { from, to } = at(this.extents, buffer)
    if (from === to) return least
    const others = Math.max(least, this.memory.last(from, to, buffer))
    return Math.max(others, this.own.get(buffer)?.findLast((touch) => touch.launch <= others || !areApart(view, touch.view))?.launch ?? -1)
  }
}

/** Whether two views of one buffer have no element in common, as the parts of a concatenation have none. False where that is not easy to see. */
export function areApart(x: View, y: View): boolean {
  if (x.mask !== undefined || y.mask !== undefined) return false
  return [Infinity, ...x.strides.map(Math.abs)].some((period) => {
    const [a, b] = [residues(x, period), residues(y, period)]
    return a !== undefined && b !== undefined && (a[1] < b[0] || b[1] < a[0])
  })
}

/** Least and greatest position modulo `period`, if all positions between them and no others are within one period. */
function residues({ shape, strides, offset }: View, period: number): readonly [number, number] | undefined {
  if (period === 0) return undefined
  const from = period === Infinity ? offset : offset % period
  let to = from
  for (const [axis, stride] of strides.entries()) {
    if (stride < 0) return undefined
    if (stride % period !== 0 || stride < period) to += stride * (at(shape, axis) - 1)
  }
  return to < period ? [from, to] : undefined
}
