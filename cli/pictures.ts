/** Draws samples from a denoiser and lays them out: a grid of results, and the way from noise to one of them. */
import type { Denoiser } from '../diffusion/denoiser.ts'
import { ddim } from '../diffusion/samplers.ts'
import { NoiseSchedule } from '../diffusion/schedule.ts'
import { mul, normal, realize } from '../engine/index.ts'
import type { Device, RandomGenerator, TypedArray } from '../engine/index.ts'
import { readData } from '../engine/realize.ts'
import { at } from '../engine/shape.ts'
import type { Progress } from './progress.ts'
import type { Settings } from './settings.ts'

export interface DrawOptions {
  readonly device: Device
  readonly settings: Settings
  /** Image number i draws from the child number i, whatever else is drawn. */
  readonly generator: RandomGenerator
  readonly count: number
  /** Sampling steps. */
  readonly steps: number
  readonly progress: Progress
  /** Called after each step; true stops. */
  readonly stop?: () => boolean
}

export interface Drawn {
  /** [count, C, H, W]. */
  readonly shape: readonly number[]
  readonly values: TypedArray
  /** Stages of the first image, [stages, C, H, W]: what is left of the noise, and below what the network sees behind it. */
  readonly stages: { readonly noisy: readonly TypedArray[]; readonly denoised: readonly TypedArray[] }
}

/** How many stages of the reverse process are kept, ends included. */
const kept = 12

/** Samples by DDPM's ancestral sampling over `steps` noise levels; undefined if stopped. */
export async function draw(denoise: Denoiser, { device, settings, generator, count, steps, progress, stop }: DrawOptions): Promise<Drawn | undefined> {
  const { in_channels: channels, sample_size: size } = settings.model
  const shape = [count, channels, size, size]
  const streams = generator.split(count)
  const noise = (): ReturnType<typeof normal> => normal(shape, { generator: streams, device })
  const sigmas = NoiseSchedule.linear({ timesteps: settings.timesteps }).levels(steps)
  const start = mul(noise(), at(sigmas, 0))
  const wanted = new Set(Array.from({ length: kept }, (_, i) => Math.round((i * (steps - 1)) / (kept - 1))))
  const stages: { noisy: TypedArray[]; denoised: TypedArray[] } = { noisy: [], denoised: [] }
  let last = start
  let done = 0
  progress.wait(() => (done === 0 ? 'the first sampling step' : `sampling step ${done} of ${steps}`))
  for (const { index, sigma, x, denoised } of ddim(denoise, start, sigmas, { eta: 1, noise })) {
    await realize(x, denoised)
    done = index + 1
    if (stop?.() === true) return undefined
    if (wanted.has(index)) {
      stages.noisy.push(await firstImage(mul(x, 1 / Math.hypot(1, sigma)), channels * size * size))
      stages.denoised.push(await firstImage(denoised, channels * size * size))
    }
    last = x
  }
  return { shape, values: await readData(last), stages }
}

async function firstImage(x: Parameters<typeof readData>[0], size: number): Promise<TypedArray> {
  return (await readData(x)).slice(0, size)
}
