/**
 * Where the buffers of a plan lie in a run: a list of addresses in the device's memory, which the threads read. It stays
 * from run to run, and seldom anything changes, so a run writes what has changed and reads no more than it must.
 */
import type { MemoryPlan } from '../../compile/memory.ts'
import type { Plan } from '../../compile/plan.ts'
import { at } from '../../shape.ts'
import type { Bindings } from '../backend.ts'
import { asCpu } from './allocator.ts'
import type { CpuBlock } from './allocator.ts'
import { copyIn } from './transfer.ts'

/** A block of i32 in memory that holds the addresses of the listed buffers. */
export interface PointerBlock {
  readonly block: CpuBlock
  readonly buffers: readonly number[]
}

export class Addresses {
  private readonly plan: Plan
  /** Buffer numbers, of each leaf and of each result, and of what lies in the workspace. */
  private readonly leaves: Int32Array
  private readonly results: Int32Array
  private readonly intermediates: Int32Array
  /** Of each buffer in the workspace, in bytes. */
  private readonly offsets: Float64Array
  private readonly block: CpuBlock
  private readonly pointers: readonly PointerBlock[]
  /** Where they lay in the last run. */
  private workspace = -1
  private scratch = -1

  /** `block` has room for the address of each buffer, then of each thread's scratch memory. */
  constructor(plan: Plan, memory: MemoryPlan, block: CpuBlock, pointers: readonly PointerBlock[]) {
    this.plan = plan
    this.block = block
    this.pointers = pointers
    this.leaves = new Int32Array(plan.graph.leaves.length)
    this.results = new Int32Array(plan.graph.results.length)
    const intermediates: number[] = []
    for (const { id, home } of plan.buffers) {
      if (home.kind === 'leaf') this.leaves[home.index] = id
      else if (home.kind === 'result') this.results[home.index] = id
      else intermediates.push(id)
    }
    this.intermediates = Int32Array.from(intermediates)
    this.offsets = Float64Array.from(plan.buffers, ({ id }) => memory.offsets.get(id) ?? 0)
  }

  /** For one run; what the host gives is copied into the workspace. */
  write(memory: WebAssembly.Memory, { leaves, results }: Bindings, workspace: number, scratch: readonly number[]): void {
    const { plan: { buffers }, offsets } = this
    const list = new Uint32Array(memory.buffer, this.block.address, buffers.length + scratch.length)
    let changed = this.workspace !== workspace || this.scratch !== scratch[0]
    if (changed) {
      for (const id of this.intermediates) list[id] = workspace + at(offsets, id)
      list.set(scratch, buffers.length)
      this.workspace = workspace
      this.scratch = scratch[0] ?? 0
    }
    const place = (id: number, address: number): void => {
      if (list[id] === address) return
      list[id] = address
      changed = true
    }
    for (let i = 0; i < leaves.length; i++) {
      const [id, leaf] = [at(this.leaves, i), at(leaves, i)]
      if (typeof leaf === 'object' && !ArrayBuffer.isView(leaf)) place(id, asCpu(leaf).address)
      else {
        const address = workspace + at(offsets, id)
        place(id, address)
        copyIn(memory, address, typeof leaf === 'number' ? [leaf] : leaf, at(buffers, id).dtype)
      }
    }
    for (let i = 0; i < results.length; i++) place(at(this.results, i), asCpu(at(results, i)).address)
    if (!changed) return
    for (const { block, buffers: listed } of this.pointers) new Uint32Array(memory.buffer, block.address, listed.length).set(listed.map((id) => at(list, id)))
  }
}
