/**
 * The CPU device's worker, held up at random around what it does with shared memory: threads then meet in orders that
 * are rare without.
 */
import { threadId } from 'node:worker_threads'
import { uniform } from '../../testing/samples.ts'

const cell = new Int32Array(new SharedArrayBuffer(4))
const sleep = Atomics.wait.bind(Atomics)
let calls = 0
const holdUp = (): void => {
  if (uniform(threadId, calls++) < 0.03) sleep(cell, 0, 0, 3 * uniform(threadId, calls++)) // milliseconds
}

for (const name of ['load', 'store', 'add', 'sub', 'exchange', 'compareExchange'] as const) {
  const direct = Atomics[name] as (...args: unknown[]) => unknown
  Object.assign(Atomics, {
    [name]: (...args: unknown[]): unknown => {
      holdUp()
      const value = direct(...args)
      holdUp()
      return value
    },
  })
}

await import('../../engine/device/cpu/worker.ts')
