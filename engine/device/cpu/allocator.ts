/**
 * Best-fit allocation in one linear memory that grows: blocks are aligned, freed neighbours merge. What was freed is
 * handed out again before the memory grows: pages that nobody touched yet cost six times what a pass over others does.
 */
import { align } from '../../compile/memory.ts'
import { DeviceError } from '../../error.ts'
import type { MemoryBlock } from '../backend.ts'

export interface CpuBlock extends MemoryBlock {
  /** Byte address in the linear memory. */
  readonly address: number
}

/** Throws DeviceError for a block of another device. */
export function asCpu(block: MemoryBlock): CpuBlock {
  if (!('address' in block)) throw new DeviceError('cpu: this memory belongs to another device')
  return block as CpuBlock
}

const page = 65536

export class Allocator {
  private readonly memory: WebAssembly.Memory
  private readonly limit: number
  /** Free ranges by address, never adjacent. */
  private free: { address: number; bytes: number }[] = []
  private end: number

  /** Hands out addresses from `start` up to `limit` bytes. */
  constructor(memory: WebAssembly.Memory, start: number, limit: number) {
    this.memory = memory
    this.limit = limit
    this.end = align(start)
  }

  /** A block of at least `bytes` bytes, or undefined where the memory's limit is reached. */
  allocate(bytes: number): CpuBlock | undefined {
    const size = Math.max(align(bytes), align(1))
    const index = this.bestFit(size)
    const range = this.free[index]
    if (range === undefined) return this.extend(size)
    const { address } = range
    if (range.bytes === size) this.free.splice(index, 1)
    else this.free[index] = { address: address + size, bytes: range.bytes - size }
    return { address, bytes: size }
  }

  /** The smallest free range that is large enough, so that small blocks do not take a part of what a large one left. */
  private bestFit(size: number): number {
    let best = -1
    this.free.forEach(({ bytes }, i) => {
      if (bytes >= size && bytes < (this.free[best]?.bytes ?? Infinity)) best = i
    })
    return best
  }

  private extend(size: number): CpuBlock | undefined {
    const last = this.free.at(-1)
    const address = last !== undefined && last.address + last.bytes === this.end ? last.address : this.end
    if (address + size > this.limit || !this.grow(address + size)) return undefined
    if (address !== this.end) this.free.pop()
    this.end = address + size
    return { address, bytes: size }
  }

  private grow(end: number): boolean {
    const missing = Math.ceil(end / page) - this.memory.buffer.byteLength / page
    if (missing <= 0) return true
    try {
      this.memory.grow(missing)
      return true
    } catch {
      return false // The engine has no more to give; the caller names who holds what.
    }
  }

  release({ address, bytes }: CpuBlock): void {
    const index = this.free.findIndex((range) => range.address > address)
    const at = index < 0 ? this.free.length : index
    const before = this.free[at - 1]
    const after = this.free[at]
    const merged = { address, bytes }
    let from = at
    let removed = 0
    if (before !== undefined && before.address + before.bytes === address) {
      merged.address = before.address
      merged.bytes += before.bytes
      from--
      removed++
    }
    if (after !== undefined && address + bytes === after.address) {
      merged.bytes += after.bytes
      removed++
    }
    this.free.splice(from, removed, merged)
  }
}
