/** Functions for which something is set while they run: what they do later would not see it, and nobody would know. */
import { ConfigError } from './error.ts'

/**
 * `result`, which a function returned that ran under `op`. Throws ConfigError where code of that function is still to
 * run: the result is a promise, or is to be iterated, as what a generator function returns.
 */
export function finished<T>(op: string, result: T, remedy: string = `return tensors and await their data outside, or call ${op} inside, around each call that is to see it`): T {
  const later = runsLater(result)
  if (later === undefined) return result
  if (result instanceof Promise) result.catch(() => undefined) // It is left alone; this error is the one to see.
  throw new ConfigError(`${op}: the function returned ${later}, so code of it runs when ${op} is over; ${remedy}`)
}

function runsLater(result: unknown): string | undefined {
  if (typeof result !== 'object' || result === null) return undefined
  if ('then' in result && typeof result.then === 'function') return 'a promise'
  if ('next' in result && typeof result.next === 'function') return 'an iterator, as generators do'
  return Symbol.asyncIterator in result ? 'an async iterable' : undefined
}
