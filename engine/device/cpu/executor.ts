/**
 * Runs plans on one thread of several. Every thread walks the launches in order and takes chunks of their items until
 * there are none left; before a launch it waits for those that the launch depends on. So threads meet only where data
 * pass between them, and what a thread that is held up leaves, others take. Items give the same bits on any thread.
 */
import { at } from '../../shape.ts'
import { words } from './protocol.ts'
import type { LaunchCode, PlanCode } from './protocol.ts'

export const constantSource = -1
export const scratchSource = -2

/** What came of a walk over a plan. */
interface Walk {
  /** Whether all is taken; if not, the thread has lost its patience. */
  readonly whole: boolean
  /** Why this thread failed, if it did; what it took from then on counts as done all the same. */
  readonly failure: Error | undefined
}

interface PreparedLaunch {
  readonly launch: LaunchCode
  /** For the addresses of the last run. */
  readonly args: number[]
}

/** A plan as one thread has prepared it. */
interface Prepared {
  readonly code: PlanCode
  readonly launches: readonly PreparedLaunch[]
  /** Of the last run: those of the buffers, then that of the thread's scratch memory. */
  readonly addresses: Uint32Array
}

/** Polls for what other threads do, before sleeping: about 50 µs. */
export const spins = 20_000

type KernelFunction = (begin: number, end: number, ...args: number[]) => void

export class Executor {
  private readonly memory: WebAssembly.Memory
  private readonly control: Int32Array
  private readonly thread: number
  private readonly members: number
  /** How long it waits for something to be completed, in milliseconds. */
  private readonly patience: number
  private readonly kernels: KernelFunction[] = []
  private readonly plans = new Map<number, Prepared>()

  constructor(memory: WebAssembly.Memory, thread: number, members: number, patience: number = Infinity) {
    this.memory = memory
    this.control = new Int32Array(memory.buffer)
    this.thread = thread
    this.members = members
    this.patience = patience
  }

  /** Makes a module's functions the next kernels, in the order of `names`. */
  addModule(module: WebAssembly.Module, names: readonly string[]): void {
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.memory } })
    for (const name of names) this.kernels.push(exports[name] as KernelFunction)
  }

  addPlan(id: number, code: PlanCode): void {
    this.plans.set(id, { code, launches: code.launches.map((launch) => ({ launch, args: [...launch.constants] })), addresses: new Uint32Array(code.buffers + 1) })
  }

  dropPlan(id: number): void {
    this.plans.delete(id)
  }

  /** Walks a plan. */
  run(id: number): Walk {
    const launches = this.prepare(id)
    const plan = this.plans.get(id)
    if (launches === undefined || plan === undefined) return { whole: true, failure: new Error(`plan ${id} is not here`) }
    const progress = new Int32Array(this.memory.buffer, plan.code.progress, 2 * launches.length)
    let failure: Error | undefined
    let complete = -1
    for (let i = 0; i < launches.length; i++) {
      const { launch, args } = at(launches, i)
      const { chunks, after } = launch
      if (Atomics.load(progress, 2 * i) >= chunks) continue // Whoever took the first one has waited.
      while (complete < after) if (!this.wait(progress, ++complete, at(launches, complete).launch.chunks)) return { whole: false, failure }
      for (let chunk = Atomics.add(progress, 2 * i, 1); chunk < chunks; chunk = Atomics.add(progress, 2 * i, 1)) {
        failure ??= this.launch(launch, args, chunk)
        if (Atomics.add(progress, 2 * i + 1, 1) === chunks - 1) this.wake()
      }
    }
    return { whole: true, failure }
  }

  /** The plan's launches with arguments for the addresses that now lie in memory. From step to step they seldom change. */
  prepare(id: number): readonly PreparedLaunch[] | undefined {
    const plan = this.plans.get(id)
    if (plan === undefined) return undefined
    const { code: { addresses: start, buffers }, launches, addresses } = plan
    const now = new Uint32Array(this.memory.buffer, start, buffers + this.members)
    const scratch = now[buffers + this.thread] ?? 0
    let same = addresses[buffers] === scratch
    for (let i = 0; i < buffers && same; i++) same = addresses[i] === now[i]
    if (same) return launches
    addresses.set(now.subarray(0, buffers))
    addresses[buffers] = scratch
    for (const { launch: { constants, sources }, args } of launches) {
      sources.forEach((source, i) => {
        if (source !== constantSource) args[i] = (constants[i] ?? 0) + (addresses[source === scratchSource ? buffers : source] ?? 0)
      })
    }
    return launches
  }

  /** One chunk of a launch. */
  launch({ kernel, items, chunks }: LaunchCode, args: readonly number[], chunk: number): Error | undefined {
    const call = this.kernels[kernel]
    if (call === undefined) return new Error(`kernel ${kernel} is not here`)
    try {
      call(Math.floor((items * chunk) / chunks), Math.floor((items * (chunk + 1)) / chunks), ...args)
      return undefined
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** Waits until a launch is complete. Returns whether it is. */
  private wait(progress: Int32Array, launch: number, chunks: number): boolean {
    const done = 2 * launch + 1
    for (let i = 0; i < spins; i++) if (Atomics.load(progress, done) === chunks) return true
    const { control, patience } = this
    Atomics.add(control, words.sleepers, 1)
    try {
      for (;;) {
        const epoch = Atomics.load(control, words.epoch)
        if (Atomics.load(progress, done) === chunks) return true
        if (Atomics.wait(control, words.epoch, epoch, patience) === 'timed-out') return false
      }
    } finally {
      Atomics.sub(control, words.sleepers, 1)
    }
  }

  /** A launch is complete. */
  private wake(): void {
    const { control } = this
    if (Atomics.load(control, words.sleepers) === 0) return
    Atomics.add(control, words.epoch, 1)
    Atomics.notify(control, words.epoch)
  }
}
