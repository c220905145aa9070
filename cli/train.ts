/** `langevin train`: from data to pictures, with stopping, saving and going on. */
import { DivergedError } from '../diffusion/trainer.ts'
import { CheckpointError, withValues } from '../engine/index.ts'
import type { Device } from '../engine/index.ts'
import type { TrainArguments } from './arguments.ts'
import { UsageError } from './arguments.ts'
import { openShown } from './devices.ts'
import { loadDigits } from './digits.ts'
import type { Images } from './digits.ts'
import { FileError, fileError } from './files.ts'
import { Interrupt } from './interrupt.ts'
import { draw } from './pictures.ts'
import type { Drawn } from './pictures.ts'
import { encodePng, gridOf } from './png.ts'
import { Progress, formatTime } from './progress.ts'
import type { Output } from './progress.ts'
import { renderReport } from './report.ts'
import type { Report } from './report.ts'
import { createRun, openRun, resumeCommand } from './run-folder.ts'
import type { LogLine, RunFolder } from './run-folder.ts'
import { defaults, denoiserFor, generatorFor, readSettings, startRun } from './settings.ts'
import type { Run, Settings } from './settings.ts'

/** Trains; returns the exit code: 0, or that of the signal that stopped it. */
export async function train(options: TrainArguments, output: Output): Promise<number> {
  const images = loadDigits()
  const progress = new Progress(output)
  using interrupt = new Interrupt(() => progress.line('stopping after this step; Ctrl-C again stops at once'))
  const session = await open(options, images, progress)
  try {
    return await session.train(interrupt)
  } finally {
    progress.end()
    await session.device.close()
  }
}

async function open(options: TrainArguments, images: Images, progress: Progress): Promise<Session> {
  const { resume, name, out } = options
  const folder = resume === undefined ? await createRun(out, name, defaults.dataset) : await openRun(resume)
  const checkpoint = resume === undefined ? undefined : folder.readCheckpoint()
  const settings = checkpoint === undefined ? newSettings(options, images) : resumedSettings(options, images, readSettings(checkpoint.notes, folder.path('checkpoint')), checkpoint.step)
  const device = await openShown(options, progress)
  progress.line(`${checkpoint === undefined ? 'training' : `going on with step ${checkpoint.step + 1} of`} ${folder.folder} on ${device.description}`)
  const run = startRun(settings, images, device)
  if (checkpoint !== undefined) for (const warning of run.trainer.restore(checkpoint, folder.path('checkpoint'))) progress.line(`warning: ${warning}`)
  return new Session(folder, settings, run, device, progress, folder.readLog(run.trainer.step))
}

/** What was given, else the defaults. */
function newSettings({ steps, batch, rate, seed, saveEvery, sampling }: TrainArguments, { digest }: Images): Settings {
  const given = Object.entries({ steps, batch, rate, seed, saveEvery, sampling }).filter(([, value]) => value !== undefined)
  return { ...defaults, digest, ...Object.fromEntries(given) }
}

/** A run keeps what it began with; only its end may be moved, which moves the learning rate's schedule too, and what does not change its course. */
function resumedSettings(options: TrainArguments, images: Images, settings: Settings, taken: number): Settings {
  const { steps = settings.steps } = options
  if (steps < taken) throw new UsageError(`the run has taken ${taken} steps and cannot end with --steps ${steps}; give a larger number, or leave the option out`)
  for (const key of ['batch', 'rate', 'seed'] as const) {
    const given = options[key]
    if (given !== undefined && given !== settings[key]) throw new UsageError(`the run began with --${key} ${settings[key]} and cannot go on with ${given}; leave the option out`)
  }
  if (settings.digest !== images.digest) throw new CheckpointError('the run was trained on other data than the digits of this version; resume it with the version that began it')
  return { ...settings, steps, saveEvery: options.saveEvery ?? settings.saveEvery, sampling: options.sampling ?? settings.sampling }
}

class Session {
  readonly device: Device
  readonly #folder: RunFolder
  readonly #settings: Settings
  readonly #run: Run
  readonly #progress: Progress
  readonly #log: LogLine[]
  /** performance.now() at which the run would have begun had it never paused. */
  #epoch = 0
  #saved = -1

  constructor(folder: RunFolder, settings: Settings, run: Run, device: Device, progress: Progress, log: LogLine[]) {
    this.#folder = folder
    this.#settings = settings
    this.#run = run
    this.device = device
    this.#progress = progress
    this.#log = log
  }

  async train(interrupt: Interrupt): Promise<number> {
    const { trainer } = this.#run
    const { steps, saveEvery } = this.#settings
    this.#progress.wait(() => 'the first step')
    this.#epoch = performance.now() - 1000 * (this.#log.at(-1)?.seconds ?? 0)
    try {
      // Before the first step too: a folder or a disk that takes no checkpoint is found now.
      if (trainer.step < steps) await this.#save()
      while (trainer.step < steps && interrupt.code === undefined) {
        const until = Math.min(steps, (Math.floor(trainer.step / saveEvery) + 1) * saveEvery)
        await this.#trainUntil(until, interrupt)
        await this.#save()
      }
    } catch (error) {
      this.#progress.end()
      throw this.#explain(error)
    }
    if (interrupt.code === undefined) await this.#finish(interrupt)
    if (interrupt.failure !== undefined) throw this.#explain(fileError('write', 'standard output', interrupt.failure))
    if (interrupt.code === undefined) return 0
    const after = trainer.step < steps ? `stopped after step ${trainer.step} of ${steps}` : 'stopped while drawing pictures'
    this.#progress.line(`${after}; everything is saved. Go on with: ${resumeCommand(this.#folder.folder)}`)
    return interrupt.code
  }

