/** The folder of a run: which one, what is in it, and its log. */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { decodeTraining } from '../diffusion/checkpoint.ts'
import type { TrainingCheckpoint } from '../diffusion/checkpoint.ts'
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

  /** Throws FileError without one, CheckpointError for one that is damaged or foreign. */
  readCheckpoint(): TrainingCheckpoint {
    const file = this.path('checkpoint')
    if (!existsSync(file)) throw new FileError(`${this.folder} holds no run: there is no ${file}; pass the folder of a run that langevin train made`)
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

/** What to type to go on with a run: in the sources by way of npm, else by the installed command. */
export function resumeCommand(folder: string): string {
  const program = import.meta.url.endsWith('.ts') ? 'npm start --' : 'langevin train'
  return `${program} --resume ${/^[\w./-]+$/.test(folder) ? folder : JSON.stringify(folder)}`
}

function parseLine(text: string): LogLine[] {
  try {
    const { step, loss, norm, seconds } = JSON.parse(text) as Record<string, unknown>
    return typeof step === 'number' && typeof loss === 'number' && typeof norm === 'number' && typeof seconds === 'number' ? [{ step, loss, norm, seconds }] : []
  } catch {
    return []
  }
}

/** A new run's folder in `out`. A name that was not asked for gets a number where it is taken. Throws FileError. */
export function createRun(out: string, name: string | undefined, otherwise: string): RunFolder {
  makeFolder(out)
  const free = (candidate: string): boolean => isFree(path.join(out, candidate))
  if (name !== undefined && !free(name)) {
    const folder = path.join(out, name)
    throw new FileError(`${folder} exists; go on with it by --resume ${folder}, or choose another --name`)
  }
  let chosen = name ?? otherwise
  for (let n = 2; name === undefined && !free(chosen); n++) chosen = `${otherwise}-${n}`
  const run = new RunFolder(path.join(out, chosen))
  makeFolder(run.folder)
  return run
}

/** A run that failed before it saved anything leaves an empty folder, which is as good as none. */
function isFree(folder: string): boolean {
  return !existsSync(folder) || (statSync(folder).isDirectory() && readdirSync(folder).length === 0)
}
