/** PyTorch as a benchmark's peer: one Python process that measures named cases, asked a JSON line at a time. */
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Peer } from '../bench/measure.ts'
import type { Fingerprint } from '../bench/values.ts'

/** Python or PyTorch is missing or failed; the message says what to do. */
export class TorchError extends Error {
  override readonly name = 'TorchError'
}

type Request = { readonly do: 'time'; readonly case: string; readonly seconds: number } | { readonly do: 'outputs'; readonly case: string }

interface Answer {
  readonly missing?: string
  readonly error?: string
  readonly torch?: string
  readonly device?: string | null
  readonly times?: readonly number[]
  readonly outputs?: readonly Fingerprint[]
  readonly parameters?: number | null
}

export class Torch implements Peer, AsyncDisposable {
  /** With the device, where it is no processor. */
  readonly version: string
  readonly #python: string
  readonly #process: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  readonly #complaints: readonly string[]

  private constructor(python: string, version: string, started: Started) {
    this.#python = python
    this.version = version
    this.#process = started.process
    this.#lines = started.lines
    this.#complaints = started.complaints
  }

  /** On so many threads, or on a GPU where it has one. Throws TorchError where `python` cannot be run, or has no torch. */
  static async start(python: string, threads: number | 'gpu'): Promise<Torch> {
    const started = await start(python, threads)
    const { missing, torch, device } = await read(python, started)
    if (missing !== undefined || torch === undefined) {
      throw new TorchError(`${python} has no PyTorch (${missing ?? 'it said nothing'}); install it (pip install torch), name another with --python, or leave out --torch`)
    }
    return new Torch(python, `${torch}${typeof device === 'string' ? ` on ${device}` : ''}`, started)
  }

  async time(name: string, seconds: number): Promise<readonly number[]> {
    return (await this.#ask({ do: 'time', case: name, seconds })).times ?? []
  }

  /** What one call of a case gives, and how many scalars its model's parameters have. */
  async outputs(name: string): Promise<{ readonly outputs: readonly Fingerprint[]; readonly parameters: number | undefined }> {
    const { outputs = [], parameters } = await this.#ask({ do: 'outputs', case: name })
    return { outputs, parameters: parameters ?? undefined }
  }

  async #ask(request: Request): Promise<Answer> {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`)
    const answer = await read(this.#python, { process: this.#process, lines: this.#lines, complaints: this.#complaints })
    if (answer.error !== undefined) throw new TorchError(`PyTorch failed on ${request.case}: ${answer.error}`)
    return answer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return
    const ended = new Promise((resolve) => void this.#process.once('exit', resolve))
    this.#process.stdin.end()
    await ended
  }
}

interface Started {
  readonly process: ChildProcessWithoutNullStreams
  readonly lines: AsyncIterator<string>
  /** What it said on stderr. */
  readonly complaints: readonly string[]
}

async function start(python: string, threads: number | 'gpu'): Promise<Started> {
  const script = fileURLToPath(new URL('bench/torch_peer.py', import.meta.resolve('langevin/package.json')))
  const started = spawn(python, [script, String(threads)])
  const complaints: string[] = []
  createInterface(started.stderr).on('line', (line) => complaints.push(line))
  started.stdin.on('error', () => undefined) // It has ended; reading says why.
  await new Promise((resolve, reject) => {
    started.once('spawn', resolve)
    started.once('error', (cause) => reject(new TorchError(`cannot run ${python} (${cause.message}); name a Python that has torch with --python, or leave out --torch`, { cause })))
  })
  return { process: started, lines: createInterface(started.stdout)[Symbol.asyncIterator](), complaints }
}

async function read(python: string, { lines, complaints }: Started): Promise<Answer> {
  const next = await lines.next()
  if (next.done === true) throw new TorchError(`${python} ended without an answer: ${complaints.at(-1) ?? 'it did not say why'}`)
  return JSON.parse(next.value) as Answer
}
