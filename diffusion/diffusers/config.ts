/** A `scheduler_config.json` of diffusers: its keys, and what each class takes for those that a file leaves out. */
import { ConfigError } from '../../engine/index.ts'

/** The keys that are read, with diffusers' names and meanings. */
export interface SchedulerSettings {
  readonly num_train_timesteps: number
  readonly beta_start: number
  readonly beta_end: number
  readonly beta_schedule: string
  readonly trained_betas: readonly number[] | null
  readonly rescale_betas_zero_snr: boolean
  readonly prediction_type: string
  readonly timestep_spacing: string
  readonly steps_offset: number
  readonly clip_sample: boolean
  readonly clip_sample_range: number
  readonly clip_denoised: boolean
  readonly thresholding: boolean
  readonly dynamic_thresholding_ratio: number
  readonly sample_max_value: number
  readonly set_alpha_to_one: boolean
  readonly variance_type: string
  readonly interpolation_type: string
  readonly use_karras_sigmas: boolean | null
  readonly use_exponential_sigmas: boolean | null
  readonly use_beta_sigmas: boolean | null
  readonly use_lu_lambdas: boolean | null
  readonly use_flow_sigmas: boolean | null
  readonly flow_shift: number
  readonly final_sigmas_type: string
  readonly algorithm_type: string
  readonly solver_order: number
  readonly solver_type: string
  readonly lower_order_final: boolean
  readonly euler_at_final: boolean
  readonly predict_x0: boolean
  readonly disable_corrector: readonly number[]
  readonly predictor_order: number
  readonly corrector_order: number
  readonly skip_prk_steps: boolean
  readonly original_inference_steps: number
  readonly timestep_scaling: number
  readonly sigma_min: number | null
  readonly sigma_max: number | null
  readonly sigma_data: number
  readonly sigma_schedule: string
  readonly rho: number
  readonly s_noise: number
  readonly shift: number
  readonly shift_terminal: number | null
  readonly use_dynamic_shifting: boolean
  readonly time_shift_type: string
  readonly base_shift: number
  readonly max_shift: number
  readonly base_image_seq_len: number
  readonly max_image_seq_len: number
  readonly stochastic_sampling: boolean
  readonly invert_sigmas: boolean
  readonly timestep_type: string
  readonly lambda_min_clipped: number | string | null
  readonly solver_p: unknown
}

/** The contents of such a file. Keys that begin with an underscore, but for the class's name, are not read. */
export type SchedulerConfig = Partial<SchedulerSettings> & { readonly _class_name: string } & Readonly<Record<`_${string}`, unknown>>

/** The classes that are known. */
export type SchedulerClass =
  | 'DDIMScheduler' | 'DDIMParallelScheduler' | 'DDIMInverseScheduler' | 'DDPMScheduler' | 'DDPMParallelScheduler'
  | 'PNDMScheduler' | 'EulerDiscreteScheduler' | 'EulerAncestralDiscreteScheduler' | 'HeunDiscreteScheduler' | 'KDPM2DiscreteScheduler'
  | 'KDPM2AncestralDiscreteScheduler' | 'LMSDiscreteScheduler' | 'DPMSolverMultistepScheduler' | 'DPMSolverMultistepInverseScheduler' | 'DPMSolverSinglestepScheduler'
  | 'DEISMultistepScheduler' | 'UniPCMultistepScheduler' | 'SASolverScheduler' | 'LCMScheduler' | 'TCDScheduler'
  | 'FlowMatchEulerDiscreteScheduler' | 'FlowMatchHeunDiscreteScheduler' | 'EDMEulerScheduler' | 'EDMDPMSolverMultistepScheduler' | 'CMStochasticIterativeScheduler'
  | 'IPNDMScheduler'

/** What most classes take. */
const common: SchedulerSettings = {
  num_train_timesteps: 1000, beta_start: 1e-4, beta_end: 0.02, beta_schedule: 'linear', trained_betas: null, rescale_betas_zero_snr: false, prediction_type: 'epsilon', timestep_spacing: 'linspace', steps_offset: 0,
  clip_sample: false, clip_sample_range: 1, clip_denoised: true, thresholding: false, dynamic_thresholding_ratio: 0.995, sample_max_value: 1, set_alpha_to_one: true, variance_type: 'fixed_small', interpolation_type: 'linear',
  use_karras_sigmas: false, use_exponential_sigmas: false, use_beta_sigmas: false, use_lu_lambdas: false, use_flow_sigmas: false, flow_shift: 1, final_sigmas_type: 'zero', algorithm_type: 'dpmsolver++', solver_order: 2, solver_type: 'midpoint',
  lower_order_final: true, euler_at_final: false, predict_x0: true, disable_corrector: [], predictor_order: 2, corrector_order: 2, skip_prk_steps: false, original_inference_steps: 50, timestep_scaling: 10,
  sigma_min: null, sigma_max: null, sigma_data: 0.5, sigma_schedule: 'karras', rho: 7, s_noise: 1, shift: 1, shift_terminal: null, use_dynamic_shifting: false, time_shift_type: 'exponential',
  base_shift: 0.5, max_shift: 1.15, base_image_seq_len: 256, max_image_seq_len: 4096, stochastic_sampling: false, invert_sigmas: false, timestep_type: 'discrete', lambda_min_clipped: null, solver_p: null,
}

