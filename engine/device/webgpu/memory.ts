/** Where each buffer of a plan lies on the GPU: in a slot of the workspace, in the upload of the run, or where a leaf or result is. */
import type { WgslKernel } from '../../../kernels/wgsl/core/kernel.ts'
import { accessesOf } from '../../compile/plan.ts'
import type { Plan } from '../../compile/plan.ts'
import { at } from '../../shape.ts'
import type { Call } from '../rules/table.ts'
import { align } from './alignment.ts'
import type { ArenaPlan } from './arenas.ts'
import { classOf } from './bufferPool.ts'
import { planSlots } from './slots.ts'
import type { Span } from './slots.ts'
import { bufferBytes } from './transfer.ts'

export type Place = { readonly bytes: number } & (
  | { readonly kind: 'slot'; readonly slot: number; readonly offset: number }
  | { readonly kind: 'hosted'; readonly leaf: number; readonly offset: number }
  | { readonly kind: 'leaf' | 'result'; readonly index: number }
  /** An arena of variables, by its first member. */
  | { readonly kind: 'arena'; readonly member: number }
  | { readonly kind: 'table'; readonly offset: number }
  /** Nothing touches it. */
  | { readonly kind: 'none' }
)

export interface PlanMemory {
  /** Of the plan's buffers, of the arenas, then of the temporaries and tables of each launch, in order. */
  readonly places: readonly Place[]
  readonly slotSizes: readonly number[]
  readonly hostedBytes: number
  readonly tableBytes: number
  readonly workspaceBytes: number
  readonly peakBytes: number
}

export function placeBuffers(plan: Plan, calls: readonly Call<WgslKernel>[], { arenas }: ArenaPlan): PlanMemory {
  const { reads, writes } = accessesOf(plan)
  const spans: Span[] = []
  let [hostedBytes, tableBytes, resultBytes] = [0, 0, 0]
  const spanOf = (bytes: number, ids: readonly (number | undefined)[], users: readonly number[] = []): Span => {
    const touched = [...users, ...ids.flatMap((id) => id === undefined ? [] : [...at(reads, id), ...at(writes, id)])]
    return touched.reduce((span, launch) => ({ bytes, first: Math.min(span.first, launch), last: Math.max(span.last, launch) }), { bytes, first: Infinity, last: -Infinity })
  }
  const slot = (span: Span): Place => ({ kind: 'slot', slot: spans.push(span) - 1, offset: 0, bytes: span.bytes })
  // One that holds nothing but copies is touched by the update alone, which makes them.
  const updates = arenas.map((_, a) => [...calls.keys()].filter((launch) => at(calls, launch).buffers.includes(plan.buffers.length + a)))
  const arenaPlaces = arenas.map(({ members, bytes, workspace }, a): Place => (workspace ? slot(spanOf(bytes, members, at(updates, a))) : { kind: 'arena', member: members[0] ?? 0, bytes }))
  const within = new Map(arenas.flatMap(({ members, offsets, workspace }, a) => (workspace ? members.flatMap((id, i) => (id === undefined ? [] : [[id, { arena: a, offset: at(offsets, i) }] as const])) : [])))
  const bufferPlaces = plan.buffers.map(({ id, dtype, elements, home }): Place => {
    const bytes = bufferBytes(dtype, elements)
    if (home.kind === 'result') resultBytes += classOf(bytes)
    if (home.kind === 'leaf' && plan.graph.leaves[home.index]?.kind !== 'buffer') {
      const offset = hostedBytes
      hostedBytes += align(bytes)
      return { kind: 'hosted', leaf: home.index, offset, bytes }
    }
    if (home.kind !== 'workspace') return { ...home, bytes }
    const member = within.get(id)
    if (member !== undefined) return { ...at(arenaPlaces, member.arena), bytes, offset: member.offset } as Place
    return at(reads, id).length + at(writes, id).length === 0 ? { kind: 'none', bytes } : slot(spanOf(bytes, [id]))
  })
  const own = calls.flatMap(({ kernel: { temporaries = [], tables = [] } }, launch) => [
    ...temporaries.map((bytes) => slot({ bytes, first: launch, last: launch })),
    ...tables.map(({ byteLength }): Place => {
      const offset = tableBytes
      tableBytes += align(byteLength)
      return { kind: 'table', offset, bytes: byteLength }
    }),
  ])
  const planned = planSlots(spans)
  const placed = [...bufferPlaces, ...arenaPlaces, ...own].map((p) => (p.kind === 'slot' ? { ...p, slot: at(planned.slots, p.slot) } : p))
  const workspaceBytes = planned.sizes.reduce((sum, size) => sum + size, 0)
  return { places: placed, slotSizes: planned.sizes, hostedBytes, tableBytes, workspaceBytes, peakBytes: workspaceBytes + hostedBytes + resultBytes }
}
