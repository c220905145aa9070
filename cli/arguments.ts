/** The command line: what there is to say, and what was said. */
import { parseArgs } from 'node:util'
import { instructionLevels } from '../engine/device/cpu/instructions.ts'
import type { InstructionLevel } from '../engine/index.ts'
import type { InspectArguments } from './inspect.ts'
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
    --resume DIR      goes on with the run in DIR, as it was begun; bit for bit as if it had never stopped
    --save-every N    steps between checkpoints (default ${defaults.saveEvery})
    --sampling N      sampling steps of the pictures at the end (default ${defaults.sampling})

  langevin sample --run DIR   draws new pictures from a trained run
    --count N         how many (default 64)
    --sampling N      sampling steps (default 100)
    --seed N          which pictures (default 0)
    --file PNG        where to (default DIR/samples-<seed>.png)

  langevin bench cpu|webgpu   measures a device: products, convolutions, attention, training steps
    --torch           PyTorch too, in turns on the same work; needs Python with torch; beside webgpu it takes CUDA where it has it
    --python COMMAND  what runs Python (default python3)
    --only PART       only the subjects whose names contain it; several are separated by commas
    --seconds S       seconds for each subject and library (default 3)
    --level LEVEL     cpu: simd128, relaxed or wide instructions (default: the best there is)
    --no-experimental cpu: leaves V8's experimental flags alone
    --json FILE       writes the results as JSON
    --markdown FILE   writes them as a page

  langevin inspect FILE       what a checkpoint holds: a safetensors file, an index of shards, or a folder
    --verify          reads it all and holds every tensor to the digest it was written with

  langevin info               what this machine and this version can do
  langevin devices            all devices: what they are, and whether they compute what they should

  train, sample, bench and info
    --device KIND     webgpu, cpu or reference (default: webgpu if there is a GPU, else cpu)
    --adapter NAME    part of a GPU's name, as langevin devices lists them (default: the fastest)
    --threads N       CPU threads (default: one a core)

  all commands
    --verbose         whole error messages
    --help, --version

