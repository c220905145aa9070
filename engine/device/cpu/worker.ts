/**
 * The CPU device's worker: one thread of the executor. Messages drive it, but after a run it waits at its station for
 * the next one, which it then begins sooner than a message would arrive. Bundled as a file of its own.
 */
import { parent } from '#platform'
import { Executor } from './executor.ts'
import { away, enter, leave, listening, sentTo, stationOf, told, words } from './protocol.ts'
import type { Command, Report } from './protocol.ts'

/** How long a worker waits for the next run before it returns to its event loop, in milliseconds. */
const patience = 100

const port = parent()
const report = (message: Report): void => port.post(message)

class Member {
  readonly executor: Executor
  private readonly control: Int32Array
  private readonly station: number
  private readonly sent: number

  constructor(memory: WebAssembly.Memory, thread: number, threads: number) {
    this.executor = new Executor(memory, thread, threads)
    this.control = new Int32Array(memory.buffer)
    this.station = stationOf(thread)
    this.sent = sentTo(thread)
  }

  /** Does its share of the run, if there is one to enter. */
  private run(read: number): void {
    const { control } = this
    if (!enter(control)) return
    // While a thread is inside, no other run begins: whatever this one needs was sent before now.
    const ready = Atomics.load(control, this.sent) === read
    const run = Atomics.load(control, words.run)
    const failure = ready ? this.executor.run(Atomics.load(control, words.plan)) : undefined
    if (failure !== undefined) {
      Atomics.add(control, words.failures, 1)
      report({ kind: 'failure', run, error: failure.message })
    }
    if (leave(control, ready)) report({ kind: 'end', run, failures: Atomics.load(control, words.failures) })
  }

  /** Once all messages are read: runs what there is to run, until there is mail again or nothing has come for a while. */
  serve(read: number): void {
    const { control, station, sent } = this
    while (Atomics.load(control, sent) === read) {
      this.run(read)
      Atomics.store(control, station, listening)
      if (Atomics.load(control, sent) === read) Atomics.wait(control, station, listening, patience)
      if (Atomics.exchange(control, station, away) !== told) return
    }
  }
}

let member: Member | undefined
let read = 0

port.receive((message) => {
  const command = message as Command
  read = (read + 1) | 0 // As the count in memory, which is an i32.
  switch (command.kind) {
    case 'start':
      member = new Member(command.memory, command.thread, command.threads)
      break
    case 'module':
      member?.executor.addModule(command.module, command.names)
      break
    case 'plan':
      member?.executor.addPlan(command.id, command.code)
      break
    case 'drop':
      member?.executor.dropPlan(command.id)
      break
    case 'run':
      break
    default:
      command satisfies never
  }
  member?.serve(read)
})
