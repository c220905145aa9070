/** `fromDiffusers` against numbers that diffusers computed (test/oracles/diffusion): timesteps, levels, and every step of whole runs. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { add, device, mul, permute, realize, tensor } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { denoiserOf } from '../../diffusion/denoiser.ts'
import { classes } from '../../diffusion/diffusers/config.ts'
import type { SchedulerConfig } from '../../diffusion/diffusers/config.ts'
import { fromDiffusers } from '../../diffusion/diffusers/fromDiffusers.ts'
import type { Scheduler } from '../../diffusion/diffusers/fromDiffusers.ts'
import { noiseRatio } from '../../diffusion/paths/path.ts'
import type { HostLevel } from '../../diffusion/paths/path.ts'
import { fluxShift } from '../../diffusion/paths/continuous.ts'
import { beginsWith, sample } from '../../diffusion/sample.ts'
import type { Problem, SamplerState } from '../../diffusion/samplers/sampler.ts'

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`../oracles/diffusion/${name}.json`, import.meta.url), 'utf8'))
const reference = await device('reference')
const doubles = (values: Iterable<number>, shape: readonly number[]): Tensor => tensor(Float64Array.from(values), shape, { device: reference, dtype: 'f64' })
/** The batch varies fastest. */
const shape = [4, 3, 8, 8]
const batchFastest = (value: (i: number) => number): Tensor => permute(doubles(Float64Array.from({ length: 768 }, (_, i) => value(i)), [3, 8, 8, 4]), [3, 0, 1, 2])
const image = batchFastest((i) => i / 768)
/** The k-th draw. */
const wave = (k: number): Tensor => doubles(Float64Array.from({ length: 768 }, (_, i) => Math.SQRT2 * Math.sin(0.5 + 1.7 * i + 0.9 * k)), shape)

interface Run {
  readonly label: string
  readonly scheduler: string
  readonly config: Partial<SchedulerConfig>
  readonly steps: number
  readonly step_kwargs: { readonly eta?: number; readonly s_churn?: number; readonly s_noise?: number }
  readonly set_timesteps_kwargs: { readonly mu?: number; readonly sigmas?: readonly number[] }
  readonly init_noise_sigma: number
  readonly timesteps: readonly number[]
  readonly sigmas: readonly number[] | null
  readonly trace_t_abssum_sum: readonly (readonly [number, number, number])[]
  readonly first8: readonly number[]
  readonly last8: readonly number[]
}
const { runs } = read('derived_runs') as { runs: readonly Run[] }

/** x as diffusers' schedulers of σ hold it, x/α; the others hold x. */
const ofSigma = (scheduler: string): boolean => /^(Euler|Heun|KDPM2|LMS)/.test(scheduler)
const relative = (x: number, y: number): number => (x === y ? 0 : Math.abs(x - y) / Math.max(Math.abs(x), Math.abs(y), 1e-3))

async function steps({ sampler }: Scheduler, problem: Problem, x: Tensor, each: (x: Tensor, step: number) => Promise<void>): Promise<void> {
  let state: SamplerState = { step: 0, x, memory: {}, numbers: {} }
  while (state.step + 1 < problem.levels.length) {
    const { memory = {}, numbers = {}, step, x: next } = await sampler.step(state, problem)
    state = { step, x: next, memory, numbers }
    await realize(next, ...Object.values(memory))
    await each(next, step)
  }
}

const scaled = ({ scheduler }: Pick<Run, 'scheduler'>, x: Tensor, { alpha }: HostLevel): Tensor => (ofSigma(scheduler) ? mul(x, 1 / alpha) : x)
const absoluteSum = (x: readonly number[]): number => x.reduce((total, v) => total + Math.abs(v), 0)

