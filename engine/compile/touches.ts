/**
 * Who touched a stretch of memory last, besides one buffer: a segment tree over the stretches, whose nodes note touches
 * of all they span (`whole`), and of anything there (`any`). Launches come in order, so the latest note is the greatest.
 */

/** At each node, the last launch and its buffer, and the last of another buffer than that. */
class Notes {
  private readonly launches: Int32Array
  private readonly buffers: Int32Array
  private readonly before: Int32Array

  constructor(nodes: number) {
    this.launches = new Int32Array(nodes).fill(-1)
    this.buffers = new Int32Array(nodes).fill(-1)
    this.before = new Int32Array(nodes).fill(-1)
  }

  add(node: number, launch: number, buffer: number): void {
    if (this.buffers[node] !== buffer) this.before[node] = this.launches[node] ?? -1
    this.launches[node] = launch
    this.buffers[node] = buffer
  }

  last(node: number, besides: number): number {
    return (this.buffers[node] === besides ? this.before : this.launches)[node] ?? -1
  }
}

export class TouchTree {
  private readonly leaves: number
  private readonly whole: Notes
  private readonly any: Notes

  constructor(stretches: number) {
    this.leaves = 2 ** Math.ceil(Math.log2(Math.max(1, stretches)))
    this.whole = new Notes(2 * this.leaves)
    this.any = new Notes(2 * this.leaves)
  }

  /** Notes that a launch touches the stretches from `from` up to `to` through a buffer. */
  add(from: number, to: number, launch: number, buffer: number): void {
    this.cover(from, to, (node) => {
      this.whole.add(node, launch, buffer)
      this.any.add(node, launch, buffer)
    })
    this.climb(from, to, (node) => this.any.add(node, launch, buffer))
  }

  /** The last launch that touched any of the stretches through another buffer, or -1. */
  last(from: number, to: number, besides: number): number {
    let last = -1
    this.cover(from, to, (node) => (last = Math.max(last, this.any.last(node, besides))))
    this.climb(from, to, (node) => (last = Math.max(last, this.whole.last(node, besides))))
    return last
  }

  /** The fewest nodes that span just the stretches. */
  private cover(from: number, to: number, visit: (node: number) => void): void {
    for (let [left, right] = [from + this.leaves, to + this.leaves]; left < right; left >>= 1, right >>= 1) {
      if (left % 2 === 1) visit(left++)
      if (right % 2 === 1) visit(--right)
    }
  }

  /** All nodes that span the first stretch, or the last. */
  private climb(from: number, to: number, visit: (node: number) => void): void {
    let [left, right] = [from + this.leaves, to - 1 + this.leaves]
    for (; left < right; left >>= 1, right >>= 1) {
      visit(left)
      visit(right)
    }
    for (; left >= 1; left >>= 1) visit(left)
  }
}
