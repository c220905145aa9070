/** What a device implements: memory, compilation of a lowered graph, and running it. Knows nothing of tensors or autograd. */
import type { LoweredGraph } from '../compile/lower.ts'
import type { Paths } from '../compile/plan.ts'
import type { DType, TypedArray } from '../dtype.ts'
import type { Spec } from '../graph.ts'
import type { Fused } from '../op.ts'

/** A piece of device memory. */
export interface MemoryBlock {
  readonly bytes: number
}

/** A compiled graph, ready to run any number of times with other leaves. */
export interface Executable {
  /** Bytes in use at the worst moment of a run: inputs copied in, intermediates, outputs. Known before anything runs. */
  readonly peakBytes: number
  readonly launches: number
  /** Launches, shapes, bytes, FLOPs and the peak, as text, for a graph with these paths. */
  describe(paths: Paths): string
  /** Takes the memory that a run needs besides its bindings. Throws DeviceError before anything is written if there is too little. */
  prepare?(bindings: Bindings): void | Promise<void>
  /** Frees what the plan owns, once nothing runs it. */
  dispose?(): void
}

/** What one run gives to the plan's leaves and results, in the lowered graph's order. */
export interface Bindings {
  readonly leaves: readonly (MemoryBlock | TypedArray | number)[]
  readonly results: readonly MemoryBlock[]
  /** What a leaf is called in errors. */
  readonly nameOf: (leaf: number) => string
  /** Of the graph's nodes; none on devices that cannot be watched. */
  readonly paths: Paths
}

/** A launch of a run, by a clock on the device. */
export interface LaunchTime {
  /** Its number in the plan. */
  readonly step: number
  readonly op: string
  /** Of the module; empty for none. */
  readonly path: string
  /** In seconds since some launch of the first run that was timed. */
  readonly start: number
  readonly seconds: number
  readonly flops: number
  readonly bytes: number
}

/** What is looked for in runs, launch by launch: times, which are reported run by run, or NaN, with which a run ends. */
export type Watch =
  | { readonly kind: 'times'; readonly report: (launches: readonly LaunchTime[]) => void }
  | { readonly kind: 'anomalies'; readonly infinities: boolean }

/** The most that a device can do. */
export interface Peaks {
  readonly flopsPerSecond: number
  readonly bytesPerSecond: number
}

export type DeviceKind = 'webgpu' | 'cpu' | 'reference' | 'meta'

/** What a device found on the machine and chose, with the reason. */
export interface DeviceDetails {
  /** Threads that compute. */
  readonly threads?: number
  /** CPU: the level of vector instructions, and the kernels that failed their trial at the level `wide`: they run at 128 bits. */
  readonly instructions?: { readonly level: string; readonly why: string; readonly failed: readonly string[] }
  /** WebGPU: which GPU, whether it is the processor in disguise, and the features that are switched on. */
  readonly adapter?: { readonly name: string; readonly software: boolean; readonly unchecked: boolean; readonly features: readonly string[]; readonly limits: Readonly<Record<string, number>> }
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
  allocate(bytes: number): MemoryBlock | undefined
  release(block: MemoryBlock): void
  /** Elements as the host holds them, or the 16 bits of each f16 or bf16. */
  write(block: MemoryBlock, data: TypedArray | Uint16Array<ArrayBuffer>, spec: Spec): void
  read(block: MemoryBlock, spec: Spec): Promise<TypedArray>
  /** Resolves, once all is done, to the results that are to come home. */
  run(executable: Executable, bindings: Bindings, home: readonly Homecoming[]): Promise<readonly TypedArray[]>
  /**
   * Runs are watched from here on; undefined: no more. Throws DeviceError where the device lacks what that takes. Absent where the
   * launches of a run cannot be told apart.
   */
  watch?(watch: Watch | undefined): void
  /** Measures them. */
  peaks?(): Promise<Peaks>
  close(): Promise<void>
}
