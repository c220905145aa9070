/**
 * How the thread that owns the CPU device and its workers talk: messages, which reach a worker that is in its event
 * loop, and words at the start of the shared memory, by which a worker that has just run is told of the next run faster.
 */

/** One kernel call: arguments are a constant, or an address of the run plus a constant. */
export interface LaunchCode {
  readonly kernel: number
  readonly items: number
  /** Equal parts of the items, in order, that threads take. */
  readonly chunks: number
  /** The last launch that must be complete, with all before it, before this one starts; -1 if that is known already. */
  readonly after: number
  /** Constants; for addresses, the offset in bytes. */
  readonly constants: readonly number[]
  /** Which address of the run is added; or one of the executor's two. */
  readonly sources: readonly number[]
}

/** A plan as the threads hold it. */
export interface PlanCode {
  readonly launches: readonly LaunchCode[]
  /** Where the addresses of a run lie in memory, as u32: one for each buffer, then each thread's scratch memory. */
  readonly addresses: number
  readonly buffers: number
  /** Where the progress of a run lies, as i32: for each launch the chunks taken and the chunks done. Zero at the start. */
  readonly progress: number
  /** How long a run is expected to take, in milliseconds, while none has been timed. Default: for long. */
  readonly expected?: number
}

export type Command =
  | { readonly kind: 'start'; readonly memory: WebAssembly.Memory; readonly thread: number; readonly members: number }
  | { readonly kind: 'module'; readonly module: WebAssembly.Module; readonly names: readonly string[] }
  | { readonly kind: 'plan'; readonly id: number; readonly code: PlanCode }
  | { readonly kind: 'drop'; readonly id: number }
  | { readonly kind: 'run' }

/** The last thread to leave a run says that it has ended and how many threads failed; each of those says why. */
export type Report =
  | { readonly kind: 'end'; readonly run: number; readonly failures: number }
  | { readonly kind: 'failure'; readonly run: number; readonly error: string }

/** Words of the control block at the start of the memory. */
export const words = {
  /** The plan of the run, and the run's number. */
  plan: 0,
  run: 1,
  /** Twice the threads that are in the run; one more once all is taken, and then nobody may enter any more. */
  inside: 2,
  /** Threads of the run that failed. */
  failures: 3,
  /** Changes when a launch is complete while someone sleeps until then; and how many sleep. */
  epoch: 4,
  sleepers: 5,
  /** 1 if the calling thread takes part in the run. */
  brief: 6,
} as const

/** Of `inside`: all is taken, and nobody is in the run. */
export const over = 1

/** Enters the run, if there is something left to take. */
export function enter(control: Int32Array): boolean {
  for (;;) {
    const inside = Atomics.load(control, words.inside)
    if (inside % 2 === over) return false
    if (Atomics.compareExchange(control, words.inside, inside, inside + 2) === inside) return true
  }
}

/**
 * Whether the run ends with the thread that leaves. One that has walked the plan leaves when all is taken, and whoever
 * took something stays until it is done.
 */
export function leave(control: Int32Array, walked: boolean): boolean {
  for (;;) {
    const inside = Atomics.load(control, words.inside)
    const left = (inside - 2) | Number(walked)
    if (Atomics.compareExchange(control, words.inside, inside, left) === inside) return left === over
  }
}

/** Per thread: where it is, and how many messages were sent to it. */
const firstStation = 16
export const stationOf = (thread: number): number => firstStation + 2 * thread
export const sentTo = (thread: number): number => firstStation + 2 * thread + 1

/** In its event loop, where it gets messages. */
export const away = 0
/** Waiting at its station, with all messages read. */
export const listening = 1
/** Told at its station that there is a run. */
export const told = 2

export const controlBytes = (threads: number): number => 4 * (firstStation + 2 * threads)
