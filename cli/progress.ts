/** How a run reports on itself: a bar that is redrawn on a terminal, plain lines now and then elsewhere. */

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

  constructor(output: Output) {
    this.#output = output
  }

  /** Shows the state, unless one was shown a moment ago; `last` is always shown. */
  update(state: ProgressState, last = false): void {
    const now = performance.now()
    const terminal = this.#output.isTTY === true
    if (!last && now - this.#drawn < (terminal ? redrawEvery : lineEvery)) return
    this.#drawn = now
    if (!terminal) {
      this.#output.write(`${describe(state)}\n`)
      return
    }
    const text = describe(state)
    const room = Math.min(40, (this.#output.columns ?? 80) - text.length - 4)
    const full = Math.round((room * state.step) / Math.max(1, state.steps))
    const bar = room < 5 ? '' : `[${'█'.repeat(full)}${'·'.repeat(room - full)}] `
    this.#output.write(`\r\u{1b}[2K${(bar + text).slice(0, this.#output.columns ?? 80)}`)
    this.#open = true
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
    this.#drawn = -Infinity
  }
}
