/**
 * Which launches must be complete before another may start: those that write memory it touches, or touch memory it
 * writes. A pure function of the plan and of where its buffers lie; memory that several buffers take in turn counts too.
 */
import { at } from '../shape.ts'
import type { Load } from './fragment.ts'
import type { MemoryPlan } from './memory.ts'
import { readsOf, writesOf } from './plan.ts'
import type { Plan, PlanBuffer } from './plan.ts'
import type { View } from './view.ts'

/** Bytes that a launch touches: of the workspace, or of the memory of a leaf or a result. */
interface Touch {
  readonly space: number
  readonly from: number
  readonly to: number
  readonly load: Load
}

interface Touches {
  readonly reads: readonly Touch[]
  readonly writes: readonly Touch[]
}

/**
 * For each launch, the last of those before it that it must wait for: that one and all before it must be complete.
 * -1 where launches before it have waited for everything already.
 */
export function dependences(plan: Plan, memory: MemoryPlan): number[] {
  const touches = plan.launches.map((launch): Touches => ({
    reads: readsOf(launch).map((load) => touch(load, plan, memory)),
    writes: writesOf(launch).map((load) => touch(load, plan, memory)),
  }))
  let complete = -1
  return touches.map((later, j) => {
    let i = j - 1
    while (i > complete && !dependent(later, at(touches, i))) i--
    if (i === complete) return -1
    complete = i
    return i
  })
}

function touch(load: Load, { buffers, graph }: Plan, { offsets }: MemoryPlan): Touch {
  const { id, bytes, home } = at(buffers, load.buffer)
  const offset = offsets.get(id)
  if (offset !== undefined) return { space: workspace, from: offset, to: offset + bytes, load }
  return { space: spaceOf(id, home, graph), from: 0, to: bytes, load }
}

const workspace = -1

/** Leaves are the first buffers, and a result that overwrites one lies where it does. */
function spaceOf(id: number, home: PlanBuffer['home'], { results }: Plan['graph']): number {
  return (home.kind === 'result' ? at(results, home.index).overwrites : undefined) ?? id
}

function dependent(later: Touches, earlier: Touches): boolean {
  return meet(later.reads, earlier.writes) || meet(later.writes, earlier.writes) || meet(later.writes, earlier.reads)
}

function meet(xs: readonly Touch[], ys: readonly Touch[]): boolean {
  for (const x of xs) {
    for (const y of ys) {
      if (x.space !== y.space || x.to <= y.from || y.to <= x.from) continue
      if (x.load.buffer !== y.load.buffer || !areApart(x.load.view, y.load.view)) return true
    }
  }
  return false
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