const clipped: Partial<SchedulerSettings> = { clip_sample: true, timestep_spacing: 'leading' }
const latentConsistency: Partial<SchedulerSettings> = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', timestep_spacing: 'leading' }
const edm: Partial<SchedulerSettings> = { sigma_min: 0.002, sigma_max: 80 }
const heunAndDpm2: Partial<SchedulerSettings> = { beta_start: 0.00085, beta_end: 0.012 }

/** What each class takes otherwise. */
const defaults: Readonly<Record<SchedulerClass, Partial<SchedulerSettings>>> = {
  DDIMScheduler: clipped,
  DDIMParallelScheduler: clipped,
  DDIMInverseScheduler: clipped,
  DDPMScheduler: clipped,
  DDPMParallelScheduler: clipped,
  PNDMScheduler: { set_alpha_to_one: false, timestep_spacing: 'leading' },
  EulerDiscreteScheduler: {},
  EulerAncestralDiscreteScheduler: {},
  HeunDiscreteScheduler: heunAndDpm2,
  KDPM2DiscreteScheduler: heunAndDpm2,
  KDPM2AncestralDiscreteScheduler: heunAndDpm2,
  LMSDiscreteScheduler: {},
  DPMSolverMultistepScheduler: {},
  DPMSolverMultistepInverseScheduler: {},
  DPMSolverSinglestepScheduler: { lower_order_final: false },
  DEISMultistepScheduler: { solver_type: 'logrho', algorithm_type: 'deis' },
  UniPCMultistepScheduler: { solver_type: 'bh2' },
  SASolverScheduler: { algorithm_type: 'data_prediction' },
  LCMScheduler: latentConsistency,
  TCDScheduler: { ...latentConsistency, clip_sample: false },
  FlowMatchEulerDiscreteScheduler: {},
  FlowMatchHeunDiscreteScheduler: {},
  EDMEulerScheduler: edm,
  EDMDPMSolverMultistepScheduler: edm,
  CMStochasticIterativeScheduler: { ...edm, num_train_timesteps: 40 },
  IPNDMScheduler: {},
}

const isClass = (name: string): name is SchedulerClass => Object.hasOwn(defaults, name)

/** Their names. */
export const classes: readonly SchedulerClass[] = Object.keys(defaults).filter(isClass)

/** All keys of a file, with its class's defaults for those that it leaves out. Throws ConfigError for a class or key that is not known. */
export function readConfig({ _class_name: name, ...given }: SchedulerConfig): { readonly name: SchedulerClass; readonly settings: SchedulerSettings } {
  if (!isClass(name)) throw new ConfigError(`fromDiffusers: the scheduler ${name} is not known; known are ${classes.join(', ')}`)
  const keys = Object.entries(given).filter(([key]) => !key.startsWith('_'))
  const unknown = keys.filter(([key]) => !(key in common)).map(([key]) => key)
  if (unknown.length > 0) throw new ConfigError(`fromDiffusers: ${name} with the unknown ${unknown.length === 1 ? 'key' : 'keys'} ${unknown.join(', ')}; leave out what has no effect on sampling`)
  const settings: SchedulerSettings = { ...common, ...defaults[name], ...Object.fromEntries(keys.filter(([, value]) => value !== undefined)) }
  for (const [key, known] of Object.entries(only)) {
    const value = settings[key as keyof SchedulerSettings]
    if (!known.includes(value)) throw new ConfigError(`fromDiffusers: ${key} is ${JSON.stringify(value)}; what is known is ${known.map((x) => JSON.stringify(x)).join(' or ')}`)
  }
  return { name, settings }
}

/** Keys of which there is nothing but these values. */
const only: Readonly<Record<string, readonly unknown[]>> = { invert_sigmas: [false], s_noise: [1], timestep_type: ['discrete'], lambda_min_clipped: [null, -Infinity, '-inf', '-Infinity'], solver_p: [null], final_sigmas_type: ['zero', 'sigma_min'], interpolation_type: ['linear', 'log_linear'], time_shift_type: ['exponential', 'linear'], sigma_schedule: ['karras', 'exponential'] }
