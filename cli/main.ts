#!/usr/bin/env node
/** The command line of langevin: runs a command, and turns what goes wrong into one line and an exit code. */
import { fileURLToPath } from 'node:url'
import process from 'node:process'
import { UsageError, help, parseCommand } from './arguments.ts'
import type { Command, DeviceArguments } from './arguments.ts'
import { describeInstructions, listDevices, openFor } from './devices.ts'
import { loadDigits } from './digits.ts'
import { fileError, readFile } from './files.ts'
import { inspect } from './inspect.ts'
import { isBrokenPipe } from './interrupt.ts'
import { sample } from './sample.ts'
import { defaults } from './settings.ts'
import { train } from './train.ts'

function version(): string {
  const manifest: unknown = JSON.parse(new TextDecoder().decode(readFile(fileURLToPath(import.meta.resolve('langevin/package.json')))))
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : 'unknown'
}

async function info(wanted: DeviceArguments): Promise<number> {
  const device = await openFor(wanted)
  const { instructions, noGpu } = device.info
  const { shape, name } = loadDigits()
  const rows = [
    ['langevin', version()],
    ['node', `${process.version} on ${process.platform} ${process.arch}`],
    ['device', device.description],
    ...(noGpu === undefined ? [] : [['gpu', `none taken: ${noGpu}`]]),
    ['instructions', instructions === undefined ? 'none' : describeInstructions(instructions)],
    ['fingerprint', device.fingerprint],
    ['data', `${name}, ${shape[0]} images of ${shape.slice(1).join('x')}`],
    ['defaults', `${defaults.steps} steps, batch ${defaults.batch}, seed ${defaults.seed}`],
  ]
  for (const [key = '', value = ''] of rows) process.stdout.write(`${key.padEnd(12)} ${value}\n`)
  await device.close()
  return 0
}

async function run(command: Command): Promise<number> {
  switch (command.name) {
    case 'help':
      process.stdout.write(help)
      return 0
    case 'version':
      process.stdout.write(`${version()}\n`)
      return 0
    case 'train':
      return train(command.train, process.stdout)
    case 'sample':
      return sample(command.sample, process.stdout)
    case 'inspect':
      return inspect(command.inspect, process.stdout)
    case 'info':
      return info(command.info)
    case 'devices':
      return listDevices(process.stdout)
    case 'bench': {
      const { benchmark } = await import('./bench.ts')
      return benchmark(command.bench, version(), process.stdout)
    }
    default:
      return command satisfies never
  }
}

/** What went wrong, as one line; with `--verbose` all that is known. */
function report(error: unknown): void {
  const verbose = process.argv.includes('--verbose')
  const text = error instanceof Error ? (verbose ? (error.stack ?? error.message) : error.message) : String(error)
  process.stderr.write(`langevin: ${text}\n`)
  for (let cause = error instanceof Error ? error.cause : undefined; verbose && cause instanceof Error; cause = cause.cause) process.stderr.write(`because: ${cause.stack ?? cause.message}\n`)
}

let unwritten: Error | undefined
process.stdout.on('error', (error: Error) => {
  unwritten ??= error
})
try {
  const code = await run(parseCommand(process.argv.slice(2)))
  await new Promise((resolve) => setImmediate(resolve)) // The last words may fail, too.
  if (unwritten !== undefined && !isBrokenPipe(unwritten)) throw fileError('write', 'standard output', unwritten)
  process.exitCode = code
} catch (error) {
  report(error)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
