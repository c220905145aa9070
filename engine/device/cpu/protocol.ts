/** Messages between the thread that owns the CPU device and its workers. */
import type { PlanCode } from './executor.ts'

export type Command =
  | { readonly kind: 'start'; readonly memory: WebAssembly.Memory; readonly thread: number; readonly threads: number }
  | { readonly kind: 'module'; readonly module: WebAssembly.Module; readonly names: readonly string[] }
  | { readonly kind: 'plan'; readonly id: number; readonly code: PlanCode }
  | { readonly kind: 'drop'; readonly id: number }
  | { readonly kind: 'run'; readonly run: number; readonly id: number }

/** A worker has done its share of a run. */
export interface Report {
  readonly run: number
  readonly error?: string
}
