/** Ctrl-C: the first asks to stop at the next good moment, the second stops at once. */
import process from 'node:process'

const codes = { SIGINT: 130, SIGTERM: 143 } as const
type Signal = keyof typeof codes

/** One Ctrl-C may arrive twice, from the terminal and again by way of npm; this many milliseconds tell it from a second. */
const apart = 400

export class Interrupt {
  /** The exit code of a process that such a signal ended, once one came: 128 and the signal's number. */
  code: number | undefined
  readonly #notify: () => void
  #at = 0

  /** `notify` runs at the first signal. */
  constructor(notify: () => void) {
    this.#notify = notify
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, this.#receive)
  }

  readonly #receive = (signal: NodeJS.Signals): void => {
    const code = codes[signal === 'SIGTERM' ? signal : ('SIGINT' satisfies Signal)]
    const now = performance.now()
    if (this.code !== undefined) {
      if (now - this.#at > apart) process.exit(code)
      return
    }
    this.code = code
    this.#at = now
    this.#notify()
  }

  [Symbol.dispose](): void {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, this.#receive)
  }
}
