/** diffusers' timesteps and σ as levels: how each family of its schedulers lays them out. */
import { ConfigError } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { betaQuantile } from '../paths/betaQuantile.ts'
import { linspace } from '../paths/betas.ts'
import type { HostLevel, NoisePath } from '../paths/path.ts'
import { rounded } from '../paths/levels.ts'
import type { SchedulerClass, SchedulerSettings } from './config.ts'

/** The level of a path that keeps the variance with σ/α = `ratio`, of which the network is told `t`. */
const preservingAt = (ratio: number, t: number): HostLevel => ({ t, alpha: 1 / Math.hypot(1, ratio), sigma: ratio === Infinity ? 1 : ratio / Math.hypot(1, ratio) })

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Whole timesteps, first the noisiest, and not more than there are. */
function timesteps({ num_train_timesteps: all, timestep_spacing: spacing, steps_offset: offset }: SchedulerSettings, steps: number): number[] {
  switch (spacing) {
    case 'leading': return range(steps).map((i) => (steps - 1 - i) * Math.floor(all / steps) + offset)
    case 'trailing': return range(steps).map((i) => rounded(all - (i * all) / steps) - 1)
    case 'linspace': return [...linspace(all - 1, 0, steps)].map(rounded)
    default: throw new ConfigError(`fromDiffusers: timestep_spacing ${spacing}; use leading, trailing or linspace`)
  }
}

/** DDPM, DDIM and PNDM: levels at timesteps, then ᾱ = 1 or the first timestep's. */
export function timestepGrid(settings: SchedulerSettings, path: NoisePath, steps: number): HostLevel[] {
  return [...timesteps(settings, steps).map((t) => path.at(t)), settings.set_alpha_to_one ? path.clean : { ...path.at(0), t: path.clean.t }]
}

/** DDIM backwards: the network is told the timestep that a step goes to. */
export function inverseGrid(settings: SchedulerSettings, path: NoisePath, steps: number): HostLevel[] {
  const all = settings.num_train_timesteps
  const told = timesteps(settings, steps).toReversed()
  const from = told.map((t) => Math.min(t - Math.floor(all / steps), all - 1))
  return [...from.map((t, i) => ({ ...(t >= 0 ? path.at(t) : settings.set_alpha_to_one ? path.clean : path.at(0)), t: at(told, i) })), path.at(at(told, steps - 1))]
}

/** σ/α of each timestep, of an ᾱ with a float32's digits, which at little noise are few for 1 − ᾱ; with zero terminal SNR the last ᾱ is 2⁻²⁴. */
const ratiosOf = (path: NoisePath): number[] => range(path.timesteps ?? 0).map((t) => {
  const kept = Math.max(2 ** -24, Math.fround(path.at(t).alpha ** 2))
  return Math.sqrt((1 - kept) / kept)
})

/** The table's value at a time, linear in σ/α between timesteps. */
function interpolated(table: readonly number[], t: number): number {
  const low = Math.floor(t)
  const share = t - low
  return share === 0 ? at(table, low) : at(table, low) * (1 - share) + at(table, low + 1) * share
}

/** The time of a σ/α, linear in its logarithm; the ends' for what is beyond them. */
function timeIn(table: readonly number[], ratio: number): number {
  const above = table.findIndex((value) => value > ratio)
  const low = Math.min(Math.max(0, (above < 0 ? table.length : above) - 1), table.length - 2)
  const [from, to] = [Math.log(at(table, low)), Math.log(at(table, low + 1))]
  return low + Math.min(1, Math.max(0, (Math.log(Math.max(ratio, 1e-10)) - from) / (to - from)))
}

/** σ/α from `most` to `least` where the settings ask for another grid than that of the timesteps. */
function bent({ use_karras_sigmas: karras, use_exponential_sigmas: exponential, use_beta_sigmas: beta, use_lu_lambdas: lu, rho }: SchedulerSettings, most: number, least: number, steps: number): number[] | undefined {
  if (karras === true) return [...linspace(most ** (1 / rho), least ** (1 / rho), steps)].map((root) => root ** rho)
  if (exponential === true || lu === true) return [...linspace(Math.log(most), Math.log(least), steps)].map(Math.exp)
  if (beta === true) return [...linspace(1, 0, steps)].map((share) => least + betaQuantile(share, 0.6, 0.6) * (most - least))
  return undefined
}

