/**
 * The threads of a CPU device. With shared memory: workers, so that the calling thread stays free for signals,
 * servers and pages. Without: the calling thread itself, which gives way between launches.
 */
import { spawnCpuWorker } from '#platform'
import { DeviceError } from '../../error.ts'
import type { WorkerHandle } from '../../platform.ts'
import { Executor } from './executor.ts'
import type { PlanCode } from './executor.ts'
import { away, listening, over, sentTo, stationOf, told, words } from './protocol.ts'
import type { Command, Report } from './protocol.ts'

export interface Threads {
  readonly count: number
  addModule(module: WebAssembly.Module, names: readonly string[]): void
  addPlan(id: number, code: PlanCode): void
  dropPlan(id: number): void
  /** Runs a plan whose addresses lie in memory. */
  run(id: number): Promise<void>
  close(): Promise<void>
}

/** A run whose end is awaited. */
interface Waiting {
  readonly run: number
  readonly errors: string[]
  /** How many threads failed, once the run has ended. */
  failures: number | undefined
  readonly done: () => void
}

/** Workers over one shared memory. */
export class WorkerThreads implements Threads {
  readonly count: number
  private readonly memory: WebAssembly.Memory
  private readonly control: Int32Array
  private readonly workers: readonly WorkerHandle[]
  private readonly plans = new Map<number, PlanCode>()
  private waiting: Waiting | undefined
  private broken: Error | undefined
  private closed = false
  private runs = 0

  constructor(memory: WebAssembly.Memory, count: number) {
    this.count = count
    this.memory = memory
    this.control = new Int32Array(memory.buffer)
    this.control[words.inside] = over
    this.workers = Array.from({ length: count }, () => spawnCpuWorker((message) => this.receive(message as Report), (error) => this.breakDown(error)))
    this.workers.forEach((_, thread) => this.send(thread, { kind: 'start', memory, thread, threads: count }))
  }

  addModule(module: WebAssembly.Module, names: readonly string[]): void {
    this.tellAll({ kind: 'module', module, names })
  }

  addPlan(id: number, code: PlanCode): void {
    this.plans.set(id, code)
    this.tellAll({ kind: 'plan', id, code })
  }

  dropPlan(id: number): void {
    this.plans.delete(id)
    this.tellAll({ kind: 'drop', id })
  }

  private tellAll(command: Command): void {
    for (let thread = 0; thread < this.count; thread++) this.send(thread, command)
  }

  /** Counted before it is sent, so that the worker sees either the count or that it is called. */
  private send(thread: number, command: Command): void {
    Atomics.add(this.control, sentTo(thread), 1)
    this.call(thread, away)
    this.workers[thread]?.post(command)
  }

  /** Wakes a worker that waits at its station. */
  private call(thread: number, state: number): boolean {
    const station = stationOf(thread)
    if (Atomics.compareExchange(this.control, station, listening, state) !== listening) return false
    Atomics.notify(this.control, station)
    return true
  }

  /** One run at a time. */
  async run(id: number): Promise<void> {
    this.assertWhole()
    for (const worker of this.workers) worker.ref()
    const errors: string[] = []
    await new Promise<void>((done) => {
      this.runs = (this.runs + 1) | 0 // As in memory, where it is an i32.
      this.waiting = { run: this.runs, errors, failures: undefined, done }
      this.begin(id, this.waiting.run)
    })
    for (const worker of this.workers) worker.unref()
    this.assertWhole()
    if (errors[0] !== undefined) throw new DeviceError(`cpu: a kernel failed: ${errors[0]}`)
  }

  private begin(id: number, run: number): void {
    const { control } = this
    const { launches, progress } = this.plans.get(id) ?? { launches: [], progress: 0 }
    new Int32Array(this.memory.buffer, progress, 2 * launches.length).fill(0)
    control[words.plan] = id
    control[words.run] = run
    control[words.failures] = 0
    Atomics.store(control, words.inside, 0)
    const useful = Math.max(1, ...launches.map(({ chunks }) => chunks))
    for (let thread = 0; thread < Math.min(useful, this.count); thread++) {
      if (!this.call(thread, told)) this.send(thread, { kind: 'run' })
    }
  }

  private assertWhole(): void {
    if (this.broken !== undefined) throw this.broken
  }

  private receive(report: Report): void {
    const { waiting } = this
    if (waiting?.run !== report.run) return
    if (report.kind === 'failure') waiting.errors.push(report.error)
    else waiting.failures = report.failures
    if (waiting.errors.length === waiting.failures) this.end()
  }

  private end(): void {
    this.waiting?.done()
    this.waiting = undefined
  }

  private breakDown(error: Error): void {
    if (this.closed) return
    this.broken ??= new DeviceError(`cpu: a worker thread ended unexpectedly (${error.message}); close the device and open it again`)
    this.end()
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.all(this.workers.map(async (worker) => worker.close()))
  }
}

/** How long the calling thread computes before it lets others run, in milliseconds. */
const slice = 8

/** The calling thread alone. */
export class CallingThread implements Threads {
  readonly count = 1
  private readonly executor: Executor
  /** When others last ran, for all that is known: many short runs hold a page up as one long run does. */
  private gaveWay: number = performance.now()

  constructor(memory: WebAssembly.Memory) {
    this.executor = new Executor(memory, 0, 1)
  }

  addModule(module: WebAssembly.Module, names: readonly string[]): void {
    this.executor.addModule(module, names)
  }

  addPlan(id: number, code: PlanCode): void {
    this.executor.addPlan(id, code)
  }

  dropPlan(id: number): void {
    this.executor.dropPlan(id)
  }

  async run(id: number): Promise<void> {
    for (const { launch, args } of this.executor.prepare(id) ?? []) {
      const failure = this.executor.launch({ ...launch, chunks: 1 }, args, 0)
      if (failure !== undefined) throw new DeviceError(`cpu: a kernel failed: ${failure.message}`)
      if (performance.now() - this.gaveWay < slice) continue
      await new Promise((resolve) => setTimeout(resolve))
      this.gaveWay = performance.now()
    }
  }

  async close(): Promise<void> {
    // Nothing was started.
  }
}
