/** The folder of a run: which one, what is in it, and its log. */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { decodeTraining } from '../diffusion/checkpoint.ts'
import type { TrainingCheckpoint } from '../diffusion/checkpoint.ts'
import { ClaimedError, claim, isOfClaims } from './claim.ts'
import { FileError, makeFolder, readFile, writeFile } from './files.ts'

/** Names in a run's folder. */
const files = { checkpoint: 'checkpoint.safetensors', samples: 'samples.png', process: 'process.png', report: 'index.html', log: 'loss.jsonl' } as const

export interface LogLine {
  readonly step: number
  readonly loss: number
  /** Norm of the gradients before clipping. */
  readonly norm: number
  /** Seconds of training until then, pauses left out. */
  readonly seconds: number
}

export class RunFolder {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  get name(): string {
    return path.basename(path.resolve(this.folder))
  }

  path(file: keyof typeof files): string {
    return path.join(this.folder, files[file])
  }

  write(file: keyof typeof files, content: Uint8Array | string): Promise<void> {
    return writeFile(this.path(file), content)
  }

  /** Throws FileError where there is no run. */
  expectRun(): void {
    const file = this.path('checkpoint')
    if (!existsSync(file)) throw new FileError(`${this.folder} holds no run: there is no ${file}; pass the folder of a run that langevin train made`)
  }

  /** Throws FileError without one, CheckpointError for one that is damaged or foreign. */
  readCheckpoint(): TrainingCheckpoint {
    this.expectRun()
    const file = this.path('checkpoint')
    return decodeTraining(readFile(file), file)
  }

  /** Of the steps up to `step`. A log that is missing or cut short costs only its times. */
  readLog(step: number): LogLine[] {
    if (!existsSync(this.path('log'))) return []
    return readFileSync(this.path('log'), 'utf8').split('\n').flatMap((line) => parseLine(line)).filter((line) => line.step <= step)
  }

  writeLog(lines: readonly LogLine[]): Promise<void> {
    return this.write('log', lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  }
}

/** What to type to go on with a run: `started` and `environment` say how this program was started. */
export function resumeCommand(folder: string, started: string = process.argv[1] ?? '', environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return `${programOf(started, environment)} --resume ${quoted(folder)}`
}

function programOf(started: string, { npm_package_name: owner, npm_lifecycle_event: script }: Readonly<Record<string, string | undefined>>): string {
  if (owner === 'langevin' && script === 'start') return 'npm start --'
  if (started.split(/[/\\]/).includes('node_modules')) return 'npx langevin train' // In a project, where no shell finds it by its name.
  return path.basename(started) === 'langevin' ? 'langevin train' : `node ${quoted(path.relative('', started))} train`
}

const quoted = (word: string): string => (/^[\w./-]+$/.test(word) ? word : JSON.stringify(word))

function parseLine(text: string): LogLine[] {
  try {
    const { step, loss, norm, seconds } = JSON.parse(text) as Record<string, unknown>
    return typeof step === 'number' && typeof loss === 'number' && typeof norm === 'number' && typeof seconds === 'number' ? [{ step, loss, norm, seconds }] : []
  } catch {
    return []
  }
}

/** The folder of an earlier run, claimed. Throws FileError. */
export async function openRun(folder: string): Promise<RunFolder> {
  const run = new RunFolder(folder)
  run.expectRun()
  await claim(folder)
  return run
}

/** A new run's folder in `out`, claimed. A name that was not asked for gets a number where it is taken. Throws FileError. */
export async function createRun(out: string, name: string | undefined, otherwise: string): Promise<RunFolder> {
  makeFolder(out)
  for (let n = 1; ; n++) {
    const folder = path.join(out, name ?? (n === 1 ? otherwise : `${otherwise}-${n}`))
    try {
      if (await take(folder)) return new RunFolder(folder)
    } catch (error) {
      if (name !== undefined || !(error instanceof ClaimedError)) throw error
    }
    if (name !== undefined) throw new FileError(`${folder} exists; go on with it by --resume ${folder}, or choose another --name`)
  }
}

/** Claims a folder that holds nothing, and says whether it could. */
async function take(folder: string): Promise<boolean> {
  if (!isFree(folder)) return false
  makeFolder(folder)
  const release = await claim(folder)
  if (isFree(folder)) return true
  release() // A run began and ended here meanwhile.
  return false
}

/** A run that failed before it saved anything leaves a folder without files of its own, which is as good as none. */
function isFree(folder: string): boolean {
  return !existsSync(folder) || (statSync(folder).isDirectory() && readdirSync(folder).every((file) => isOfClaims(file) || /^langevin-.+\.tmp$/.test(file)))
}