describe('runs of 4 to 50 steps, at every step', () => {
  test.each(runs.map((run) => [run.label, run] as const))('%s', async (_, run) => {
    const { eta, s_churn: churn, s_noise: noise } = run.step_kwargs
    const scheduler = fromDiffusers({ ...run.config, _class_name: run.scheduler }, { ...(eta !== undefined && /DDIM|TCD/.test(run.scheduler) && { eta }), ...(churn !== undefined && { churn }), ...(noise !== undefined && { noise }) })
    const levels = scheduler.levels(run.steps, run.set_timesteps_kwargs)
    const problem: Problem = { path: scheduler.path, levels, denoise: (x, level) => denoiserOf((y) => mul(y, 0.1), scheduler.parameterization)(x, level, {}), noise: wave }
    const begin = mul(image, beginsWith(scheduler.path, at(levels, 0)))
    expect(relative(beginsWith(scheduler.path, at(levels, 0)) / (ofSigma(run.scheduler) ? at(levels, 0).alpha : 1), run.init_noise_sigma)).toBeLessThan(1e-4)
    const trace = run.trace_t_abssum_sum
    const calls = /Heun/.test(run.scheduler) || /KDPM2/.test(run.scheduler) ? 2 : 1
    const found: string[] = []
    let last: number[] = []
    await steps(scheduler, problem, begin, async (x, step) => {
      last = [...(await scaled(run, x, at(levels, step)).data())]
      const row = trace[Math.min(trace.length - 1, run.scheduler === 'PNDMScheduler' ? step : calls * step - 1)]
      const [, sumOfAbsolutes, sum] = row ?? [0, 0, 0]
      for (const [y, wanted] of [[absoluteSum(last), sumOfAbsolutes], [last.reduce((a, b) => a + b, 0), sum]] as const) {
        if (!Number.isFinite(wanted)) continue
        if (Math.abs(y - wanted) > 2e-3 * Math.max(Math.abs(wanted), sumOfAbsolutes / 10)) found.push(`step ${step}: ${y} for ${wanted}`)
      }
    })
    expect(found).toEqual([])
    const scale = Math.max(...last.map(Math.abs))
    for (const [i, wanted] of run.first8.entries()) if (Number.isFinite(wanted)) expect(Math.abs(at(last, i) - wanted)).toBeLessThan(1e-3 * scale)
    for (const [i, wanted] of run.last8.entries()) if (Number.isFinite(wanted)) expect(Math.abs(at(last, 760 + i) - wanted)).toBeLessThan(1e-3 * scale)
  })

  test.each(runs.map((run) => [run.label, run] as const))('%s: the levels', (_, run) => {
    const { levels } = fromDiffusers({ ...run.config, _class_name: run.scheduler })
    const grid = levels(run.steps, run.set_timesteps_kwargs)
    const told = run.scheduler.startsWith('EDM') ? (t: number) => Math.log(t) / 4 : run.scheduler.startsWith('Flow') ? (t: number) => 1000 * t : (t: number) => t
    if (!/Heun|KDPM2|PNDM/.test(run.scheduler)) for (const [i, t] of run.timesteps.entries()) expect(Math.abs(told(at(grid, i).t) - t)).toBeLessThan(2e-3 * Math.max(1, Math.abs(t)))
    const ratio = (level: HostLevel): number => (run.scheduler.startsWith('Flow') ? level.sigma : noiseRatio(level))
    const sigmas = run.sigmas === null ? [] : /Heun/.test(run.scheduler) ? run.sigmas.filter((_, i) => i % 2 === 0 || i === 0) : run.sigmas
    if (!/KDPM2/.test(run.scheduler)) for (const [i, sigma] of sigmas.entries()) expect(relative(ratio(at(grid, i)), sigma)).toBeLessThan(1e-3)
  })
})

/** Numbers that diffusers' own tests assert, of runs that draw no noise: |x| summed after the last step of a network that says x·t/(t + 1). */
interface Asserted {
  readonly id: string
  readonly scheduler: string | null
  readonly non_default_config?: Partial<SchedulerConfig>
  readonly step_kwargs: { readonly eta?: number } | null
  readonly uses_random_noise: boolean
  readonly step_calls: number
  readonly asserted: readonly { readonly quantity: string; readonly expected: number; readonly tol: number }[]
}
const asserted = (read('scheduler_oracles') as { oracles: readonly Asserted[] }).oracles.filter((one) => one.scheduler !== null && !one.uses_random_noise && !one.id.includes('batch_step'))

/** Those tests hand a scheduler of σ its own scaled input as x: x is scaled by 1/√(σ² + 1) once more before each step. */
const overwrites = (scheduler: string): boolean => ofSigma(scheduler)