/** Euler's, Heun's, LMS and KDPM2: σ/α between timesteps, and bent between those of the first and the last step. */
export function sigmaGrid(settings: SchedulerSettings, path: NoisePath, steps: number): HostLevel[] {
  const table = ratiosOf(path)
  const times = settings.timestep_spacing === 'linspace' ? [...linspace(settings.num_train_timesteps - 1, 0, steps)] : timesteps(settings, steps)
  const logs = settings.interpolation_type === 'log_linear'
  const ratios = logs ? [...linspace(Math.log(at(table, table.length - 1)), Math.log(at(table, 0)), steps)].map(Math.exp) : times.map((t) => interpolated(table, t))
  const other = bent(settings, settings.sigma_max ?? at(ratios, 0), settings.sigma_min ?? at(ratios, steps - 1), steps)
  const begun = other === undefined ? ratios.map((ratio, i) => preservingAt(ratio, at(times, i))) : other.map((ratio) => preservingAt(ratio, timeIn(table, ratio)))
  return [...begun, settings.final_sigmas_type === 'sigma_min' ? { ...preservingAt(at(table, 0), 0), t: path.clean.t } : path.clean]
}

/** Of one timestep more than there are steps, without the last: DPM-Solver, DEIS, UniPC, SA-Solver. */
function solverTimes({ num_train_timesteps: all, timestep_spacing: spacing, steps_offset: offset }: SchedulerSettings, steps: number): number[] {
  switch (spacing) {
    case 'linspace': return [...linspace(0, all - 1, steps + 1)].map(rounded).toReversed().slice(0, -1)
    case 'leading': return range(steps).map((i) => (steps - i) * Math.floor(all / (steps + 1)) + offset)
    case 'trailing': return range(steps).map((i) => rounded(all - (i * all) / steps) - 1)
    default: throw new ConfigError(`fromDiffusers: timestep_spacing ${spacing}; use leading, trailing or linspace`)
  }
}

/** DPM-Solver, DEIS, UniPC, SA-Solver: σ/α of whole timesteps, and bent between the ends of the table, told to the network as the nearest timestep. */
export function solverGrid(name: SchedulerClass, settings: SchedulerSettings, path: NoisePath, steps: number): HostLevel[] {
  if (settings.use_flow_sigmas === true) return flowSolverGrid(settings, steps)
  const table = ratiosOf(path)
  const other = bent(settings, at(table, table.length - 1), at(table, 0), steps)
  const begun = other === undefined ? solverTimes(settings, steps).map((t) => preservingAt(at(table, t), t)) : other.map((ratio) => preservingAt(ratio, rounded(timeIn(table, ratio))))
  const least = name === 'DEISMultistepScheduler' || name === 'SASolverScheduler' || settings.final_sigmas_type === 'sigma_min'
  return [...begun, least ? { ...preservingAt(at(table, 0), 0), t: path.clean.t } : path.clean]
}

/** A flow's σ for those solvers, told to the network as whole timesteps. */
function flowSolverGrid({ num_train_timesteps: all, flow_shift: shift, final_sigmas_type: end }: SchedulerSettings, steps: number): HostLevel[] {
  const sigmas = [...linspace(1, 1 / all, steps + 1)].map((sigma) => (shift * sigma) / (1 + (shift - 1) * sigma)).slice(0, -1)
  return [...sigmas, end === 'sigma_min' ? at(sigmas, steps - 1) : 0].map((sigma) => ({ t: Math.trunc(all * sigma), alpha: 1 - sigma, sigma }))
}

/** DPM-Solver++ backwards: from the first timestep up to the last. */
export function inverseSolverGrid(settings: SchedulerSettings, path: NoisePath, steps: number): HostLevel[] {
  const table = ratiosOf(path)
  const all = settings.num_train_timesteps
  const times = settings.timestep_spacing === 'linspace' ? [...linspace(0, all - 1, steps + 1)].map(rounded).slice(0, -1) : solverTimes(settings, steps).toReversed()
  const other = bent(settings, at(table, all - 1), at(table, 0), steps)?.toReversed()
  const begun = other === undefined ? times.map((t) => preservingAt(at(table, t), t)) : other.map((ratio) => preservingAt(ratio, rounded(timeIn(table, ratio))))
  return [...begun, preservingAt(at(table, all - 1), all - 1)]
}

