/** Messages between the thread that owns the CPU device and its workers. */
import type { LaunchCode } from './executor.ts'

export type Command =
  | { readonly kind: 'start'; readonly memory: WebAssembly.Memory; readonly thread: number; readonly threads: number }
  | { readonly kind: 'module'; readonly module: WebAssembly.Module; readonly names: readonly string[] }
  | { readonly kind: 'plan'; readonly id: number; readonly launches: readonly LaunchCode[] }
  | { readonly kind: 'drop'; readonly id: number }
  | { readonly kind: 'run'; readonly run: number; readonly id: number; readonly addresses: Uint32Array; readonly scratch: number }

/** A worker has done its share of a run. */
export interface Report {
  readonly run: number
  readonly error?: string
}
