/**
 * How long to sleep while the GPU runs a plan. In Node, Dawn looks for news in a loop as long as anything is awaited, which
 * takes a core: from the host's other work, and from a driver that computes on the processor.
 */

/** Runs remembered: as long as one of them was short, the sleep is. */
const memory = 8
/** Slept of the shortest run. A timer is late by up to a millisecond, which is left beside. */
const share = 0.8
const lateness = 1
/** Shorter sleeps are not worth a timer. */
const least = 2

export class Pace {
  private readonly recent: number[] = []

  /** Milliseconds to sleep after a submit before its end is awaited; 0: await it at once. */
  get sleep(): number {
    if (this.recent.length === 0) return 0
    const sleep = Math.floor(share * Math.min(...this.recent) - lateness)
    return sleep < least ? 0 : sleep
  }

  /** A run took so many milliseconds from its submit to its end. */
  note(milliseconds: number): void {
    this.recent.push(milliseconds)
    if (this.recent.length > memory) this.recent.shift()
  }
}
