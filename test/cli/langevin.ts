/** Runs the command line in a process of its own, as a shell does. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { decodeTraining } from '../../diffusion/checkpoint.ts'
import type { TrainingCheckpoint } from '../../diffusion/checkpoint.ts'

const root = path.resolve(import.meta.dirname, '../..')

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Watching {
  /** Called with all output so far, whenever there is more. */
  readonly watch?: (stdout: string, child: ChildProcess) => void
  /** A file that takes the output, instead of the result. */
  readonly output?: string
}

/** `langevin` with those arguments, separated by spaces. */
export function langevin(line: string, { watch, output }: Watching = {}): Promise<Ended> {
  const into = output === undefined ? 'pipe' : openSync(output, 'w')
  const child = spawn(process.execPath, [path.join(root, 'cli/main.ts'), ...line.split(' ')], { cwd: root, stdio: ['ignore', into, 'pipe'] })
  if (into !== 'pipe') closeSync(into)
  let [stdout, stderr] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    watch?.(stdout, child)
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}

/** A folder that is gone after `use`. */
export class Scratch implements Disposable {
  readonly folder: string = mkdtempSync(path.join(tmpdir(), 'langevin-test-'))

  path(...parts: string[]): string {
    return path.join(this.folder, ...parts)
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export function checkpointOf(run: string): { readonly bytes: Uint8Array<ArrayBuffer>; readonly checkpoint: TrainingCheckpoint } {
  const file = path.join(run, 'checkpoint.safetensors')
  const bytes = new Uint8Array(readFileSync(file))
  return { bytes, checkpoint: decodeTraining(bytes, file) }
}

/** Fast enough for a test: what counts here is everything around the training. */
export const tiny = '--batch 2 --sampling 2'
