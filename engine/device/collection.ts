/**
 * Memory of tensors that nobody holds comes back once they are collected. The collector, though, sees small objects and
 * not the memory behind them, and would let a device fill up before it looks. It does count the bytes of array buffers.
 */
import { nextTask } from '#platform'

/** Below this a device is left to fill up, in bytes; above, to twice what was in use after the last collection. */
const least = 2 ** 28
/** Of a buffer that is there to be counted. Never touched, it takes no memory. */
const weight = 2 ** 26
/** Buffers after which a collection has come, if ever. */
const most = 64

/** Makes the collector run until something has come back, or until there is reason to believe that nothing will. */
export async function provokeCollection(cameBack: () => boolean): Promise<void> {
  for (let i = 0; i < most && !cameBack(); i++) {
    const allocated = allocates(weight)
    await nextTask() // Finalisers run in tasks of their own.
    if (!allocated) return // The collector has done what it can.
  }
}

function allocates(bytes: number): boolean {
  try {
    return new ArrayBuffer(bytes).byteLength === bytes
  } catch {
    return false
  }
}

/** Bytes in use from which a collection is due. */
export const dueAbove = (used: number): number => Math.max(least, 2 * used)
