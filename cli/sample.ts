/** `langevin sample`: new pictures from a run that was trained. */
import path from 'node:path'
import { UNet2D } from '../diffusion/unet.ts'
import { loadVariables } from '../nn/checkpoint/load.ts'
import type { SampleArguments } from './arguments.ts'
import { openShown } from './devices.ts'
import { writeFile } from './files.ts'
import { Interrupt } from './interrupt.ts'
import { draw } from './pictures.ts'
import { Progress } from './progress.ts'
import type { Output } from './progress.ts'
import { RunFolder } from './run-folder.ts'
import { denoiserFor, generatorFor, readSettings } from './settings.ts'
import { samplesPng } from './train.ts'

/** Draws with the averaged weights and writes one picture; returns the exit code. */
export async function sample(options: SampleArguments, output: Output): Promise<number> {
  const { run, count, sampling, seed } = options
  const folder = new RunFolder(run)
  const { notes, variables, step } = folder.readCheckpoint()
  const settings = readSettings(notes, folder.path('checkpoint'))
  const file = options.file ?? path.join(run, `samples-${seed}.png`)
  const progress = new Progress(output)
  using interrupt = new Interrupt(() => progress.line('stopping'))
  const device = await openShown(options, progress)
  try {
    const model = new UNet2D(settings.model, { device, generator: generatorFor(settings.seed, 'weights') })
    loadVariables(model.stateDict(), variables, { source: folder.path('checkpoint'), prefix: 'ema.average.', strict: true })
    const drawn = await draw(denoiserFor(model), { device, settings, generator: generatorFor(seed, 'samples'), count, steps: sampling, progress, stop: () => interrupt.code !== undefined })
    if (drawn === undefined) return interrupt.code ?? 0
    await writeFile(file, samplesPng(drawn))
    progress.line(`${count} samples of step ${step}: ${file}`)
    return 0
  } finally {
    progress.end()
    await device.close()
  }
}
