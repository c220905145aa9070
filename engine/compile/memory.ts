/**
 * Memory planning: every workspace buffer gets an offset such that buffers alive at the same launch do not overlap.
 * Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288).
 */
import { at } from '../shape.ts'
import { readsOf, writesOf } from './plan.ts'
import type { Plan, PlanBuffer } from './plan.ts'

/** Bytes; also the granularity of device allocations, and wide enough for any vector. */
const alignment = 256

export const align = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

export interface MemoryPlan {
  /** Byte offset in the workspace of each buffer that lives there. */
  readonly offsets: ReadonlyMap<number, number>
  readonly workspaceBytes: number
  /** The most that is alive at one launch, results and copied-in leaves included; the workspace is at least this. */
  readonly peakBytes: number
}

interface Span {
  readonly buffer: PlanBuffer
  first: number
  last: number
}

/** `hosted` leaves (numbers and host data) live in the workspace from the start of the run. */
export function planMemory({ buffers, launches, graph }: Plan): MemoryPlan {
  const spans = new Map<number, Span>()
  for (const buffer of buffers) {
    const hosted = buffer.home.kind === 'leaf' && graph.leaves[buffer.home.index]?.kind !== 'buffer'
    if (hosted) spans.set(buffer.id, { buffer, first: -1, last: -1 })
  }
  launches.forEach((launch, i) => {
    for (const { buffer: id } of [...writesOf(launch), ...readsOf(launch)]) {
      const buffer = at(buffers, id)
      const span = spans.get(id)
      if (span !== undefined) span.last = i
      else if (buffer.home.kind === 'workspace') spans.set(id, { buffer, first: i, last: i })
    }
  })
  const placed = place([...spans.values()].filter(({ buffer }) => buffer.bytes > 0))
  const resultBytes = buffers.filter((b) => b.home.kind === 'result').reduce((n, b) => n + align(b.bytes), 0)
  return { ...placed, peakBytes: placed.workspaceBytes + resultBytes }
}

function place(spans: readonly Span[]): Omit<MemoryPlan, 'peakBytes'> {
  const offsets = new Map<number, number>()
  const done: Span[] = []
  let workspaceBytes = 0
  for (const span of spans.toSorted((x, y) => y.buffer.bytes - x.buffer.bytes || x.first - y.first)) {
    const neighbours = done
      .filter((d) => d.first <= span.last && span.first <= d.last)
      .map((d) => ({ from: offsets.get(d.buffer.id) ?? 0, bytes: align(d.buffer.bytes) }))
      .sort((x, y) => x.from - y.from)
    let offset = 0
    for (const n of neighbours) {
      if (offset + align(span.buffer.bytes) <= n.from) break
      offset = Math.max(offset, n.from + n.bytes)
    }
    offsets.set(span.buffer.id, offset)
    done.push(span)
    workspaceBytes = Math.max(workspaceBytes, offset + align(span.buffer.bytes))
  }
  return { offsets, workspaceBytes }
}
