/**
 * Arenas: tensors that one launch updates together lie side by side in one buffer, so that an optimiser's step is one dispatch
 * however many parameters there are. Parameters, gradients, moments and averages have an arena each, in which a tensor has the
 * same place. Variables move there in the first run, and stay; gradients are written there.
 */
import type { Load } from '../../compile/fragment.ts'
import type { OpLaunch, Plan } from '../../compile/plan.ts'
import { at, sizeOf } from '../../shape.ts'
import { align } from './alignment.ts'
import { bufferBytes } from './transfer.ts'

/** Tensors side by side, by the plan's buffers. */
export interface Arena {
  /** Undefined for the copy of one that lies before it, here or in an earlier arena. */
  readonly members: readonly (number | undefined)[]
  /** Of each member, in bytes. */
  readonly offsets: readonly number[]
  readonly bytes: number
  /** Gradients live in the workspace; all else where variables do. */
  readonly workspace: boolean
}

/** The arenas of one part of an optimiser's step: parameters, gradients, moments, averages. */
export interface Segment {
  /** By their place in the plan's list. */
  readonly arenas: readonly number[]
  readonly elements: number
  /** A gradient that several parameters have in common is written once, then copied. */
  readonly copies: readonly Copy[]
}

/** Within an arena or from one to another; places count elements. */
export interface Copy {
  readonly from: { readonly arena: number; readonly first: number }
  readonly to: { readonly arena: number; readonly first: number }
  readonly elements: number
}

export interface ArenaPlan {
  readonly arenas: readonly Arena[]
  /** By the launch that updates them. */
  readonly segments: ReadonlyMap<OpLaunch, readonly Segment[]>
}

/** `most`: the largest binding, in bytes. `same`: for each buffer, the one whose memory it shares. */
export function planArenas(plan: Plan, same: readonly number[], most: number): ArenaPlan {
  const arenas: Arena[] = []
  const segments = new Map<OpLaunch, readonly Segment[]>()
  const taken = new Set<number>()
  for (const launch of plan.launches) {
    if (launch.kind !== 'op') continue
    const lists = listsOf(launch, same)
    const [parameters] = lists
    const all = lists.flatMap(({ ids }) => ids)
    const state = lists.flatMap(({ ids, updated }) => (updated ? ids : []))
    const inPlace = launch.outputs.every(({ buffer }) => same[buffer] !== buffer)
    if (parameters === undefined || !inPlace || !lists.every((list) => fits(list, plan)) || new Set(state).size < state.length || all.some((id) => taken.has(id))) continue
    for (const id of all) taken.add(id)
    const homes = new Map<number, Copy['from']>()
    segments.set(launch, cut(parameters.ids.map((id) => bufferBytes('f32', at(plan.buffers, id).elements)), most).map(({ from, to, offsets, bytes }) => {
      const copies: Copy[] = []
      const place = ({ ids, updated }: List): number => {
        const arena = arenas.length
        const members = ids.slice(from, to).map((id, i) => {
          const [here, home] = [{ arena, first: at(offsets, i) / 4 }, homes.get(id)]
          if (home === undefined) homes.set(id, here)
          else copies.push({ from: home, to: here, elements: at(plan.buffers, id).elements })
          return home === undefined ? id : undefined
        })
        return arenas.push({ members, offsets, bytes, workspace: !updated }) - 1
      }
      return { elements: bytes / 4, arenas: lists.map(place), copies }
    }))
  }
  return { arenas, segments }
}

interface List {
  readonly tensors: readonly Load[]
  /** By the plan's buffers. */
  readonly ids: readonly number[]
  /** With new values in the outputs; the others are only read. */
  readonly updated: boolean
}

/** The lists of an op that updates some; none of any other op. */
function listsOf({ inputs, step: { op, attributes } }: OpLaunch, same: readonly number[]): List[] {
  const { first, count, updated } = (op.kind === 'fused' ? op.lists?.(attributes) : undefined) ?? { first: 0, count: 0, updated: [] }
  return updated.map((changes, k) => {
    const tensors = inputs.slice(first + k * count, first + (k + 1) * count)
    return { tensors, ids: tensors.map(({ buffer }) => same[buffer] ?? buffer), updated: changes }
  })
}

/** Variables, or in the workspace what is read as the whole of its buffer. */
function fits({ tensors, ids, updated }: List, { buffers, graph }: Plan): boolean {
  return ids.every((id, i) => {
    const { home, elements } = at(buffers, id)
    const { offset, shape } = at(tensors, i).view
    return updated ? home.kind === 'leaf' && graph.leaves[home.index]?.kind === 'buffer' : home.kind === 'workspace' && offset === 0 && sizeOf(shape) === elements
  })
}

/** Parts of a list that fit a binding each, and where their members begin. */
function cut(sizes: readonly number[], most: number): { readonly from: number; readonly to: number; readonly offsets: readonly number[]; readonly bytes: number }[] {
  const parts: { from: number; to: number; offsets: number[]; bytes: number }[] = []
  sizes.forEach((size, i) => {
    const bytes = align(size)
    const last = parts.at(-1)
    if (last === undefined || last.bytes + bytes > most) parts.push({ from: i, to: i + 1, offsets: [0], bytes })
    else {
      last.offsets.push(last.bytes)
      last.to = i + 1
      last.bytes += bytes
    }
  })
  return parts
}
