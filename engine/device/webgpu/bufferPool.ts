/**
 * GPU memory: blocks cut to size classes and used again, since creating a buffer costs a page fault or a clear for each of its
 * pages, and commands in a queue run in order. Of the free ones the oldest is taken, so that runs that repeat find the same.
 */
import { DeviceError } from '../../error.ts'
import { at } from '../../shape.ts'
import type { MemoryBlock } from '../backend.ts'
import { usage } from './flags.ts'

/** A buffer that blocks share, side by side. It is free again when none is left. */
export interface SharedBuffer {
  blocks: number
}

/** Where the bytes of a tensor lie: in a buffer of their own, or in an arena. */
export class GpuBlock implements MemoryBlock {
  readonly bytes: number
  buffer: GPUBuffer
  offset = 0
  shared: SharedBuffer | undefined

  constructor(buffer: GPUBuffer, bytes: number) {
    this.buffer = buffer
    this.bytes = bytes
  }
}

/** Blocks on their way to one buffer. */
export interface Move {
  readonly blocks: readonly GpuBlock[]
  readonly offsets: readonly number[]
  readonly buffer: GPUBuffer
}

export function asGpu(block: MemoryBlock): GpuBlock {
  if (!(block instanceof GpuBlock)) throw new DeviceError('webgpu: this memory belongs to another device')
  return block
}

const least = 256

/** Sizes that buffers have: powers of two and seven steps between them, so that at most an eighth is wasted. */
export function classOf(bytes: number): number {
  if (bytes <= least) return least
  const step = Math.max(least, 2 ** (Math.floor(Math.log2(bytes)) - 3))
  return Math.ceil(bytes / step) * step
}

export class BufferPool {
  private readonly device: GPUDevice
  /** By size, the oldest last. */
  private readonly free = new Map<number, GPUBuffer[]>()
  private readonly ages = new WeakMap<GPUBuffer, number>()
  /** Buffers created, for good. */
  created = 0
  /** Bytes of all buffers, free ones included. */
  bytes = 0
  /** What became of buffers made since `settle` was last asked: why there was no memory, or undefined. */
  private pending: Promise<string | undefined>[] = []
  /** Buffers that got no memory; they stay so. */
  private readonly failed = new WeakSet<GPUBuffer>()

  constructor(device: GPUDevice) {
    this.device = device
  }

  /** A buffer of at least `bytes` bytes. What it holds is arbitrary. */
  take(bytes: number): GPUBuffer {
    const size = classOf(bytes)
    return this.free.get(size)?.pop() ?? this.create(size)
  }

  give(buffer: GPUBuffer): void {
    if (this.failed.has(buffer)) return this.destroy(buffer)
    const known = this.free.get(buffer.size) ?? []
    this.free.set(buffer.size, known)
    const younger = known.findLastIndex((other) => this.ageOf(other) > this.ageOf(buffer))
    known.splice(younger + 1, 0, buffer)
  }

  private ageOf(buffer: GPUBuffer): number {
    return this.ages.get(buffer) ?? 0
  }

  release(block: GpuBlock): void {
    if (block.shared === undefined || --block.shared.blocks === 0) this.give(block.buffer)
  }

  /** Takes a buffer of `bytes` bytes for blocks to lie in, at `offsets`; undefined if they lie so already, in none of the buffers `apart`. */
  reserve(blocks: readonly GpuBlock[], offsets: readonly number[], bytes: number, apart: ReadonlySet<GPUBuffer>): Move | undefined {
    const [first] = blocks
    if (first === undefined || (!apart.has(first.buffer) && blocks.every((b, i) => b.buffer === first.buffer && b.offset - first.offset === offsets[i]))) return undefined
    return { blocks, offsets, buffer: this.take(bytes) }
  }

  /** Moves blocks to where room was reserved. The copies are recorded first of all. */
  move(encoder: GPUCommandEncoder, { blocks, offsets, buffer }: Move): void {
    const shared: SharedBuffer = { blocks: blocks.length }
    blocks.forEach((block, i) => {
      const offset = at(offsets, i)
      if (block.bytes > 0) encoder.copyBufferToBuffer(block.buffer, block.offset, buffer, offset, Math.ceil(block.bytes / 4) * 4)
      this.release(block) // Whoever takes it next writes it after the copy.
      Object.assign(block, { buffer, offset, shared })
    })
  }

  /** Gives the memory of free buffers back to the system. */
  trim(): void {
    for (const buffer of [...this.free.values()].flat()) this.destroy(buffer)
    this.free.clear()
  }

  private destroy(buffer: GPUBuffer): void {
    this.bytes -= buffer.size
    buffer.destroy()
  }

  private create(size: number): GPUBuffer {
    const { limits: { maxBufferSize } } = this.device
    if (size > maxBufferSize) throw new DeviceError(`webgpu: ${size} bytes are wanted in one piece, but the largest buffer of this adapter has ${maxBufferSize}; use a smaller batch, or split the tensor`)
    this.created++
    this.bytes += size
    this.device.pushErrorScope('out-of-memory')
    const buffer = this.device.createBuffer({ size, usage: usage.storage | usage.copySource | usage.copyTarget })
    this.ages.set(buffer, this.created)
    const inAll = this.bytes
    this.pending.push(this.device.popErrorScope().then((error) => {
      if (error === null) return undefined
      this.failed.add(buffer)
      return shortage(size, inAll - size, error)
    }))
    return buffer
  }

  /** Whether buffers were made of which it is not known yet if there was memory for them. */
  get unsettled(): boolean {
    return this.pending.length > 0
  }

  /** Throws DeviceError if a new buffer got no memory. A device says so only some time after it was asked. */
  async settle(): Promise<void> {
    const pending = this.pending
    this.pending = []
    const failures = (await Promise.all(pending)).filter((why) => why !== undefined)
    if (failures.length > 0) throw outOfMemory(failures)
  }
}

export const shortage = (bytes: number, inUse: number, { message }: GPUError): string => `${bytes} bytes more than the ${inUse} in use are not to be had (${message})`

export const outOfMemory = (shortages: readonly string[]): DeviceError => new DeviceError(`out of memory on webgpu: ${shortages.join('; ')}; use a smaller batch, dispose of tensors you keep, or recompute`)
