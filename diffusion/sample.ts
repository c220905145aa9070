/** From noise to images: the loop around a sampler's steps, with its seeds, its memory and its end. */
import { ConfigError, RandomGenerator, ShapeError, explain, normal, realize, zeros } from '../engine/index.ts'
import type { Device, Shape, Tensor } from '../engine/index.ts'
import { getDefaultDevice } from '../engine/device/device.ts'
import { refuseOthers } from '../engine/error.ts'
import { at, formatShape, sameShape } from '../engine/shape.ts'
import { combine } from './arithmetic.ts'
import { addNoise } from './parameterization.ts'
import type { Conditions, Denoiser, Guidance } from './denoiser.ts'
import { noiseRatio } from './paths/path.ts'
import type { HostLevel, NoisePath } from './paths/path.ts'
import type { Problem, Sampler, SamplerState } from './samplers/sampler.ts'

export interface SampleOptions<C extends Conditions> {
  readonly path: NoisePath
  /** The levels to go through: `levels(path, steps)`, or a part of such. */
  readonly levels: readonly HostLevel[]
  readonly sampler: Sampler
  /** Of one image, such as [C, H, W]. */
  readonly shape: Shape
  /** One for each image: the same seed gives the same image, whatever batch it is in. */
  readonly seeds: readonly (number | bigint)[]
  /** Tensors whose first axis counts the images. */
  readonly conditions?: C
  readonly guidance?: Guidance<C>
  /** What to begin with: `image` is noised to the first level; `noisy` lies there already; a state is gone on from. Default: noise. */
  readonly from?: { readonly image: Tensor } | { readonly noisy: Tensor } | SamplerState
  /** Default: that of `from`, else the default device. */
  readonly device?: Device
  /** Stops before the next step; the promise is rejected with its reason. */
  readonly signal?: AbortSignal
  /** Called after each step and awaited. Its tensors are let go of when the next step is taken: read them, or keep what they hold. */
  readonly onStep?: (progress: SampleProgress) => void | Promise<void>
}

export interface SampleProgress {
  /** Where the sampler is now; with it as `from`, another call goes on. */
  readonly state: SamplerState
  /** Steps in all. */
  readonly steps: number
  /** The level that the images have now. */
  readonly level: HostLevel
  /** What the network saw behind the images before the step [B, …]. */
  readonly x0: Tensor
}

/**
 * Images [seeds, …shape] by `sampler` over `levels`. Each step is one run of the device; nothing is kept of a step but what later ones need. All noise is a
 * function of an image's seed, the step and the draw.
 *
 * Throws ConfigError for levels that do not descend in noise or are too few for the sampler, ShapeError for conditions or a beginning that do not have the batch
 * of the seeds.
 */
export async function sample<C extends Conditions>(denoiser: Denoiser<C>, options: SampleOptions<C>): Promise<Tensor> {
  const { path, levels, sampler, shape, seeds, from, device: wanted, signal, onStep } = options
  const batch = [seeds.length, ...shape]
  check('sample', options, batch)
  const device = wanted ?? deviceOf(from) ?? getDefaultDevice('sample')
  const roots = seeds.map((seed) => new RandomGenerator(seed))
  const problem = problemOf(denoiser, options, roots, device)
  let state = begin(from, path, at(levels, 0), () => noiseOf(roots, batch, device))
  const given = from === undefined ? [] : tensorsOf(state)
  const steps = levels.length - 1
  const release = (tensors: readonly Tensor[], kept: readonly Tensor[] = []): void => {
    for (const old of new Set(tensors)) if (!kept.includes(old) && !given.includes(old)) old.dispose()
  }
  try {
    while (state.step < steps) {
      signal?.throwIfAborted()
      const { x0, memory = {}, numbers = {}, step, x } = await sampler.step(state, problem)
      const next: SamplerState = { step, x, memory, numbers }
      await realize(...tensorsOf(next), ...(onStep === undefined ? [] : [x0]))
      release(tensorsOf(state), tensorsOf(next))
      state = next
      if (onStep === undefined) continue
      await onStep({ state, steps, level: at(levels, step), x0 })
      release([x0], tensorsOf(state))
    }
  } catch (error) {
    release(tensorsOf(state))
    throw error
  }
  release(Object.values(state.memory), [state.x])
  return state.x
}

function problemOf<C extends Conditions>(denoiser: Denoiser<C>, { path, levels, shape, seeds, conditions = {} as C, guidance }: SampleOptions<C>, roots: readonly RandomGenerator[], device: Device): Problem {
  const guided = guidance === undefined ? denoiser : guidance(denoiser)
  return {
    path, levels,
    noise: (step, draw = 0) => normal([seeds.length, ...shape], { device, generator: roots.map((root) => root.fork(step + 1).fork(draw)) }),
    denoise: (x, level) => guided(x, level, conditions),
  }
}

/**
 * The bytes that a run of `sample` with these options takes on the device at its worst moment, besides what is held already, such as the network's parameters: what
 * the state holds and the peak of a step's plan, at most. Every plan is compiled here, and none is run. Not of `dopri5`, whose steps depend on what they compute: throws ConfigError.
 */
