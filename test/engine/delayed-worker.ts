/**
 * The CPU device's worker, held up at random around what it does with shared memory: threads then meet in orders that
 * are rare without. Longest where a thread wakes, enters a run and leaves it, since that decides who ends the run.
 */
import { threadId } from 'node:worker_threads'
import { words } from '../../engine/device/cpu/protocol.ts'
import { uniform } from '../../testing/samples.ts'

const cell = new Int32Array(new SharedArrayBuffer(4))
const sleep = Atomics.wait.bind(Atomics)
let calls = 0
const holdUp = (chance: number, milliseconds: number): void => {
  if (uniform(threadId, calls++) < chance) sleep(cell, 0, 0, milliseconds * uniform(threadId, calls++))
}

for (const name of ['load', 'store', 'add', 'sub', 'exchange', 'compareExchange'] as const) {
  const direct = Atomics[name] as (...args: unknown[]) => unknown
  Object.assign(Atomics, {
    [name]: (array: Int32Array, index: number, ...rest: unknown[]): unknown => {
      holdUp(0.03, 3)
      const value = direct(array, index, ...rest)
      if (name === 'exchange') holdUp(1, 10)
      else if (index === words.inside && name !== 'load') holdUp(0.4, 30)
      else holdUp(0.03, 3)
      return value
    },
  })
}

await import('../../engine/device/cpu/worker.ts')
