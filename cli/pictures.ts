/** Draws samples from a denoiser and lays them out: a grid of results, and the way from noise to one of them. */
import type { Denoiser } from '../diffusion/denoiser.ts'
import { levels } from '../diffusion/paths/levels.ts'
import { sample } from '../diffusion/sample.ts'
import { ancestralEuler } from '../diffusion/samplers/ancestral.ts'
import type { Device, RandomGenerator, TypedArray } from '../engine/index.ts'
import { readData } from '../engine/realize.ts'
import type { Progress } from './progress.ts'
import { pathOf } from './settings.ts'
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

/** Samples by DDPM's ancestral sampling in `steps` steps; undefined if stopped. */
export async function draw(denoise: Denoiser, { device, settings, generator, count, steps, progress, stop }: DrawOptions): Promise<Drawn | undefined> {
  const { in_channels: channels, sample_size: size } = settings.model
  const path = pathOf(settings)
  const wanted = new Set(Array.from({ length: kept }, (_, i) => Math.round((i * (steps - 1)) / (kept - 1))))
  const stages: { noisy: TypedArray[]; denoised: TypedArray[] } = { noisy: [], denoised: [] }
  const stopping = new AbortController()
  let done = 0
  progress.wait(() => (done === 0 ? 'the first sampling step' : `sampling step ${done} of ${steps}`))
  try {
    const x = await sample(denoise, {
      path, levels: levels(path, steps), sampler: ancestralEuler(), shape: [channels, size, size], seeds: generator.split(count).map(seedOf), device, signal: stopping.signal,
      async onStep({ state, x0 }) {
        done = state.step
        if (stop?.() === true) stopping.abort()
        if (!wanted.has(done - 1)) return
        stages.noisy.push(await firstImage(state.x, channels * size * size))
        stages.denoised.push(await firstImage(x0, channels * size * size))
      },
    })
    return stop?.() === true ? undefined : { shape: [count, channels, size, size], values: await readData(x), stages }
  } catch (error) {
    if (error === stopping.signal.reason) return undefined
    throw error
  }
}

/** The seed whose generator is this one at its beginning. */
function seedOf(generator: RandomGenerator): bigint {
  const [low, high] = generator.state().key
  return (BigInt(high) << 32n) | BigInt(low)
}

async function firstImage(x: Parameters<typeof readData>[0], size: number): Promise<TypedArray> {
  return (await readData(x)).slice(0, size)
}
