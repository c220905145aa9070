/** A backend that fails on demand, around a real one: for tests of what is left after a failure. */
import type { LoweredGraph } from '../engine/compile/lower.ts'
import type { Backend, Bindings, MemoryBlock, DeviceKind, Executable, Homecoming } from '../engine/device/backend.ts'
import { Device } from '../engine/device/device.ts'
import type { DType, TypedArray } from '../engine/dtype.ts'
import type { Spec } from '../engine/graph.ts'
import type { Fused } from '../engine/op.ts'

export class FaultyBackend implements Backend {
  readonly kind: DeviceKind
  readonly description: string
  readonly fingerprint: string
  readonly dtypes: ReadonlySet<DType>
  readonly memoryLimit: number
  /** While true, there is no memory left. */
  full = false
  /** Why the next run fails, if it does. */
  failure: Error | undefined
  /** Why the next run fails once it has written, if it does. */
  late: Error | undefined
  /** Why the next graph does not compile, if it does not. */
  uncompilable: Error | undefined
  private readonly inner: Backend

  constructor(inner: Backend) {
    this.inner = inner
    this.kind = inner.kind
    this.description = inner.description
    this.fingerprint = inner.fingerprint
    this.dtypes = inner.dtypes
    this.memoryLimit = inner.memoryLimit
  }

  byteSize(dtype: DType): number {
    return this.inner.byteSize(dtype)
  }

  accepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean {
    return this.inner.accepts(op, inputs, attributes)
  }

  async compile(graph: LoweredGraph): Promise<Executable> {
    const { uncompilable } = this
    this.uncompilable = undefined
    if (uncompilable !== undefined) throw uncompilable
    return this.inner.compile(graph)
  }

  allocate(bytes: number): MemoryBlock | undefined {
    return this.full ? undefined : this.inner.allocate(bytes)
  }

  release(block: MemoryBlock): void {
    this.inner.release(block)
  }

  write(block: MemoryBlock, data: TypedArray, spec: Spec): void {
    this.inner.write(block, data, spec)
  }

  async read(block: MemoryBlock, spec: Spec): Promise<TypedArray> {
    return this.inner.read(block, spec)
  }

  async run(executable: Executable, bindings: Bindings, home: readonly Homecoming[]): Promise<readonly TypedArray[]> {
    const { failure } = this
    this.failure = undefined
    if (failure !== undefined) throw failure
    const values = await this.inner.run(executable, bindings, home)
    const { late } = this
    this.late = undefined
    if (late !== undefined) throw late
    return values
  }

  /** The real backend lives on. */
  async close(): Promise<void> {
    await Promise.resolve()
  }
}

export function faulty(device: Device): { device: Device; faults: FaultyBackend } {
  const faults = new FaultyBackend(device.backend)
  return { device: new Device(faults), faults }
}
