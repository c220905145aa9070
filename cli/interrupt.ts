/** Ctrl-C: the first asks to stop at the next good moment, the second stops at once. So does an output that takes nothing more. */
import process from 'node:process'
import { hasCode } from '../nn/checkpoint/files.node.ts'

/** Exit codes of shells: 128 and the signal's number. */
const codes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const
type Signal = keyof typeof codes
const signals: readonly Signal[] = ['SIGHUP', 'SIGINT', 'SIGTERM']
/** What is written is read no more, as after `| head`: that is no failure, and nobody is there to be told. */
const brokenPipe = 141

export const isBrokenPipe = (error: unknown): boolean => hasCode(error, 'EPIPE')

/** One Ctrl-C may arrive twice, from the terminal and again by way of npm; this many milliseconds tell it from a second. */
const apart = 400

export class Interrupt implements Disposable {
  /** The exit code of a process that was stopped so, once it is to stop. */
  code: number | undefined
  /** Why nothing can be written to the output any more, as on a full disk. */
  failure: Error | undefined
  readonly #notify: () => void
  readonly #listeners: readonly (readonly [Signal, () => void])[]
  #at = 0

  /** `notify` runs at the first signal. */
  constructor(notify: () => void) {
    this.#notify = notify
    this.#listeners = signals.map((signal) => [signal, () => this.#receive(codes[signal])])
    for (const [signal, listener] of this.#listeners) process.on(signal, listener)
    process.stdout.on('error', this.#broken)
  }

  #receive(code: number): void {
    const now = performance.now()
    if (this.code !== undefined) {
      if (now - this.#at > apart) process.exit(code)
      return
    }
    this.code = code
    this.#at = now
    this.#notify()
  }

  readonly #broken = (error: Error): void => {
    this.code ??= isBrokenPipe(error) ? brokenPipe : 1
    if (!isBrokenPipe(error)) this.failure ??= error
  }

  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener)
    process.stdout.off('error', this.#broken)
  }
}
