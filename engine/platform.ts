/** The shapes that platform.node.ts and platform.browser.ts share. */

/** A worker as the thread that started it sees it. */
export interface WorkerHandle {
  post(message: unknown): void
  /** The process stays alive until `unref`. */
  ref(): void
  unref(): void
  close(): Promise<void>
}

export interface Port {
  post(message: unknown): void
  receive(handler: (message: unknown) => void): void
}

/** Which of the platform's WebGPU implementations is asked for. */
export interface GpuOptions {
  /** Part of an adapter's name. */
  readonly adapter?: string | undefined
  /** Without the implementation's checks. */
  readonly unchecked?: boolean | undefined
}

/** Engines differ in what is left to them, such as whether relaxed multiply-and-add rounds once. */
export type JavaScriptEngine = 'v8' | 'javascriptcore' | 'spidermonkey' | 'unknown'

/** Compiles at once to optimised code, 256-bit if `wide`. */
export type OptimisingCompiler = (bytes: Uint8Array<ArrayBuffer>, wide: boolean) => WebAssembly.Module