async function loop(one: Asserted, scheduler: string): Promise<number[]> {
  const chosen = fromDiffusers({ ...one.non_default_config, _class_name: scheduler }, one.step_kwargs?.eta === undefined ? {} : { eta: one.step_kwargs.eta })
  const flat = one.id.includes('1DTest')
  const count = flat ? 96 : 768
  const sizes = flat ? [3, 8, 4] : [3, 8, 8, 4]
  const toBatchFirst = flat ? [2, 0, 1] : [3, 0, 1, 2]
  const batch = (value: (i: number) => number): Tensor => permute(doubles(Float64Array.from({ length: count }, (_, i) => value(i)), sizes), toBatchFirst)
  const two = /Heun|KDPM2/.test(scheduler)
  const twice = scheduler === 'IPNDMScheduler'
  const all = one.id.includes('uneven') ? 50 : one.id.includes('onestep') ? 1 : two || one.id.includes('with_noise') ? 10 : twice || scheduler === 'PNDMScheduler' ? 10 : one.step_calls
  const levels = chosen.levels(all)
  const start = one.id.includes('uneven') ? 3 : one.id.includes('with_noise') ? all - (two ? 2 : one.step_calls) : 0
  const first = at(levels, start)
  const unscaled = scheduler === 'EDMDPMSolverMultistepScheduler' // whose tests leave scale_model_input out
  const init = unscaled ? 1 : one.id.includes('with_noise') && !ofSigma(scheduler) ? 1 : beginsWith(chosen.path, at(levels, 0)) / (ofSigma(scheduler) ? at(levels, 0).alpha : 1)
  const clean = mul(batch((i) => i / count), init)
  const noised = add(mul(clean, ofSigma(scheduler) ? 1 : first.alpha), mul(batch((i) => (count - 1 - i) / count), ofSigma(scheduler) ? noiseRatio(first) : first.sigma))
  const held = one.id.includes('with_noise') ? noised : clean
  let state: SamplerState = { step: start, x: ofSigma(scheduler) ? mul(held, first.alpha) : held, memory: {}, numbers: {} }
  for (let round = 0; round < (twice ? 2 : 1); round++) {
    state = { ...state, step: start }
    while (state.step + 1 < levels.length) {
      const level = at(levels, state.step)
      let asked = 0
      const denoise: Problem['denoise'] = (x, here) => {
        const input = overwrites(scheduler) && asked++ === 0 ? mul(x, 1 / here.alpha) : x
        const t = chosen.parameterization.time(here)
        const scale = unscaled ? 1 : (chosen.parameterization.input?.(here) ?? 1)
        if (typeof t !== 'number' || typeof scale !== 'number') throw new Error('of the whole batch')
        return chosen.parameterization.read(mul(mul(input, scale), t / (t + 1)), x, here)
      }
      const x = overwrites(scheduler) ? mul(state.x, level.alpha) : state.x
      const { memory = {}, numbers = {}, step, x: next } = await chosen.sampler.step({ ...state, x }, { path: chosen.path, levels, denoise, noise: wave })
      state = { step, x: next, memory, numbers }
      await realize(next, ...Object.values(memory))
    }
  }
  return [...(await state.x.data())]
}

describe('what diffusers’ tests assert', () => {
  test.each(asserted.map((one) => [one.id, one] as const))('%s', async (_, one) => {
    const found = await loop(one, one.scheduler ?? '')
    const sum = absoluteSum(found)
    for (const { quantity, expected, tol } of one.asserted) {
      if (quantity === 'result_sum') expect(Math.abs(sum - expected)).toBeLessThan(tol + 1e-5 * expected)
      if (quantity === 'result_mean') expect(Math.abs(sum / found.length - expected)).toBeLessThan(tol + 1e-5 * expected)
    }
  })
})

test('steps from single timesteps, as the parallel schedulers take them', async () => {
  const cases = [['ddim_parallel', fromDiffusers({ _class_name: 'DDIMParallelScheduler' }), 100], ['ddpm_parallel', fromDiffusers({ _class_name: 'DDPMParallelScheduler' }), 1]] as const
  for (const [name, { path, sampler, parameterization }, stride] of cases) {
    const wanted = (read('scheduler_oracles') as { oracles: readonly Asserted[] }).oracles.find(({ id }) => id.startsWith(name) && id.includes('batch_step'))?.asserted ?? []
    expect(wanted.length).toBe(2)
    let sum = 0
    for (const [t, offset] of [[0, 0], [1, 0.1], [2, -0.1]] as const) {
      const levels = [path.at(t), t >= stride ? path.at(t - stride) : path.clean]
      const denoise: Problem['denoise'] = (x, level) => denoiserOf((y) => mul(y, t / (t + 1)), parameterization)(x, level, {})
      const { x } = await sampler.step({ step: 0, x: add(image, offset), memory: {}, numbers: {} }, { path, levels, denoise, noise: () => mul(image, 0) })
      sum += absoluteSum([...(await x.data())])
    }
    for (const { quantity, expected, tol } of wanted) expect(Math.abs((quantity === 'result_sum' ? sum : sum / (3 * 768)) - expected)).toBeLessThan(tol)
  }
})

