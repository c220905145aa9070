/**
 * Memory planning in slots, each a buffer of its own: a dispatch may not read and write one buffer, and devices let
 * dispatches overlap only if they share none that is written. Values whose lives do not meet take turns in a slot. All plans of a
 * device use the same slots, since they run one after another.
 */
import { at } from '../../shape.ts'
import { classOf } from './bufferPool.ts'

/** From the launch that first writes it to the last that touches it. */
export interface Span {
  readonly bytes: number
  readonly first: number
  readonly last: number
}

export interface SlotPlan {
  /** For each span, its slot. */
  readonly slots: readonly number[]
  /** Bytes of each slot. */
  readonly sizes: readonly number[]
}

/** A value may lie in a slot this many times as large as it is. */
const looseness = 2

/** In the order in which lives begin, each takes the smallest free slot that is neither too small nor much too large. */
export function planSlots(spans: readonly Span[]): SlotPlan {
  const sizes: number[] = []
  const busyUntil: number[] = []
  const slots = new Array<number>(spans.length).fill(-1)
  const order = [...spans.keys()].sort((x, y) => at(spans, x).first - at(spans, y).first || at(spans, y).bytes - at(spans, x).bytes)
  for (const id of order) {
    const { bytes, first, last } = at(spans, id)
    const size = classOf(bytes)
    let best = -1
    sizes.forEach((s, slot) => {
      if (at(busyUntil, slot) < first && s >= size && s <= looseness * size && (best < 0 || s < at(sizes, best))) best = slot
    })
    if (best < 0) {
      best = sizes.length
      sizes.push(size)
      busyUntil.push(-1)
    }
    busyUntil[best] = last
    slots[id] = best
  }
  return { slots, sizes }
}
