/**
 * How a run reports on itself: a bar that is redrawn on a terminal, plain lines now and then elsewhere. What takes long is never
 * silent: until there is a step to show, what is waited for is shown.
 */

export interface ProgressState {
  readonly step: number
  readonly steps: number
  readonly loss: number
  /** Per second, of late. */
  readonly imagesPerSecond: number
  /** Seconds. */
  readonly left: number
}

export interface Output {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/** `1:23:45`, `2:05`, `0:07`. */
export function formatTime(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-:--'
  const whole = Math.max(0, Math.round(seconds))
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (n: number): string => String(n).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

function describe({ step, steps, loss, imagesPerSecond, left }: ProgressState): string {
  return `step ${String(step).padStart(String(steps).length)}/${steps}  loss ${loss.toFixed(4)}  ${imagesPerSecond.toFixed(0)} images/s  ${formatTime(left)} left`
}

/** Often enough to look alive, rarely enough to cost nothing. */
const redrawEvery = 100
/** Milliseconds between plain lines. */
const lineEvery = 5000

export class Progress {
  readonly #output: Output
  #drawn = -Infinity
  #open = false
  #timer: ReturnType<typeof setInterval> | undefined
  #compiled = { ready: 0, all: 0 }

  constructor(output: Output) {
    this.#output = output
  }

  /** Of the terminal; some that do not know say 0. */
  get #columns(): number {
    const { columns = 0 } = this.#output
    return columns > 0 ? columns : 80
  }

  /** Shows the state, unless something was shown a moment ago; `last` is always shown. */
  update(state: ProgressState, last = false): void {
    if (this.#timer !== undefined) this.#stopWaiting()
    const text = describe(state)
    const room = Math.min(40, this.#columns - text.length - 4)
    const full = Math.round((room * state.step) / Math.max(1, state.steps))
    const bar = room < 5 ? '' : `[${'█'.repeat(full)}${'·'.repeat(room - full)}] `
    this.#show(text, bar, last)
  }

  /** Shows what is waited for, and for how long, until something else is shown; nothing where that is soon. */
  wait(what: () => string): void {
    this.#stopWaiting()
    const start = performance.now()
    this.#drawn = start
    this.#timer = setInterval(() => {
      const { ready, all } = this.#compiled
      const compiled = ready < all ? `: ${ready} of ${all} launches compiled` : ''
      this.#show(`${what()}${compiled}, ${formatTime((performance.now() - start) / 1000)}`)
    }, redrawEvery)
    this.#timer.unref()
  }

  /** Launches of a plan whose kernels are ready. */
  compiled(ready: number, all: number): void {
    this.#compiled = { ready, all }
  }

  #show(text: string, bar = '', always = false): void {
    const now = performance.now()
    const terminal = this.#output.isTTY === true
    if (!always && now - this.#drawn < (terminal ? redrawEvery : lineEvery)) return
    this.#drawn = now
    if (!terminal) {
      this.#output.write(`${text}\n`)
      return
    }
    this.#output.write(`\r\u{1b}[2K${(bar + text).slice(0, this.#columns)}`)
    this.#open = true
  }

  /** What comes next is shown at once. */
  #stopWaiting(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#drawn = -Infinity
  }

  /** A line of its own, above the bar. */
  line(text: string): void {
    this.end()
    this.#output.write(`${text}\n`)
  }

  /** Leaves the bar where it is; what follows starts on a new line. */
  end(): void {
    if (this.#open) this.#output.write('\n')
    this.#open = false
    this.#stopWaiting()
  }
}