export async function samplingPeak<C extends Conditions>(denoiser: Denoiser<C>, options: SampleOptions<C>): Promise<number> {
  const { levels, sampler, shape, seeds, from, device: wanted } = options
  const batch = [seeds.length, ...shape]
  check('samplingPeak', options, batch)
  if (sampler.adaptive === true) throw new ConfigError(`samplingPeak: the steps of ${sampler.name} depend on what they compute; explain the network alone`)
  const device = wanted ?? deviceOf(from) ?? getDefaultDevice('samplingPeak')
  const problem = problemOf(denoiser, options, seeds.map((seed) => new RandomGenerator(seed)), device)
  const held = new Map<string, Tensor>() // One tensor stands for each that a state holds.
  const stand = (name: string): Tensor => {
    const known = held.get(name) ?? zeros(batch, { device })
    held.set(name, known)
    return known
  }
  const before = device.bytesHeld
  let [peak, state] = [0, { step: 0, x: stand('x'), memory: {}, numbers: {} } as SamplerState]
  try {
    while (state.step < levels.length - 1) {
      await realize(...tensorsOf(state))
      const { x, memory = {}, numbers = {}, x0, step } = await sampler.step(state, problem)
      for (const plan of await explain(x, ...Object.values(memory), ...(options.onStep === undefined ? [] : [x0]))) peak = Math.max(peak, device.bytesHeld - before + plan.peakBytes)
      state = { step, x: stand('x'), memory: Object.fromEntries(Object.keys(memory).map((name) => [name, stand(name)])), numbers }
    }
    return peak
  } finally {
    for (const x of held.values()) x.dispose()
  }
}

const tensorsOf = ({ x, memory }: SamplerState): Tensor[] => [x, ...Object.values(memory)]

const deviceOf = (from: SampleOptions<Conditions>['from']): Device | undefined => (from === undefined ? undefined : beginning(from).device)

function beginning(from: NonNullable<SampleOptions<Conditions>['from']>): Tensor {
  return 'image' in from ? from.image : 'noisy' in from ? from.noisy : from.x
}

const noiseOf = (roots: readonly RandomGenerator[], batch: Shape, device: Device): Tensor => normal(batch, { device, generator: roots.map((root) => root.fork(0)) })

export type StartOptions = Pick<SampleOptions<Conditions>, 'path' | 'levels' | 'shape' | 'seeds' | 'device'>

/** The noise [seeds, …shape] that `sample` begins with for such seeds: what lies between that of two, by `slerp`, is another beginning, `from: { noisy }`. */
export function startingNoise({ path, levels, shape, seeds, device = getDefaultDevice('startingNoise'), ...others }: StartOptions): Tensor {
  refuseOthers('startingNoise', others)
  if (seeds.length === 0 || levels.length === 0) throw new ConfigError(`startingNoise: ${seeds.length} seeds and ${levels.length} levels; pass one or more of both`)
  return combine([beginsWith(path, at(levels, 0)), noiseOf(seeds.map((seed) => new RandomGenerator(seed)), [seeds.length, ...shape], device)])
}

function begin(from: SampleOptions<Conditions>['from'], path: NoisePath, level: HostLevel, noise: () => Tensor): SamplerState {
  if (from !== undefined && 'step' in from) return from
  const x = from === undefined ? combine([beginsWith(path, level), noise()]) : 'noisy' in from ? from.noisy : addNoise(from.image, noise(), level)
  return { step: 0, x, memory: {}, numbers: {} }
}

/** The standard deviation of the noise that stands for the images at a level: unless the path says it, 1 where it keeps the variance (Ho et al., arXiv:2006.11239, section 2), else σ. */
export const beginsWith = ({ beginning }: NoisePath, level: HostLevel): number => beginning?.(level) ?? (Math.abs(level.alpha ** 2 + level.sigma ** 2 - 1) < 1e-9 ? 1 : level.sigma)

const known: Readonly<Record<keyof SampleOptions<Conditions>, true>> = { path: true, levels: true, sampler: true, shape: true, seeds: true, conditions: true, guidance: true, from: true, device: true, signal: true, onStep: true }

function check<C extends Conditions>(op: string, options: SampleOptions<C>, batch: Shape): void {
  refuseOthers(op, Object.fromEntries(Object.entries(options).filter(([name]) => !(name in known))) as Record<string, never>)
  const { levels, sampler, seeds, conditions = {} as C, from } = options
  const steps = levels.length - 1
  if (steps < (sampler.least ?? 1)) throw new ConfigError(`${op}: ${sampler.name} takes at least ${sampler.least ?? 1} steps, but ${levels.length} levels are ${Math.max(0, steps)}; pass levels(path, ${sampler.least ?? 1}) or more`)
  if (seeds.length === 0) throw new ConfigError(`${op}: there are no seeds; pass one for each image`)
  const inverse = noiseRatio(at(levels, 0)) < noiseRatio(at(levels, steps))
  for (let i = 1; i <= steps; i++) {
    const [before, after] = [noiseRatio(at(levels, i - 1)), noiseRatio(at(levels, i))]
    if (sampler.rises !== true && !(inverse ? after > before : after < before)) throw new ConfigError(`${op}: level ${i} has σ/α = ${after} after ${before}; levels go one way, from noise to image`)
  }
  for (const [name, condition] of Object.entries(conditions)) {
    if (condition.shape[0] !== seeds.length) throw new ShapeError(`${op}: condition ${name} is ${formatShape(condition.shape)} but there are ${seeds.length} seeds; its first axis must count the images`)
  }
  if (from === undefined) return
  const { shape } = beginning(from)
  if (!sameShape(shape, batch)) throw new ShapeError(`${op}: images ${formatShape(shape)} to begin with, but seeds and shape ask for ${formatShape(batch)}; pass one seed for each image, and their shape`)
  if ('step' in from && !(Number.isInteger(from.step) && from.step >= 0 && from.step <= steps)) throw new ConfigError(`${op}: a state after step ${from.step} of ${steps}; go on with the levels that it began with`)
}
