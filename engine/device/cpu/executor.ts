/**
 * Runs plans on one thread of several: each thread holds the plans, does its share of every launch, and meets the
 * others at a barrier between launches. With one thread there is no barrier.
 */

/** One kernel call: arguments are a constant, or an address of the run plus a constant. */
export interface LaunchCode {
  readonly kernel: number
  readonly items: number
  /** Too little work to share: one thread does it, and needs no barrier before the next such launch. */
  readonly serial: boolean
  /** Constants; for addresses, the offset in bytes. */
  readonly constants: readonly number[]
  /** Which address of the run is added; or one of the two below. */
  readonly sources: readonly number[]
}
export const constantSource = -1
export const scratchSource = -2

/** A plan as the threads hold it. */
export interface PlanCode {
  readonly launches: readonly LaunchCode[]
  /** Where the addresses of a run lie in memory, as u32: one for each buffer, then each thread's scratch memory. */
  readonly addresses: number
  readonly buffers: number
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

/** Words of the control block at the start of the memory. */
const count = 0
const phase = 1
const sleepers = 2
export const controlWords = 16

/** Polls before sleeping: about 50 µs, longer than any but the largest launches differ by. */
const spins = 20_000

type KernelFunction = (begin: number, end: number, ...args: number[]) => void

export class Executor {
  private readonly memory: WebAssembly.Memory
  private readonly control: Int32Array
  private readonly thread: number
  private readonly threads: number
  private readonly kernels: KernelFunction[] = []
  private readonly plans = new Map<number, Prepared>()

  constructor(memory: WebAssembly.Memory, thread: number, threads: number) {
    this.memory = memory
    this.control = new Int32Array(memory.buffer, 0, controlWords)
    this.thread = thread
    this.threads = threads
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

  /** Walks a plan. Returns why this thread failed, if it did; it keeps meeting the others all the same. */
  run(id: number): Error | undefined {
    const launches = this.prepare(id)
    if (launches === undefined) return new Error(`plan ${id} is not here`)
    let failure: Error | undefined
    let serial = true
    for (const { launch, args } of launches) {
      if (!(serial && launch.serial)) this.meet()
      serial = launch.serial
      failure ??= this.launch(launch, args)
    }
    return failure
  }

  /** The plan's launches with arguments for the addresses that now lie in memory. From step to step they seldom change. */
  prepare(id: number): readonly PreparedLaunch[] | undefined {
    const plan = this.plans.get(id)
    if (plan === undefined) return undefined
    const { code: { addresses: start, buffers }, launches, addresses } = plan
    const now = new Uint32Array(this.memory.buffer, start, buffers + this.threads)
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

  /** This thread's share of one launch: a contiguous part of its items. */
  launch({ kernel, items, serial }: LaunchCode, args: readonly number[]): Error | undefined {
    const begin = serial ? 0 : Math.floor((items * this.thread) / this.threads)
    const end = serial ? (this.thread === 0 ? items : 0) : Math.floor((items * (this.thread + 1)) / this.threads)
    const call = this.kernels[kernel]
    if (begin === end) return undefined
    if (call === undefined) return new Error(`kernel ${kernel} is not here`)
    try {
      call(begin, end, ...args)
      return undefined
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** Waits until every thread is here. The end of a run needs no meeting: whoever started it waits for all reports. */
  private meet(): void {
    if (this.threads === 1) return
    const { control } = this
    const now = Atomics.load(control, phase)
    if (Atomics.add(control, count, 1) === this.threads - 1) {
      Atomics.store(control, count, 0)
      Atomics.add(control, phase, 1)
      if (Atomics.load(control, sleepers) > 0) Atomics.notify(control, phase)
      return
    }
    for (let i = 0; i < spins; i++) if (Atomics.load(control, phase) !== now) return
    Atomics.add(control, sleepers, 1)
    while (Atomics.load(control, phase) === now) Atomics.wait(control, phase, now)
    Atomics.sub(control, sleepers, 1)
  }
}