/** LCM and TCD: every so many of the timesteps that the network was distilled at, then the clean image, or for TCD the first timestep. */
export function distilledGrid(name: SchedulerClass, settings: SchedulerSettings, path: NoisePath, steps: number): HostLevel[] {
  const { num_train_timesteps: all, original_inference_steps: original } = settings
  if (steps > original) throw new ConfigError(`fromDiffusers: ${steps} steps of ${name}, which was distilled at ${original} timesteps; use fewer`)
  const origin = range(original).map((i) => (original - i) * Math.floor(all / original) - 1)
  return [...range(steps).map((i) => path.at(at(origin, Math.floor((i * original) / steps)))), name === 'TCDScheduler' ? path.at(0) : path.clean]
}

/** σ between most and least, with equal steps of the ρth root or of the logarithm; the network is told ln(σ)/4. */
export function edmGrid({ sigma_min: least, sigma_max: most, rho, sigma_schedule: schedule, final_sigmas_type: end }: SchedulerSettings, steps: number): HostLevel[] {
  const [first, last] = [most ?? 80, least ?? 0.002]
  const sigmas = schedule === 'exponential' ? [...linspace(Math.log(first), Math.log(last), steps)].map(Math.exp) : [...linspace(first ** (1 / rho), last ** (1 / rho), steps)].map((root) => root ** rho)
  return [...sigmas, end === 'sigma_min' ? last : 0].map((sigma) => ({ t: sigma, alpha: 1, sigma }))
}

/** Consistency models: of Karras' grid over all timesteps every so many, and then the least σ. */
export function consistencyGrid({ sigma_min: least, sigma_max: most, rho, num_train_timesteps: all }: SchedulerSettings, steps: number): HostLevel[] {
  const [first, last] = [(most ?? 80) ** (1 / rho), (least ?? 0.002) ** (1 / rho)]
  const ratio = Math.floor(all / steps)
  const sigmas = range(steps).map((i) => (first + ((i * ratio) / (all - 1)) * (last - first)) ** rho)
  return [...sigmas, least ?? 0.002].map((sigma) => ({ t: sigma, alpha: 1, sigma }))
}

/** IPNDM: σ = sin²(πs/2) for s from 1 down. */
export const ipndmGrid = (steps: number): HostLevel[] => range(steps + 1).map((i) => {
  const sigma = Math.sin(((1 - i / steps) * Math.PI) / 2) ** 2
  const alpha = Math.max(1e-8, Math.sqrt(1 - sigma ** 2)) // by which it divides
  return { t: (Math.atan2(sigma, alpha) / Math.PI) * 2, alpha, sigma }
})

export interface FlowLevels {
  /** σ to visit, before they are shifted; default: in equal steps from the greatest to the least. FLUX's pipelines pass 1 … 1/steps. */
  readonly sigmas?: readonly number[]
  /** Of `use_dynamic_shifting`: the shift is e^mu, which pipelines compute of the number of image tokens (`fluxShift` gives e^mu). */
  readonly mu?: number
}

/** Flows: σ in equal steps from the greatest to the least, both of which are shifted already, and shifted (again, see docs/diffusion.md). */
export function flowGrid(settings: SchedulerSettings, steps: number, { sigmas: given, mu }: FlowLevels): HostLevel[] {
  const { num_train_timesteps: all, shift, use_dynamic_shifting: dynamic, time_shift_type: kind, shift_terminal: terminal } = settings
  if (dynamic !== (mu !== undefined)) throw new ConfigError(dynamic ? 'fromDiffusers: use_dynamic_shifting needs the mu of the image; pass levels(steps, { mu })' : 'fromDiffusers: mu is for use_dynamic_shifting, which is not set; leave it out')
  if (given !== undefined && given.length !== steps) throw new ConfigError(`fromDiffusers: ${given.length} sigmas for ${steps} steps; give one for each`)
  const shifted = (sigma: number): number => (shift * sigma) / (1 + (shift - 1) * sigma)
  const ends = [1, 1 / all].map((sigma) => (dynamic ? sigma : shifted(sigma)))
  const moved = (sigma: number): number => {
    if (mu === undefined) return shifted(sigma)
    const by = kind === 'linear' ? mu : Math.exp(mu)
    return by / (by + (1 / sigma - 1))
  }
  const plain = (given ?? [...linspace(at(ends, 0), at(ends, 1), steps)]).map(moved)
  const least = at(plain, plain.length - 1)
  const stretched = terminal === null ? plain : plain.map((sigma) => 1 - (1 - sigma) / ((1 - least) / (1 - terminal)))
  const other = bent(settings, at(stretched, 0), at(stretched, steps - 1), steps) ?? stretched
  return [...other, 0].map((sigma) => ({ t: sigma, alpha: 1 - sigma, sigma }))
}
