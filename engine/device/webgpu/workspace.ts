/**
 * Buffers that all plans of a device use in turns, since they run one after another. Those of one plan are different, those of two
 * are the same where they have a size in common.
 */
import type { BufferPool } from './bufferPool.ts'

export class Workspace {
  /** Rises when its buffers are given up; those taken before must be taken anew. */
  age = 0
  private readonly pool: BufferPool
  private readonly bySize = new Map<number, GPUBuffer[]>()

  constructor(pool: BufferPool) {
    this.pool = pool
  }

  /** Buffers of these sizes, for one plan. */
  take(sizes: readonly number[]): readonly GPUBuffer[] {
    const used = new Map<number, number>()
    return sizes.map((size) => {
      const number = used.get(size) ?? 0
      used.set(size, number + 1)
      const known = this.bySize.get(size) ?? []
      this.bySize.set(size, known)
      return (known[number] ??= this.pool.take(size))
    })
  }

  /** Gives all buffers back to the pool. */
  release(): void {
    for (const buffer of [...this.bySize.values()].flat()) this.pool.give(buffer)
    this.bySize.clear()
    this.age++
  }
}
