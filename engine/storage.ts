/** The device memory behind a realised tensor or a variable, and the run that fills it. */
import type { MemoryBlock } from './device/backend.ts'
import type { Device } from './device/device.ts'
import type { TypedArray } from './dtype.ts'
import type { Spec } from './graph.ts'
import type { Run } from './run.ts'
import { sizeOf } from './shape.ts'

/** Outputs up to this many bytes come back with the run and live on the host: a kept loss costs no device memory. */
const hostBytes = 1024

export class Storage {
  readonly device: Device
  readonly spec: Spec
  readonly bytes: number
  /** What made it, for messages about memory. */
  readonly label: string
  block: MemoryBlock | undefined
  /** The values, where they live on the host. */
  host: TypedArray | undefined
  /** The run that fills it, until that run has succeeded. */
  producer: Run | undefined
  disposed = false
  private pins = 0

  constructor(device: Device, spec: Spec, label: string) {
    this.device = device
    this.spec = spec
    this.label = label
    this.bytes = sizeOf(spec.shape) * device.backend.byteSize(spec.dtype)
  }

  /** Whether the values will live on the host once computed. */
  get small(): boolean {
    return this.bytes <= hostBytes
  }

  /** A queued run reads it: its memory stays until `unpin`. */
  pin(): void {
    this.pins++
  }

  unpin(): void {
    this.pins--
    this.releaseIfUnused()
  }

  dispose(): void {
    if (this.disposed) return
    this.disposed = true
    this.releaseIfUnused()
  }

  private releaseIfUnused(): void {
    if (!this.disposed || this.pins > 0) return
    this.host = undefined
    if (this.block !== undefined) this.device.release(this)
  }
}
