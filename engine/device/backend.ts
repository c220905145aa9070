/** What a device implements: memory, compilation of a lowered graph, and running it. Knows nothing of tensors or autograd. */
import type { LoweredGraph } from '../compile/lower.ts'
import type { DType, TypedArray } from '../dtype.ts'
import type { Spec } from '../graph.ts'
import type { Fused } from '../op.ts'

/** A piece of device memory. */
export interface Block {
  readonly bytes: number
}

/** A compiled graph, ready to run any number of times with other leaves. */
export interface Executable {
  /** Bytes in use at the worst moment of a run: inputs copied in, intermediates, outputs. Known before anything runs. */
  readonly peakBytes: number
  readonly launches: number
  /** Launches, shapes, bytes, FLOPs and the peak, as text. */
  describe(): string
  /** Takes the memory that a run needs besides its bindings. Throws DeviceError before anything is written if there is too little. */
  prepare?(): void | Promise<void>
  /** Frees what the plan owns, once nothing runs it. */
  dispose?(): void
}

/** What one run gives to the plan's leaves and results, in the lowered graph's order. */
export interface Bindings {
  readonly leaves: readonly (Block | TypedArray | number)[]
  readonly results: readonly Block[]
}

export type DeviceKind = 'webgpu' | 'cpu' | 'reference' | 'meta'

/** What a device found on the machine and chose, with the reason. */
export interface DeviceDetails {
  /** Threads that compute. */
  readonly threads?: number
  /** CPU: the level of vector instructions. */
  readonly instructions?: { readonly level: string; readonly why: string }
  /** WebGPU: which GPU, whether it is the processor in disguise, and the features that are switched on. */
  readonly adapter?: { readonly name: string; readonly software: boolean; readonly features: readonly string[]; readonly limits: Readonly<Record<string, number>> }
}

/** What a device has made so far, exact. A training loop that has run a few steps makes nothing new. */
export interface BackendCounts {
  readonly buffers: number
  readonly bindGroups: number
  readonly pipelines: number
  readonly readbacks: number
}

/** A result of a run that is to come back to the host, by its place among the results. */
export interface Homecoming {
  readonly result: number
  readonly spec: Spec
}

export interface Backend {
  readonly details?: DeviceDetails
  readonly kind: DeviceKind
  /** One line for people: threads, instruction level, adapter. */
  readonly description: string
  /** Why nothing is computed here, if nothing is. */
  readonly refusal?: string
  /** Everything that can change results: recorded in checkpoints. */
  readonly fingerprint: string
  readonly dtypes: ReadonlySet<DType>
  /** WebGPU: what it has made so far. */
  readonly counts?: BackendCounts
  /** Bytes this device can hold. */
  readonly memoryLimit: number
  /** Bytes that an element takes on this device. */
  byteSize(dtype: DType): number
  /** Whether there is a kernel for this call of a fused op; if not, its decomposition runs. */
  accepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean
  compile(graph: LoweredGraph): Promise<Executable>
  /** Memory for `bytes` bytes, or undefined if there is none left. */
  allocate(bytes: number): Block | undefined
  release(block: Block): void
  write(block: Block, data: TypedArray, spec: Spec): void
  read(block: Block, spec: Spec): Promise<TypedArray>
  /** Resolves, once all is done, to the results that are to come home. */
  run(executable: Executable, bindings: Bindings, home: readonly Homecoming[]): Promise<readonly TypedArray[]>
  close(): Promise<void>
}
