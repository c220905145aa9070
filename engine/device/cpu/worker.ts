/** The CPU device's worker: one thread of the executor, driven by messages. Bundled as a file of its own. */
import { parent } from '#platform'
import { Executor } from './executor.ts'
import type { Command, Report } from './protocol.ts'

const port = parent()
let executor: Executor | undefined

const report = (message: Report): void => port.post(message)

port.receive((message) => {
  const command = message as Command
  switch (command.kind) {
    case 'start':
      executor = new Executor(command.memory, command.thread, command.threads)
      return
    case 'module':
      executor?.addModule(command.module, command.names)
      return
    case 'plan':
      executor?.addPlan(command.id, command.code)
      return
    case 'drop':
      executor?.dropPlan(command.id)
      return
    case 'run': {
      const failure = executor?.run(command.id)
      report(failure === undefined ? { run: command.run } : { run: command.run, error: failure.message })
      return
    }
    default:
      command satisfies never
  }
})
