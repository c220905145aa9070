/** What differs between browsers and Node; the twin of platform.node.ts, chosen by package.json's `imports`. */
import { DeviceError } from './error.ts'
import type { GpuOptions, JavaScriptEngine, OptimisingCompiler, Port, WorkerHandle } from './platform.ts'

export const platform = 'browser' as const

/** Threads worth starting. */
export function cores(): number {
  return navigator.hardwareConcurrency
}

/** Whether workers can share memory with this thread: only in cross-origin isolated pages. */
export function canShareMemory(): boolean {
  return globalThis.crossOriginIsolated && typeof SharedArrayBuffer !== 'undefined'
}

/** Whether the thread that owns a device may be held up for a few milliseconds: pages must stay smooth, and may not wait. */
export const mayHoldUp: boolean = false

/** Resolves once whatever else waits for this thread has had its turn. A timer would come milliseconds later. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.addEventListener('message', () => {
      port1.close()
      resolve()
    }, { once: true })
    port1.start()
    port2.postMessage(undefined)
  })
}

/** Starts the CPU device's worker. */
export function spawnCpuWorker(receive: (message: unknown) => void, fail: (error: Error) => void): WorkerHandle {
  let file = ''
  /** Notes the URL: bundlers rewrite it where it is an argument of `new Worker`, and know the file of a worker by that. */
  class Worker extends globalThis.Worker {
    constructor(url: URL, options: WorkerOptions) {
      super(url, options)
      file = url.href
    }
  }
  const worker = new Worker(new URL('./device/cpu/worker.ts', import.meta.url), { type: 'module' })
  worker.addEventListener('message', (event: MessageEvent<unknown>) => receive(event.data))
  // Without a message where the script was not loaded.
  worker.addEventListener('error', ({ message }: Partial<ErrorEvent>) => void (message ? fail(new Error(message)) : notLoaded(file).then(fail)))
  return {
    post: (message) => worker.postMessage(message),
    ref: () => undefined,
    unref: () => undefined,
    close: async () => worker.terminate(),
  }
}

/** Why a worker did not load, of which browsers say nothing: found by asking for its file once more. */
async function notLoaded(file: string): Promise<DeviceError> {
  const why = await fetch(file).then(({ ok, status, headers }) => {
    const type = headers.get('content-type') ?? 'missing'
    if (!ok) return `the server answers ${status}`
    if (!/^(?:text|application)\/(?:x-)?(?:java|ecma)script\b/i.test(type)) return `its content type is ${type}, not text/javascript`
    return 'the page’s Content-Security-Policy may forbid it (worker-src), or it comes without the page’s Cross-Origin-Embedder-Policy'
  }, (error: unknown) => String(error))
  return new DeviceError(`cpu: the file of the worker threads, ${file}, could not be loaded: ${why}; serve langevin’s cpu-worker.js there, or open the device with sharedMemory: false, which needs no workers`)
}

/** In a worker: the way back to who started it. */
export function parent(): Port {
  return {
    post: (message) => globalThis.postMessage(message),
    receive: (handler) => globalThis.addEventListener('message', (event: MessageEvent<unknown>) => handler(event.data)),
  }
}

/** The engine that compiles WebAssembly. */
export function javaScriptEngine(): JavaScriptEngine {
  const { userAgent } = navigator
  if (/\bChrom(?:e|ium)\//.test(userAgent)) return 'v8'
  if (/\bFirefox\//.test(userAgent)) return 'spidermonkey'
  return /\bAppleWebKit\//.test(userAgent) ? 'javascriptcore' : 'unknown'
}

/** Why V8's revectorizer cannot be used. */
export function revectorizerMissing(): string {
  return 'pages cannot set the engine’s flags'
}

export const compileOptimised: OptimisingCompiler | undefined = undefined

/** Why there can be no GPU, or undefined. */
export function gpuMissing(): string | undefined {
  return 'gpu' in navigator ? undefined : 'this browser has no WebGPU, or the page is not served over https'
}

/** Whether a thread that awaits the GPU is busy meanwhile. */
export const awaitingPolls: boolean = false

/** The browser's WebGPU. Throws DeviceError without it, or if something is asked for that pages cannot choose. */
export function openGpu({ adapter, unchecked = false }: GpuOptions = {}): Promise<GPU> {
  if (adapter !== undefined) throw new DeviceError(`device: the browser chooses the adapter; leave out "${adapter}"`)
  if (unchecked) throw new DeviceError('device: a page cannot turn the browser’s checks off; leave out unchecked')
  const { gpu } = navigator as { readonly gpu?: GPU }
  if (gpu === undefined) throw new DeviceError('device: this browser has no WebGPU, or the page is not served over https; use device("cpu")')
  return Promise.resolve(gpu)
}
