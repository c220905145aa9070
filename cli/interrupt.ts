/** Ctrl-C: the first asks to stop at the next good moment, the second stops at once. */
import process from 'node:process'

/** Exit codes of shells: 128 and the signal's number. */
const codes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const
type Signal = keyof typeof codes
const signals: readonly Signal[] = ['SIGHUP', 'SIGINT', 'SIGTERM']
/** What is written is read no more, as after `| head`. */
const brokenPipe = 141

/** One Ctrl-C may arrive twice, from the terminal and again by way of npm; this many milliseconds tell it from a second. */
const apart = 400

export class Interrupt implements Disposable {
  /** The exit code of a process that was stopped so, once it is to stop. */
  code: number | undefined
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

  readonly #broken = (): void => {
    this.code ??= brokenPipe
  }

  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener)
    process.stdout.off('error', this.#broken)
  }
}
