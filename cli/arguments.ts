/** The command line: what there is to say, and what was said. */
import { parseArgs } from 'node:util'
import { defaults } from './settings.ts'

/** A command line that makes no sense; the message says what to write instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export const help: string = `langevin: trains diffusion models.

  langevin train [digits]     trains on 8x8 handwritten digits and leaves pictures in runs/<name>/
    --steps N         training steps (default ${defaults.steps})
    --batch N         images a step (default ${defaults.batch})
    --rate R          the highest learning rate (default ${defaults.rate})
    --seed N          where all randomness comes from (default ${defaults.seed})
    --name NAME       the run's name (default digits, or digits-2 and so on if there is one)
    --out DIR         where runs are kept (default runs)
    --resume DIR      goes on with the run in DIR; bit for bit as if it had never stopped
    --save-every N    steps between checkpoints (default 250)
    --sampling N      sampling steps of the pictures at the end (default 100)

  langevin sample --run DIR   draws new pictures from a trained run
    --count N         how many (default 64)
    --sampling N      sampling steps (default 100)
    --seed N          which pictures (default 0)
    --file PNG        where to (default DIR/samples-<seed>.png)

  langevin info               what this machine and this version can do

  all commands
    --device KIND     cpu or reference (default: the best there is)
    --threads N       CPU threads (default: one a core)
    --verbose         whole error messages
    --help, --version

Ctrl-C finishes the step, saves, and says how to go on.
`

export interface DeviceArguments {
  readonly device: 'cpu' | 'reference' | undefined
  readonly threads: number | undefined
}

export interface TrainArguments extends DeviceArguments {
  readonly steps: number | undefined
  readonly batch: number | undefined
  readonly rate: number | undefined
  readonly seed: number | undefined
  readonly name: string | undefined
  readonly out: string
  readonly resume: string | undefined
  readonly saveEvery: number
  readonly sampling: number
}

export interface SampleArguments extends DeviceArguments {
  readonly run: string
  readonly count: number
  readonly sampling: number
  readonly seed: number
  readonly file: string | undefined
}

export type Command =
  | { readonly name: 'help' | 'version' }
  | { readonly name: 'train'; readonly train: TrainArguments }
  | { readonly name: 'sample'; readonly sample: SampleArguments }
  | { readonly name: 'info'; readonly info: DeviceArguments }

const options = {
  steps: { type: 'string' },
  batch: { type: 'string' },
  rate: { type: 'string' },
  seed: { type: 'string' },
  name: { type: 'string' },
  out: { type: 'string' },
  resume: { type: 'string' },
  'save-every': { type: 'string' },
  run: { type: 'string' },
  count: { type: 'string' },
  sampling: { type: 'string' },
  file: { type: 'string' },
  device: { type: 'string' },
  threads: { type: 'string' },
  verbose: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const

type Name = keyof typeof options
const everywhere: readonly Name[] = ['device', 'threads', 'verbose', 'help', 'version']
const own: Readonly<Record<'train' | 'sample' | 'info', readonly Name[]>> = {
  train: ['steps', 'batch', 'rate', 'seed', 'name', 'out', 'resume', 'save-every', 'sampling'],
  sample: ['run', 'count', 'sampling', 'seed', 'file'],
  info: [],
}

type Values = ReturnType<typeof parse>['values']

function parse(args: readonly string[]): { values: { [K in Name]?: (typeof options)[K]['type'] extends 'string' ? string : boolean }; positionals: string[] } {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    const [first = ''] = (error instanceof Error ? error.message : String(error)).split('. ')
    throw new UsageError(`${first}; see langevin --help`)
  }
}

/** Throws UsageError. */
export function parseCommand(args: readonly string[]): Command {
  const { values, positionals } = parse(args)
  const [name, ...rest] = positionals
  if (values.version === true) return { name: 'version' }
  if (values.help === true || name === undefined || name === 'help') return { name: 'help' }
  if (name !== 'train' && name !== 'sample' && name !== 'info') throw new UsageError(`there is no command "${name}"; use train, sample or info`)
  for (const given of Object.keys(values)) {
    if (![...own[name], ...everywhere].some((known) => known === given)) throw new UsageError(`langevin ${name} has no option --${given}; see langevin --help`)
  }
  const dataset = name === 'train' ? rest.shift() : undefined
  if (dataset !== undefined && dataset !== 'digits') throw new UsageError(`there is no data set "${dataset}"; use digits`)
  if (rest.length > 0) throw new UsageError(`what is "${rest.join(' ')}"? See langevin --help`)
  switch (name) {
    case 'train':
      return { name, train: trainArguments(values) }
    case 'sample':
      return { name, sample: sampleArguments(values) }
    case 'info':
      return { name, info: deviceArguments(values) }
    default:
      return name satisfies never
  }
}

function deviceArguments(values: Values): DeviceArguments {
  const { device } = values
  if (device !== undefined && device !== 'cpu' && device !== 'reference') throw new UsageError(`there is no device "${device}"; use cpu or reference`)
  return { device, threads: integer(values, 'threads', 1, 256) }
}

function trainArguments(values: Values): TrainArguments {
  const { name, resume, out = 'runs' } = values
  if (resume !== undefined && (name !== undefined || values.out !== undefined)) throw new UsageError('--resume goes on in the folder it names; leave out --name and --out')
  if (name !== undefined && !/^[\w][\w.-]*$/.test(name)) throw new UsageError(`--name ${name} is no name for a folder; use letters, digits, dots, dashes and underscores`)
  return {
    ...deviceArguments(values),
    steps: integer(values, 'steps', 1, 1e9),
    batch: integer(values, 'batch', 1, 65536),
    rate: positive(values.rate),
    seed: integer(values, 'seed', 0, Number.MAX_SAFE_INTEGER),
    name,
    out,
    resume,
    saveEvery: integer(values, 'save-every', 1, 1e9) ?? 250,
    sampling: integer(values, 'sampling', 1, 1000) ?? 100,
  }
}

function sampleArguments(values: Values): SampleArguments {
  const { run, file } = values
  if (run === undefined) throw new UsageError('langevin sample needs --run DIR, the folder of a trained run')
  return {
    ...deviceArguments(values),
    run,
    count: integer(values, 'count', 1, 4096) ?? 64,
    sampling: integer(values, 'sampling', 1, 1000) ?? 100,
    seed: integer(values, 'seed', 0, Number.MAX_SAFE_INTEGER) ?? 0,
    file,
  }
}

function integer(values: Values, name: 'steps' | 'batch' | 'seed' | 'threads' | 'save-every' | 'count' | 'sampling', low: number, high: number): number | undefined {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !Number.isInteger(value) || value < low || value > high) throw new UsageError(`--${name} is ${text}, but must be an integer from ${low} to ${high}`)
  return value
}

function positive(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) throw new UsageError(`--rate is ${text}, but must be a number above 0`)
  return value
}