Ctrl-C finishes the step, saves, and says how to go on.
`

export interface DeviceArguments {
  readonly device: 'webgpu' | 'cpu' | 'reference' | undefined
  readonly adapter: string | undefined
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
  readonly saveEvery: number | undefined
  readonly sampling: number | undefined
}

export interface SampleArguments extends DeviceArguments {
  readonly run: string
  readonly count: number
  readonly sampling: number
  readonly seed: number
  readonly file: string | undefined
}

export interface BenchArguments {
  readonly device: 'cpu' | 'webgpu'
  readonly adapter: string | undefined
  readonly threads: number | undefined
  /** The command that runs Python, where PyTorch is to be measured too. */
  readonly torch: string | undefined
  readonly only: string | undefined
  readonly seconds: number
  readonly level: InstructionLevel | undefined
  readonly experimental: boolean
  readonly json: string | undefined
  readonly markdown: string | undefined
}

export type Command =
  | { readonly name: 'help' | 'version' | 'devices' }
  | { readonly name: 'train'; readonly train: TrainArguments }
  | { readonly name: 'sample'; readonly sample: SampleArguments }
  | { readonly name: 'inspect'; readonly inspect: InspectArguments }
  | { readonly name: 'info'; readonly info: DeviceArguments }
  | { readonly name: 'bench'; readonly bench: BenchArguments }

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
  torch: { type: 'boolean' },
  python: { type: 'string' },
  only: { type: 'string' },
  seconds: { type: 'string' },
  level: { type: 'string' },
  'no-experimental': { type: 'boolean' },
  json: { type: 'string' },
  markdown: { type: 'string' },
  verify: { type: 'boolean' },
  device: { type: 'string' },
  adapter: { type: 'string' },
  threads: { type: 'string' },
  verbose: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const

type Name = keyof typeof options
const everywhere: readonly Name[] = ['verbose', 'help', 'version']
const ofDevices: readonly Name[] = ['device', 'adapter', 'threads']
const own: Readonly<Record<'train' | 'sample' | 'inspect' | 'info' | 'devices' | 'bench', readonly Name[]>> = {
  train: ['steps', 'batch', 'rate', 'seed', 'name', 'out', 'resume', 'save-every', 'sampling', ...ofDevices],
  sample: ['run', 'count', 'sampling', 'seed', 'file', ...ofDevices],
  inspect: ['verify'],
  info: ofDevices,
  devices: [],
  bench: ['torch', 'python', 'only', 'seconds', 'level', 'no-experimental', 'json', 'markdown', ...ofDevices],
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
  if (values.help === true || name === 'help') return { name: 'help' }
  if (name === undefined) {
    const [given] = Object.keys(values).filter((option) => option !== 'verbose')
    if (given !== undefined) throw new UsageError(`--${given} is an option of a command; put train, sample, inspect, bench, info or devices before it`)
    return { name: 'help' }
  }
  if (name !== 'train' && name !== 'sample' && name !== 'inspect' && name !== 'info' && name !== 'devices' && name !== 'bench') throw new UsageError(`there is no command "${name}"; use train, sample, inspect, bench, info or devices`)
  for (const [given, value] of Object.entries(values)) {
    if (value === '') throw new UsageError(`--${given} is empty; give it a value, or leave it out`)
    if (![...own[name], ...everywhere].some((known) => known === given)) throw new UsageError(`langevin ${name} has no option --${given}; see langevin --help`)
  }
  const dataset = name === 'train' ? rest.shift() : undefined
  if (dataset !== undefined && dataset !== 'digits') throw new UsageError(`there is no data set "${dataset}"; use digits`)
  const measured = name === 'bench' ? rest.shift() : undefined
  const file = name === 'inspect' ? rest.shift() : undefined
  if (rest.length > 0) throw new UsageError(`what is "${rest.join(' ')}"? See langevin --help`)
  switch (name) {
    case 'train':
      return { name, train: trainArguments(values) }
    case 'sample':
      return { name, sample: sampleArguments(values) }
    case 'inspect':
      if (file === undefined) throw new UsageError('langevin inspect needs a file: langevin inspect FILE, a path of safetensors or of the index of shards')
      return { name, inspect: { file, verify: values.verify === true } }
    case 'info':
      return { name, info: deviceArguments(values) }
    case 'devices':
      return { name }
    case 'bench':
      return { name, bench: benchArguments(measured, values) }
    default:
      return name satisfies never
  }
}

function deviceArguments(values: Values): DeviceArguments {
  const { device, adapter } = values
  if (device !== undefined && device !== 'webgpu' && device !== 'cpu' && device !== 'reference') throw new UsageError(`there is no device "${device}"; use webgpu, cpu or reference`)
  const threads = integer(values, 'threads', 1, 256)
  if (adapter !== undefined && (device ?? 'webgpu') !== 'webgpu') throw new UsageError(`--adapter names a GPU; leave out --device ${device}`)
  if (threads !== undefined && (adapter !== undefined || (device ?? 'cpu') !== 'cpu')) throw new UsageError('--threads is for the CPU; leave it out')
  return { device, adapter, threads }
}

function trainArguments(values: Values): TrainArguments {
  const { name, resume, out = 'runs' } = values
  if (resume !== undefined && (name !== undefined || values.out !== undefined)) throw new UsageError('--resume goes on in the folder it names; leave out --name and --out')
  if (name !== undefined && !/^[\w][\w.-]*$/.test(name)) throw new UsageError(`--name ${name} is no name for a folder; use letters, digits, dots, dashes and underscores`)
  return {
    ...deviceArguments(values),
    steps: integer(values, 'steps', 1, 1e9),
    batch: integer(values, 'batch', 1, 65536),
    rate: positive(values, 'rate'),
    seed: integer(values, 'seed', 0, Number.MAX_SAFE_INTEGER),
    name,
    out,
    resume,
    saveEvery: integer(values, 'save-every', 1, 1e9),
    sampling: integer(values, 'sampling', 1, 1000),
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

function benchArguments(measured: string | undefined, values: Values): BenchArguments {
  if (measured !== 'cpu' && measured !== 'webgpu') throw new UsageError(measured === undefined ? 'langevin bench needs to know what: langevin bench cpu, or webgpu' : `there is no benchmark of "${measured}"; use cpu or webgpu`)
  const { device, adapter, torch = false, python, only, level, 'no-experimental': refused = false, json, markdown } = values
  if (device !== undefined && device !== measured) throw new UsageError(`langevin bench ${measured} measures that device; leave out --device ${device}`)
  if (adapter !== undefined && measured === 'cpu') throw new UsageError('langevin bench cpu measures the CPU; leave out --adapter')
  for (const name of ['threads', 'level', 'no-experimental'] as const) if (values[name] !== undefined && measured === 'webgpu') throw new UsageError(`--${name} is for the CPU; leave it out`)
  if (python !== undefined && !torch) throw new UsageError('--python says how to run PyTorch; add --torch, or leave it out')
  const known = instructionLevels.find((l) => l === level)
  if (level !== undefined && known === undefined) throw new UsageError(`--level is ${level}, but must be ${instructionLevels.join(' or ')}`)
  if (known === 'wide' && refused) throw new UsageError('--level wide needs an experimental flag of V8; leave out --no-experimental')
  return {
    device: measured,
    adapter,
    threads: integer(values, 'threads', 1, 256),
    torch: torch ? (python ?? 'python3') : undefined,
    only,
    seconds: positive(values, 'seconds') ?? 3,
    level: known,
    experimental: !refused,
    json,
    markdown,
  }
}

function integer(values: Values, name: 'steps' | 'batch' | 'seed' | 'threads' | 'save-every' | 'count' | 'sampling', low: number, high: number): number | undefined {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !Number.isInteger(value) || value < low || value > high) throw new UsageError(`--${name} is ${text}, but must be an integer from ${low} to ${high}`)
  return value
}

function positive(values: Values, name: 'rate' | 'seconds'): number | undefined {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) throw new UsageError(`--${name} is ${text}, but must be a number above 0`)
  return value
}
