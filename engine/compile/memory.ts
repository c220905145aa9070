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
  let shelves = [new Shelf([])]
  const mostSpans = 2 * Math.ceil(Math.sqrt(spans.length)) // As many as there are shelves.
  let workspaceBytes = 0
  for (const span of spans.toSorted((x, y) => y.bytes - x.bytes || x.first - y.first)) {
    const from = firstFit(span, shelves)
    const index = Math.max(0, shelves.findLastIndex((shelf) => shelf.from < from))
    const shelf = at(shelves, index)
    shelf.add({ ...span, from })
    if (shelf.spans.length > mostSpans) shelves = shelves.toSpliced(index, 1, ...shelf.halves())
    offsets.set(span.id, from)
    workspaceBytes = Math.max(workspaceBytes, from + span.bytes)
  }
  return { offsets, workspaceBytes }
}

/** The least offset at which a span overlaps none that is alive with it. */
function firstFit(span: Span, shelves: readonly Shelf[]): number {
  const { bytes, first, last } = span
  let offset = 0
  for (const shelf of shelves) {
    if (shelf.first > last || first > shelf.last) continue
    if (shelf.isAlive(span) && offset + bytes > shelf.from && bytes > shelf.gap) {
      offset = Math.max(offset, shelf.to)
      continue
    }
    for (const other of shelf.spans) {
      if (other.first > last || first > other.last) continue
      if (offset + bytes <= other.from) return offset
      offset = Math.max(offset, other.from + other.bytes)
    }
  }
  return offset
}

/** Spans next to each other, by rising offset, with what it takes to pass over all of them at once. */
class Shelf {
  readonly spans: Placed[]
  from = Infinity
  to = Infinity
  /** The most bytes that are free between two of them. */
  gap = 0
  /** When the first begins and the last ends; and when all have begun and none has ended. */
  first = Infinity
  last = -Infinity
  private begun = -Infinity
  private ended = Infinity

  constructor(spans: Placed[]) {
    this.spans = spans
    this.measure()
  }

  private measure(): void {
    this.from = this.spans[0]?.from ?? Infinity
    this.to = this.from
    this.gap = 0
    for (const { from, bytes, first, last } of this.spans) {
      this.gap = Math.max(this.gap, from - this.to)
      this.to = Math.max(this.to, from + bytes)
      this.first = Math.min(this.first, first)
      this.last = Math.max(this.last, last)
      this.begun = Math.max(this.begun, first)
      this.ended = Math.min(this.ended, last)
    }
  }

  /** Whether all of them are alive with the span. */
  isAlive({ first, last }: Span): boolean {
    return this.begun <= last && first <= this.ended
  }

  add(span: Placed): void {
    const index = this.spans.findIndex(({ from }) => from >= span.from)
    this.spans.splice(index < 0 ? this.spans.length : index, 0, span)
    this.measure()
  }

  halves(): readonly Shelf[] {
    const middle = this.spans.length >> 1
    return [new Shelf(this.spans.slice(0, middle)), new Shelf(this.spans.slice(middle))]
  }
}
