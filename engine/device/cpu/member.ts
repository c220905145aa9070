/** One of the threads that compute: it enters a run, does its share of it, and says so if the run ends with it. */
import { Executor } from './executor.ts'
import { enter, leave, words } from './protocol.ts'
import type { Report } from './protocol.ts'

export class Member {
  readonly executor: Executor
  private readonly control: Int32Array
  private readonly report: (report: Report) => void

  /** The `thread`-th of `members`. Where nothing is completed for `patience` milliseconds that it waits for, it leaves the run to the others. */
  constructor(memory: WebAssembly.Memory, thread: number, members: number, patience: number, report: (report: Report) => void) {
    this.executor = new Executor(memory, thread, members, patience)
    this.control = new Int32Array(memory.buffer)
    this.report = report
  }

  /** Does its share of the run, if there is one to enter. `ready`: whether it has all that was sent to it, asked once it is inside. */
  join(ready: () => boolean): void {
    const { control, report } = this
    if (!enter(control)) return
    const run = Atomics.load(control, words.run)
    const walk = ready() ? this.executor.run(Atomics.load(control, words.plan)) : undefined
    if (walk?.failure !== undefined) {
      Atomics.add(control, words.failures, 1)
      report({ kind: 'failure', run, error: walk.failure.message })
    }
    if (leave(control, walk?.whole === true)) report({ kind: 'end', run, failures: Atomics.load(control, words.failures) })
  }
}
