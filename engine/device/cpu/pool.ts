/**
 * The threads of a CPU device. With shared memory: workers, so that the calling thread stays free for signals,
 * servers and pages. Without: the calling thread itself, which gives way between launches.
 */
import { spawnCpuWorker } from '#platform'
import { DeviceError } from '../../error.ts'
import type { WorkerHandle } from '../../platform.ts'
import { Executor } from './executor.ts'
import type { PlanCode } from './executor.ts'
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

interface Waiting {
  reports: number
  error: string | undefined
  done: (error: string | undefined) => void
}

/** Workers over one shared memory. */
export class WorkerThreads implements Threads {
  readonly count: number
  private readonly workers: readonly WorkerHandle[]
  private readonly waiting = new Map<number, Waiting>()
  private broken: Error | undefined
  private closed = false
  private runs = 0

  constructor(memory: WebAssembly.Memory, count: number) {
    this.count = count
    this.workers = Array.from({ length: count }, () => spawnCpuWorker((message) => this.receive(message as Report), (error) => this.breakDown(error)))
    this.workers.forEach((worker, thread) => worker.post({ kind: 'start', memory, thread, threads: count } satisfies Command))
  }

  addModule(module: WebAssembly.Module, names: readonly string[]): void {
    this.tellAll({ kind: 'module', module, names })
  }

  addPlan(id: number, code: PlanCode): void {
    this.tellAll({ kind: 'plan', id, code })
  }

  dropPlan(id: number): void {
    this.tellAll({ kind: 'drop', id })
  }

  private tellAll(command: Command): void {
    for (const worker of this.workers) worker.post(command)
  }

  async run(id: number): Promise<void> {
    this.assertWhole()
    const run = this.runs++
    for (const worker of this.workers) worker.ref()
    const error = await new Promise<string | undefined>((done) => {
      this.waiting.set(run, { reports: 0, error: undefined, done })
      this.tellAll({ kind: 'run', run, id })
    })
    for (const worker of this.workers) worker.unref()
    this.assertWhole()
    if (error !== undefined) throw new DeviceError(`cpu: a kernel failed: ${error}`)
  }

  private assertWhole(): void {
    if (this.broken !== undefined) throw this.broken
  }

  private receive({ run, error }: Report): void {
    const waiting = this.waiting.get(run)
    if (waiting === undefined) return
    waiting.reports++
    waiting.error ??= error
    if (waiting.reports < this.count) return
    this.waiting.delete(run)
    waiting.done(waiting.error)
  }

  private breakDown(error: Error): void {
    if (this.closed) return
    this.broken ??= new DeviceError(`cpu: a worker thread ended unexpectedly (${error.message}); close the device and open it again`)
    for (const { done } of this.waiting.values()) done(undefined)
    this.waiting.clear()
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
      const failure = this.executor.launch(launch, args)
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
