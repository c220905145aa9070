/**
 * The threads of a CPU device. With shared memory: workers, so that the calling thread stays free for signals, servers
 * and pages; but where it may be held up for a moment it takes the place of one in brief runs, which are over before a
 * worker would be awake. Without: the calling thread itself, which gives way between launches.
 */
import { mayHoldUp, nextTask, spawnCpuWorker } from '#platform'
import { DeviceError } from '../../error.ts'
import type { WorkerHandle } from '../../platform.ts'
import { Executor, spins } from './executor.ts'
import { Member } from './member.ts'
import { away, listening, over, sentTo, stationOf, told, words } from './protocol.ts'
import type { LaunchCode, PlanCode } from './protocol.ts'
import type { Command, Report } from './protocol.ts'

export interface Threads {
  readonly count: number
  /** Those that may take part in a run: each has scratch memory of its own. */
  readonly members: number
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

/** How long the calling thread computes before it lets others run, in milliseconds: between brief runs, or launches. */
const slice = 8
/** The calling thread takes part in runs that take less than this, in milliseconds. */
const brief = 4
/** How long it waits for others to complete a launch before it leaves the run to them, in milliseconds. */
const patience = 1

/** The calling thread's time: many short runs hold others up as one long run does. */
class Slices {
  /** When others last ran, for all that is known. */
  private since: number = performance.now()

  begin(): void {
    this.since = performance.now()
  }

  get over(): boolean {
    return performance.now() - this.since >= slice
  }

  async giveWay(): Promise<void> {
    await nextTask()
    this.begin()
  }
}

interface KnownPlan {
  readonly code: PlanCode
  /** Threads that are of use to it: as many as its most divided launch has chunks. */
  readonly useful: number
  /** How long its last run took, in milliseconds, or how long one is expected to take. */
  lasts: number
}

const usefulThreads = (launches: readonly LaunchCode[]): number => launches.reduce((most, { chunks }) => Math.max(most, chunks), 1)

/** What is run of a plan that is not known: nothing, and each thread says that it has not got it. */
const unknown: Pick<KnownPlan, 'code' | 'useful'> = { code: { launches: [], addresses: 0, buffers: 0, progress: 0 }, useful: 1 }

/** Workers over one shared memory. */
export class WorkerThreads implements Threads {
  readonly count: number
  readonly members: number
  private readonly memory: WebAssembly.Memory
  private readonly control: Int32Array
  private readonly workers: readonly WorkerHandle[]
  /** The calling thread, where it takes part in runs. */
  private readonly caller: Member | undefined
  private readonly slices = new Slices()
  private readonly plans = new Map<number, KnownPlan>()
  private waiting: Waiting | undefined
  private broken: Error | undefined
  private closed = false
  private runs = 0

  constructor(memory: WebAssembly.Memory, count: number) {
    this.count = count
    this.members = count + Number(mayHoldUp)
    this.memory = memory
    this.control = new Int32Array(memory.buffer)
    this.control[words.inside] = over
    this.workers = Array.from({ length: count }, () => spawnCpuWorker((message) => this.receive(message as Report), (error) => this.breakDown(error)))
    this.workers.forEach((_, thread) => this.send(thread, { kind: 'start', memory, thread, members: this.members }))
    if (mayHoldUp) this.caller = new Member(memory, count, this.members, patience, (report) => this.receive(report))
  }

  addModule(module: WebAssembly.Module, names: readonly string[]): void {
    this.caller?.executor.addModule(module, names)
    this.tellAll({ kind: 'module', module, names })
  }

  addPlan(id: number, code: PlanCode): void {
    this.plans.set(id, { code, useful: usefulThreads(code.launches), lasts: code.expected ?? Infinity })
    this.caller?.executor.addPlan(id, code)
    this.tellAll({ kind: 'plan', id, code })
  }

  dropPlan(id: number): void {
    this.plans.delete(id)
    this.caller?.executor.dropPlan(id)
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

  /** Wakes a worker that waits at its station. Returns whether it is there: one that was told before and is not awake yet will look for the run all the same. */
  private call(thread: number, state: number): boolean {
    const station = stationOf(thread)
    const before = Atomics.compareExchange(this.control, station, listening, state)
    if (before === listening) Atomics.notify(this.control, station)
    return before !== away
  }

  /** One run at a time. */
  async run(id: number): Promise<void> {
    this.assertWhole()
    const start = performance.now()
    const plan = this.plans.get(id)
    this.runs = (this.runs + 1) | 0 // As in memory, where it is an i32.
    const errors: string[] = []
    const end = new Promise<void>((done) => {
      this.waiting = { run: this.runs, errors, failures: undefined, done }
    })
    const { caller } = this
    const takesPart = caller !== undefined && plan !== undefined && plan.lasts < brief
    this.begin(id, plan ?? unknown, takesPart ? 1 : 0)
    if (takesPart) this.takePart(caller)
    if (this.waiting !== undefined) await this.message(end)
    if (plan !== undefined) plan.lasts = performance.now() - start
    if (takesPart && this.slices.over) await this.slices.giveWay()
    this.assertWhole()
    if (errors[0] !== undefined) throw new DeviceError(`cpu: a kernel failed: ${errors[0]}`)
  }

  /** Tells as many workers as are of use, less those whose places are `taken`. */
  private begin(id: number, { code: { launches, progress }, useful }: Pick<KnownPlan, 'code' | 'useful'>, taken: number): void {
    const { control } = this
    new Int32Array(this.memory.buffer, progress, 2 * launches.length).fill(0)
    control[words.plan] = id
    control[words.run] = this.runs
    control[words.failures] = 0
    control[words.brief] = taken
    Atomics.store(control, words.inside, 0)
    for (let thread = 0; thread < Math.min(useful, this.count) - taken; thread++) {
      if (!this.call(thread, told)) this.send(thread, { kind: 'run' })
    }
  }

  /** Does the calling thread's share of the run, and looks for the end before it awaits a message. */
  private takePart(caller: Member): void {
    caller.join(() => true)
    for (let i = 0; i < spins && this.waiting !== undefined; i++) {
      if (Atomics.load(this.control, words.inside) !== over) continue
      this.receive({ kind: 'end', run: this.runs, failures: Atomics.load(this.control, words.failures) })
      return
    }
  }

  /** Awaits what workers report of the run. The process lives until then. */
  private async message(end: Promise<void>): Promise<void> {
    for (const worker of this.workers) worker.ref()
    await end
    for (const worker of this.workers) worker.unref()
    this.slices.begin()
  }

  private assertWhole(): void {
    if (this.broken !== undefined) throw this.broken
  }

  private receive(report: Report): void {
    const { waiting } = this
    if (waiting === undefined || waiting.run !== report.run) return // Node's own messages, under --watch, are of no run.
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
    this.broken ??= error instanceof DeviceError ? error : new DeviceError(`cpu: a worker thread ended unexpectedly (${error.message}); close the device and open it again`)
    this.end()
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.all(this.workers.map(async (worker) => worker.close()))
  }
}

/** The calling thread alone. */
export class CallingThread implements Threads {
  readonly count = 1
  readonly members = 1
  private readonly executor: Executor
  private readonly slices = new Slices()

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
      if (this.slices.over) await this.slices.giveWay()
    }
  }

  async close(): Promise<void> {
    // Nothing was started.
  }
}