describe('published files', () => {
  test('Stable Diffusion 1.5', () => {
    const { levels, sampler, path } = fromDiffusers({ _class_name: 'PNDMScheduler', _diffusers_version: '0.7.0.dev0', beta_end: 0.012, beta_schedule: 'scaled_linear', beta_start: 0.00085, clip_sample: false, num_train_timesteps: 1000, set_alpha_to_one: false, skip_prk_steps: true, steps_offset: 1, trained_betas: null })
    expect(levels(50).map(({ t }) => t)).toEqual([...Array.from({ length: 50 }, (_, i) => 981 - 20 * i), -1])
    expect(noiseRatio(at(levels(50), 50))).toBeCloseTo(0.0291671582, 8)
    expect([sampler.name, path.timesteps]).toEqual(['plms', 1000])
  })
  test('FLUX.1-dev, whose shift is of the image', () => {
    const { levels, parameterization } = fromDiffusers({ _class_name: 'FlowMatchEulerDiscreteScheduler', base_image_seq_len: 256, base_shift: 0.5, max_image_seq_len: 4096, max_shift: 1.15, num_train_timesteps: 1000, shift: 3, use_dynamic_shifting: true })
    const grid = levels(4, { mu: Math.log(fluxShift(4096)), sigmas: [1, 0.75, 0.5, 0.25] })
    expect(grid.map(({ sigma }) => Number(sigma.toFixed(4)))).toEqual([1, 0.9045, 0.7595, 0.5128, 0])
    expect(parameterization.time(at(grid, 1))).toBeCloseTo(904.53, 2)
    expect(() => levels(4)).toThrow('use_dynamic_shifting needs the mu of the image')
  })
})

describe('wrong use', () => {
  test.each<[string, () => unknown]>([
    ['fromDiffusers: the scheduler VQDiffusionScheduler is not known; known are DDIMScheduler,', () => fromDiffusers({ _class_name: 'VQDiffusionScheduler' })],
    ['fromDiffusers: DDIMScheduler with the unknown keys beta_stop, steps', () => fromDiffusers({ _class_name: 'DDIMScheduler', beta_stop: 1, steps: 3 } as SchedulerConfig)],
    ['fromDiffusers: invert_sigmas is true; what is known is false', () => fromDiffusers({ _class_name: 'FlowMatchEulerDiscreteScheduler', invert_sigmas: true })],
    ['fromDiffusers: beta_schedule quadratic; use linear', () => fromDiffusers({ _class_name: 'DDIMScheduler', beta_schedule: 'quadratic' })],
    ['fromDiffusers: prediction_type score; use epsilon', () => fromDiffusers({ _class_name: 'DDIMScheduler', prediction_type: 'score' })],
    ['fromDiffusers: variance_type fixed_large_log; use fixed_small', () => fromDiffusers({ _class_name: 'DDPMScheduler', variance_type: 'fixed_large_log' })],
    ['fromDiffusers: algorithm_type dpmsolver; use dpmsolver++', () => fromDiffusers({ _class_name: 'DPMSolverMultistepScheduler', algorithm_type: 'dpmsolver' })],
    ['fromDiffusers: eta is for DDIMScheduler and TCDScheduler, and not EulerDiscreteScheduler', () => fromDiffusers({ _class_name: 'EulerDiscreteScheduler' }, { eta: 1 })],
    ['fromDiffusers: churn, least, most and noise are for Euler', () => fromDiffusers({ _class_name: 'DDIMScheduler' }, { churn: 1 })],
    ['fromDiffusers: sigmas and mu are for flows, and DDIMScheduler is none', () => fromDiffusers({ _class_name: 'DDIMScheduler' }).levels(10, { mu: 1 })],
    ['fromDiffusers: 0 steps; use a positive integer', () => fromDiffusers({ _class_name: 'DDIMScheduler' }).levels(0)],
    ['fromDiffusers: 1001 steps through 1000 timesteps', () => fromDiffusers({ _class_name: 'DDIMScheduler' }).levels(1001)],
    ['fromDiffusers: 60 steps of LCMScheduler, which was distilled at 50 timesteps', () => fromDiffusers({ _class_name: 'LCMScheduler' }).levels(60)],
    ['fromDiffusers: 2 sigmas for 3 steps', () => fromDiffusers({ _class_name: 'FlowMatchEulerDiscreteScheduler' }).levels(3, { sigmas: [1, 0.5] })],
    ['fromDiffusers: timestep_spacing even; use leading', () => fromDiffusers({ _class_name: 'DDIMScheduler', timestep_spacing: 'even' }).levels(5)],
  ])('%s', (message, run) => {
    expect(run).toThrow(message)
  })
})

test('every class samples from noise, with the tensors of f32', async () => {
  const cpu = await device('cpu')
  for (const name of classes) {
    if (name.includes('Inverse')) continue
    const { path, levels, sampler, parameterization } = fromDiffusers({ _class_name: name })
    const x = await sample(denoiserOf((y) => mul(y, 0.3), parameterization), { path, levels: levels(8), sampler, shape: [3], seeds: [1, 2], device: cpu })
    expect([name, ...(await x.data())].slice(1).every(Number.isFinite)).toBe(true)
  }
})
