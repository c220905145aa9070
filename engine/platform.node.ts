/** What differs between Node and browsers; the twin of platform.browser.ts, chosen by package.json's `imports`. */
import { availableParallelism } from 'node:os'
import { Worker, parentPort } from 'node:worker_threads'
import type { Port, WorkerHandle } from './platform.ts'

export const platform = 'node' as const

/** Threads worth starting. */
export function cores(): number {
  return availableParallelism()
}

/** Whether workers can share memory with this thread. */
export function canShareMemory(): boolean {
  return true
}

/** Starts the CPU device's worker. It keeps the process alive only between `ref` and `unref`. */
export function spawnCpuWorker(receive: (message: unknown) => void, fail: (error: Error) => void): WorkerHandle {
  const worker = new Worker(new URL('./device/cpu/worker.ts', import.meta.url))
  worker.on('message', receive)
  worker.on('error', fail)
  worker.on('exit', (code) => fail(new Error(`it exited with code ${code}`)))
  worker.unref()
  return {
    post: (message) => worker.postMessage(message),
    ref: () => worker.ref(),
    unref: () => worker.unref(),
    close: async () => {
      await worker.terminate()
    },
  }
}

/** In a worker: the way back to who started it. */
export function parent(): Port {
  const port = parentPort
  if (port === null) throw new Error('not in a worker')
  return { post: (message) => port.postMessage(message), receive: (handler) => void port.on('message', handler) }
}
