/**
 * The CPU device's worker: one thread of the executor. Messages drive it, but after a run it waits at its station for
 * the next one, which it then begins sooner than a message would arrive. Bundled as a file of its own.
 */
import { parent } from '#platform'
import { Member } from './member.ts'
import { away, listening, sentTo, stationOf, told, words } from './protocol.ts'
import type { Command } from './protocol.ts'

/** How long a worker waits for the next run before it returns to its event loop, in milliseconds. */
const patience = 100
/** How often it looks for one before it sleeps: about 100 µs. */
const looks = 40_000

const port = parent()

class Station {
  readonly member: Member
  private readonly control: Int32Array
  private readonly state: number
  private readonly sent: number

  constructor(memory: WebAssembly.Memory, thread: number, members: number) {
    this.member = new Member(memory, thread, members, Infinity, (report) => port.post(report))
    this.control = new Int32Array(memory.buffer)
    this.state = stationOf(thread)
    this.sent = sentTo(thread)
  }

  /** Once all messages are read: runs what there is to run, until there is mail again or nothing has come for a while. */
  serve(read: number): void {
    const { control, state, sent } = this
    // While a thread is inside, no other run begins: whatever this one needs was sent before it entered.
    const ready = (): boolean => Atomics.load(control, sent) === read
    while (ready()) {
      this.member.join(ready)
      Atomics.store(control, state, listening)
      // After a brief run the next may be near, and there is a core to spare: the calling thread has a worker's place.
      if (ready() && Atomics.load(control, words.brief) === 1) for (let i = 0; i < looks && Atomics.load(control, state) === listening; i++);
      if (ready()) Atomics.wait(control, state, listening, patience)
      if (Atomics.exchange(control, state, away) !== told) return
    }
  }
}

let station: Station | undefined
let read = 0

port.receive((message) => {
  const command = message as Command
  read = (read + 1) | 0 // As the count in memory, which is an i32.
  switch (command.kind) {
    case 'start':
      station = new Station(command.memory, command.thread, command.members)
      break
    case 'module':
      station?.member.executor.addModule(command.module, command.names)
      break
    case 'plan':
      station?.member.executor.addPlan(command.id, command.code)
      break
    case 'drop':
      station?.member.executor.dropPlan(command.id)
      break
    case 'run':
      break
    default:
      command satisfies never
  }
  station?.serve(read)
})
