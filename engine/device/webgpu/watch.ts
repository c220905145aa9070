/** What goes along with the runs of a device that is watched: clocks around dispatches, or kernels that look at what launches wrote. */
import type { Bindings } from '../backend.ts'
import type { WebGpuExecutable } from './executable.ts'

/** With one run. */
export interface Companion {
  /** Each dispatch gets a pass of its own, with these. */
  readonly timestamps?: (dispatch: number) => GPUComputePassTimestampWrites
  /** Records something behind the dispatches of a launch, or before all (-1); `find` says where a buffer of the plan lies. */
  readonly after?: (launch: number, pass: GPUComputePassEncoder, find: (buffer: number) => GPUBufferBinding) => void
  /** Records the copy of what was found. */
  copy(encoder: GPUCommandEncoder): void
  /** Waits for it, once submitted. */
  read(): Promise<void>
  /** Reports it once the run has ended well, or throws it. */
  end(): void
}

export interface Watcher {
  companion(executable: WebGpuExecutable, bindings: Bindings): Promise<Companion>
  close(): void
}