  async #trainUntil(until: number, interrupt: Interrupt): Promise<void> {
    const { batch, steps } = this.#settings
    const { trainer } = this.#run
    const recent: { step: number; at: number }[] = [{ step: trainer.step, at: performance.now() }]
    for await (const finished of trainer.steps(until)) {
      const now = performance.now()
      recent.push({ step: finished.step, at: now })
      if (recent.length > 50) recent.shift()
      const perSecond = rate(recent)
      this.#progress.update({ step: finished.step, steps, loss: finished.loss, imagesPerSecond: perSecond * batch, left: (steps - finished.step) / perSecond }, finished.step === steps)
      this.#note(now)
      if (interrupt.code !== undefined) break
    }
    this.#note(performance.now())
  }

  /** Logs the steps that have finished since. */
  #note(now: number): void {
    const { loss, norm } = this.#run.trainer.history
    const seconds = Math.round(now - this.#epoch) / 1000
    for (let step = (this.#log.at(-1)?.step ?? 0) + 1; step <= loss.length; step++) {
      this.#log.push({ step, loss: loss[step - 1] ?? 0, norm: norm[step - 1] ?? 0, seconds })
    }
  }

  async #save(): Promise<void> {
    const { trainer } = this.#run
    const bytes = await trainer.save({ settings: JSON.stringify(this.#settings) })
    await this.#folder.write('checkpoint', bytes)
    this.#saved = trainer.step
    await this.#folder.writeLog(this.#log)
    await this.#report([])
  }

  /** Adds what is left of the run to an error that ends it. */
  #explain(error: unknown): unknown {
    if (!(error instanceof FileError || error instanceof DivergedError)) return error
    const good = this.#saved < 0 ? 'Nothing was saved' : `The last good checkpoint is ${this.#folder.path('checkpoint')}, of step ${this.#saved}${error instanceof FileError ? `; go on with: ${resumeCommand(this.#folder.folder)}` : ''}`
    const message = `${error.message.replace(/\.$/, '')}. ${good}`
    return error instanceof FileError ? new FileError(message, { cause: error }) : new DivergedError(message, { cause: error })
  }

  /** Pictures from the averaged weights, and the page. */
  async #finish(interrupt: Interrupt): Promise<void> {
    const { trainer, model } = this.#run
    this.#progress.line(`trained ${trainer.step} steps in ${formatTime(this.#log.at(-1)?.seconds ?? 0)}; drawing pictures`)
    const values = trainer.ema?.values ?? new Map()
    const denoise = denoiserFor(model)
    const drawn = await draw((...asked) => withValues(values, () => denoise(...asked)), {
      device: this.device,
      settings: this.#settings,
      generator: generatorFor(this.#settings.seed, 'samples'),
      count: 64,
      steps: this.#settings.sampling,
      progress: this.#progress,
      stop: () => interrupt.code !== undefined,
    })
    if (drawn === undefined) return
    const [samples, reverse] = [samplesPng(drawn), processPng(drawn)]
    await this.#folder.write('samples', samples)
    await this.#folder.write('process', reverse)
    await this.#report([
      { title: 'Samples', png: samples },
      { title: 'From noise to digit: what is left of the noise, and below it what the network sees behind it', png: reverse },
    ])
    for (const file of ['samples', 'process', 'report'] as const) this.#progress.line(`  ${this.#folder.path(file)}`)
  }

  async #report(pictures: Report['pictures']): Promise<void> {
    const { model, ...rest } = this.#settings
    await this.#folder.write('report', renderReport({
      name: this.#folder.name,
      step: this.#run.trainer.step,
      steps: this.#settings.steps,
      seconds: this.#log.at(-1)?.seconds ?? 0,
      device: this.device.description,
      losses: this.#run.trainer.history.loss,
      settings: [...Object.entries(rest).map(([key, value]) => [key, String(value)] as const), ['model', JSON.stringify(model)]],
      pictures,
    }))
  }
}

/** Steps per second over a window. */
function rate(window: readonly { readonly step: number; readonly at: number }[]): number {
  const [first, last] = [window[0], window.at(-1)]
  if (first === undefined || last === undefined || last.at === first.at) return 0
  return (1000 * (last.step - first.step)) / (last.at - first.at)
}

export function samplesPng({ values, shape }: Drawn): Uint8Array {
  return encodePng(gridOf(values, shape, { columns: Math.ceil(Math.sqrt(shape[0] ?? 1)) }))
}

/** Two rows, one under the other. */
function processPng({ shape, stages: { noisy, denoised } }: Drawn): Uint8Array {
  const flat = [...noisy, ...denoised].flatMap((image) => [...image])
  return encodePng(gridOf(flat, [noisy.length + denoised.length, ...shape.slice(1)], { columns: noisy.length, scale: 8 }))
}
