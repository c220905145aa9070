/**
 * Memory planning: every workspace buffer gets an offset such that buffers alive at the same launch do not overlap.
 * Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288).
 */
import { at } from '../shape.ts'
import { accessesOf } from './plan.ts'
import type { Plan } from './plan.ts'

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

/** When a buffer is alive: from the launch that first touches it to the last. */
interface Span {
  readonly id: number
  readonly bytes: number
  readonly first: number
  readonly last: number
}

/** `hosted` leaves (numbers and host data) live in the workspace from the start of the run. */
export function planMemory(plan: Plan): MemoryPlan {
  const { buffers, graph } = plan
  const { reads, writes } = accessesOf(plan)
  const spans = buffers.flatMap(({ id, bytes, home }): Span[] => {
    const hosted = home.kind === 'leaf' && graph.leaves[home.index]?.kind !== 'buffer'
    const [read, written] = [at(reads, id), at(writes, id)]
    const used = read.length + written.length > 0
    if (bytes === 0 || !(hosted || (home.kind === 'workspace' && used))) return []
    const first = hosted ? -1 : Math.min(read[0] ?? Infinity, written[0] ?? Infinity)
    return [{ id, bytes: align(bytes), first, last: Math.max(read.at(-1) ?? -1, written.at(-1) ?? -1) }]
  })
  const placed = place(spans)
  const resultBytes = buffers.filter((b) => b.home.kind === 'result').reduce((n, b) => n + align(b.bytes), 0)
  return { ...placed, peakBytes: placed.workspaceBytes + resultBytes }
}

interface Placed extends Span {
  readonly from: number
}

/** Each span where it fits first, the largest first. */
function place(spans: readonly Span[]): Omit<MemoryPlan, 'peakBytes'> {
  const offsets = new Map<number, number>()
  /** By rising offset. */
  const done: Placed[] = []
  let workspaceBytes = 0
  for (const span of spans.toSorted((x, y) => y.bytes - x.bytes || x.first - y.first)) {
    const from = firstFit(span, done)
    done.splice(placeOf(from, done), 0, { ...span, from })
    offsets.set(span.id, from)
    workspaceBytes = Math.max(workspaceBytes, from + span.bytes)
  }
  return { offsets, workspaceBytes }
}

/** The least offset at which a span overlaps none that is alive with it. */
function firstFit({ bytes, first, last }: Span, done: readonly Placed[]): number {
  let offset = 0
  for (const other of done) {
    if (other.first > last || first > other.last) continue
    if (offset + bytes <= other.from) break
    offset = Math.max(offset, other.from + other.bytes)
  }
  return offset
}

/** How many lie below `offset`. */
function placeOf(offset: number, done: readonly Placed[]): number {
  let [low, high] = [0, done.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((done[middle]?.from ?? 0) < offset) low = middle + 1
    else high = middle
  }
  return low
}
