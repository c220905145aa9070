/** What a run is set to: its defaults, how its checkpoint remembers it, and the network and trainer it makes. */
import { clipped, denoiserOf } from '../diffusion/denoiser.ts'
import type { Denoiser } from '../diffusion/denoiser.ts'
import { diffusionLoss } from '../diffusion/loss.ts'
import { epsPrediction } from '../diffusion/parameterization.ts'
import { linearBetas } from '../diffusion/paths/betas.ts'
import { discretePath } from '../diffusion/paths/discrete.ts'
import type { NoisePath } from '../diffusion/paths/path.ts'
import { Trainer } from '../diffusion/trainer.ts'
import { UNet2D } from '../diffusion/unet.ts'
import { checkConfig } from '../diffusion/unet-config.ts'
import type { UNet2DConfig } from '../diffusion/unet-config.ts'
import { CheckpointError, RandomGenerator, normal, randint } from '../engine/index.ts'
import type { Device } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import { isRecord, parseJson, show } from '../nn/checkpoint/json.ts'
import { warmupDecay } from '../nn/ema-decay.ts'
import { cosineSchedule, withWarmup } from '../nn/learningRate.ts'
import type { Images } from './digits.ts'

export interface Settings {
  readonly dataset: 'digits'
  /** Of the data. */
  readonly digest: string
  readonly steps: number
  readonly batch: number
  readonly seed: number
  /** Steps between checkpoints. */
  readonly saveEvery: number
  /** Sampling steps of the pictures at the end. */
  readonly sampling: number
  /** The highest learning rate. */
  readonly rate: number
  readonly warmup: number
  readonly weightDecay: number
  readonly clip: number
  /** The longest memory of the moving average of the weights. */
  readonly emaDecay: number
  readonly timesteps: number
  readonly model: UNet2DConfig & { readonly sample_size: number }
}

export const defaults: Omit<Settings, 'digest'> = {
  dataset: 'digits',
  steps: 800,
  batch: 64,
  seed: 0,
  saveEvery: 250,
  sampling: 100,
  rate: 2e-3,
  warmup: 50,
  weightDecay: 0.01,
  clip: 1,
  emaDecay: 0.998,
  timesteps: 1000,
  model: {
    sample_size: 8,
    in_channels: 1,
    out_channels: 1,
    block_out_channels: [32, 64],
    layers_per_block: 1,
    norm_num_groups: 8,
    down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
    up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
    attention_head_dim: 8,
  },
}

/** Children of the seed's generator: what is drawn from one does not depend on how much was drawn from another. */
const streams = { weights: 0, training: 1, samples: 2, layers: 3 } as const

export const generatorFor = (seed: number, stream: keyof typeof streams): RandomGenerator => new RandomGenerator(seed).fork(streams[stream])

export interface Run {
  readonly model: UNet2D
  readonly trainer: Trainer
}

/** A run at its beginning. The device's generator, from which layers such as dropout draw, is started anew. */
export function startRun(settings: Settings, images: Images, device: Device): Run {
  const { batch, seed, rate, steps, warmup, weightDecay, clip, emaDecay } = settings
  device.generator.restore(generatorFor(seed, 'layers').state())
  const model = new UNet2D(settings.model, { device, generator: generatorFor(seed, 'weights') })
  const rising = Math.min(warmup, Math.floor(steps / 2))
  const path = pathOf(settings)
  const trainer = new Trainer({
    model,
    device,
    examples: images,
    batch,
    generator: generatorFor(seed, 'training'),
    loss(x0, generator) {
      const t = randint([at(x0.shape, 0)], { high: settings.timesteps, generator, device })
      return diffusionLoss((x, when) => model.call(x, when), x0, { path, t, eps: normal(x0.shape, { generator, device }) })
    },
    optimizer: {
      lr: withWarmup(cosineSchedule(rate, { steps: steps - rising }), rising, { start: 1 / (rising + 1) }),
      weightDecay,
      maxNorm: clip,
    },
    ema: { decay: warmupDecay(emaDecay) },
  })
  return { model, trainer }
}

/** The denoiser of a model that was trained with those settings. */
export function denoiserFor(model: UNet2D): Denoiser {
  return clipped()(denoiserOf((x, t) => model.call(x, t), epsPrediction()))
}

/** DDPM's, with its β from 1e-4 to 0.02 whatever the number of timesteps. */
export const pathOf = ({ timesteps }: Settings): NoisePath => discretePath(linearBetas(timesteps, { first: 1e-4, last: 0.02 }))

/** Settings that runs did not record at first, as they were then: what is new goes in here, with what the code before did. */
const unrecorded: Partial<Settings> = { saveEvery: 250, sampling: 100 }

/** The settings in a checkpoint's notes. Throws CheckpointError where there are none, or other ones than this program knows; ConfigError for a network that it does not know. */
export function readSettings(notes: Readonly<Record<string, string>>, source: string): Settings {
  const foreign = (what: string): never => {
    throw new CheckpointError(`${source} ${what}`)
  }
  const text = notes['settings'] ?? foreign('does not say what it was trained with; only runs of langevin train can be taken up')
  const recorded = parseJson(new TextEncoder().encode(text), 'the record of settings', (why) => foreign(`is damaged: ${why}`))
  const found: Readonly<Record<string, unknown>> = { ...recorded, ...unrecorded, ...recorded } // In the order of the record, so that it is written again as it was.
  const unknown = Object.keys(found).filter((key) => !Object.hasOwn(template, key))
  if (unknown.length > 0) foreign(`was trained with ${unknown.join(' and ')}, which this version does not know; go on with the version that wrote it`)
  if (!isSettings(found)) {
    const [key = ''] = Object.entries(template).find(([name, value]) => typeof value !== typeof found[name]) ?? ['model.sample_size']
    return foreign(`does not say its ${key}: it is ${show(found[key])}; use the version that wrote it, or an earlier checkpoint`)
  }
  checkConfig(found.model)
  return found
}

const template: Readonly<Record<string, unknown>> = { ...defaults, digest: '' }

/** Whether it has every setting, each of the type that the default has. */
function isSettings(found: Readonly<Record<string, unknown>>): found is Readonly<Record<string, unknown>> & Settings {
  return Object.entries(template).every(([key, value]) => typeof value === typeof found[key]) && isRecord(found['model']) && typeof found['model']['sample_size'] === 'number'
}
