/** A scheduler of diffusers as langevin's nouns, with all that it does in its own way. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError, clamp, mul, neg } from '../../engine/index.ts'
import { combine, ln, over, plus, root, square, times } from '../arithmetic.ts'
import { consistencyBoundary } from '../samplers/consistency.ts'
import { edmPrediction, epsPrediction, flowPrediction, imagePrediction, vPrediction, withLearnedVariance } from '../parameterization.ts'
import type { Parameterization } from '../parameterization.ts'
import { betasOf, cosineBetas, linearBetas, scaledLinearBetas, sigmoidBetas } from '../paths/betas.ts'
import { edmPath, flowPath } from '../paths/continuous.ts'
import { discretePath, zeroTerminalSnr } from '../paths/discrete.ts'
import type { HostLevel, NoisePath } from '../paths/path.ts'
import { Prediction } from '../prediction.ts'
import { ancestralEuler, ddim, ddimInversion, ddpm, euler } from '../samplers/ancestral.ts'
import { consistency, tcd } from '../samplers/consistency.ts'
import { heunInTime } from '../samplers/integrators.ts'
import { deis, ipndm } from '../samplers/multistep.ts'
import { alongNoise, plmsAlong, pndmAlong } from '../samplers/pndm.ts'
import { stochasticAdams } from '../samplers/saSolver.ts'
import { unipcOf } from '../samplers/unipc.ts'
import { ancestralDpm2, dpm2, heun } from '../samplers/secondOrder.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { readConfig } from './config.ts'
import type { SchedulerClass, SchedulerConfig, SchedulerSettings } from './config.ts'
import { consistencyGrid, distilledGrid, edmGrid, flowGrid, inverseGrid, inverseSolverGrid, ipndmGrid, sigmaGrid, solverGrid, timestepGrid } from './grids.ts'
import type { FlowLevels } from './grids.ts'
import { adamsOfCode, alongVelocity, asking, churned, consistencyIteration, dpmMultistep, dpmSinglestep, eulerAtTheEnd, inEqualSteps, limited, lmsOfStep, ordered } from './samplers.ts'
import type { ChurnOptions } from './samplers.ts'

/** What diffusers takes at each step. */
export interface StepOptions extends ChurnOptions {
  /** Of DDIM, default 0; of TCD (γ), default 0.3. */
  readonly eta?: number
}

export interface Scheduler {
  readonly path: NoisePath
  readonly parameterization: Parameterization
  readonly sampler: Sampler
  /** The levels of so many steps: `set_timesteps`. Throws ConfigError for a number that the class does not take. */
  levels(steps: number, options?: FlowLevels): readonly HostLevel[]
}

/**
 * The scheduler of a `scheduler_config.json`, so that sampling with it computes what diffusers does: its timesteps, its σ, its lower orders at the end, and what it
 * does otherwise than the papers (docs/diffusion.md lists it).
 *
 *     const { path, levels, sampler, parameterization } = fromDiffusers(config)
 *     await sample(denoiserOf(network, parameterization), { path, levels: levels(20), sampler, … })
 *
 * Throws ConfigError for a class, a key or a value that it does not know.
 */
export function fromDiffusers(config: SchedulerConfig, options: StepOptions = {}): Scheduler {
  const { name, settings } = readConfig(config)
  const path = pathOf(name, settings)
  return {
    path,
    parameterization: parameterizationOf(name, settings),
    sampler: samplerOf(name, settings, options),
    levels(steps, { sigmas, mu, ...others } = {}) {
      refuseOthers('levels', others)
      if (!(Number.isInteger(steps) && steps > 0)) throw new ConfigError(`fromDiffusers: ${steps} steps; use a positive integer`)
      if (!isFlow(name) && (sigmas !== undefined || mu !== undefined)) throw new ConfigError(`fromDiffusers: sigmas and mu are for flows, and ${name} is none; leave them out`)
      if (!continuous(name) && steps > settings.num_train_timesteps) throw new ConfigError(`fromDiffusers: ${steps} steps through ${settings.num_train_timesteps} timesteps; use at most as many`)
      return levelsOf(name, settings, path, steps, { ...(sigmas && { sigmas }), ...(mu !== undefined && { mu }) })
    },
  }
}

const isFlow = (name: SchedulerClass): boolean => name.startsWith('FlowMatch')
const isEdm = (name: SchedulerClass): boolean => name.startsWith('EDM')
const continuous = (name: SchedulerClass): boolean => isFlow(name) || isEdm(name) || name === 'IPNDMScheduler'

function betas({ trained_betas: trained, beta_schedule: schedule, num_train_timesteps: timesteps, beta_start: first, beta_end: last }: SchedulerSettings): ArrayLike<number> {
  if (trained !== null) return trained
  switch (schedule) {
    case 'linear': return linearBetas(timesteps, { first, last })
    case 'scaled_linear': return scaledLinearBetas(timesteps, { first, last })
    case 'squaredcos_cap_v2': return cosineBetas(timesteps)
    case 'sigmoid': return sigmoidBetas(timesteps, { first, last })
    case 'laplace': return betasOf((t) => Math.sqrt(1 / (1 + Math.exp(0.5 * Math.sign(0.5 - t) * Math.log(1 - 2 * Math.abs(t - 0.5) + 1e-6)))), timesteps) // √ of what ᾱ should be
    default: throw new ConfigError(`fromDiffusers: beta_schedule ${schedule}; use linear, scaled_linear, squaredcos_cap_v2, sigmoid or laplace, or trained_betas`)
  }
}

function pathOf(name: SchedulerClass, settings: SchedulerSettings): NoisePath {
  const { sigma_min: least, sigma_max: most } = settings
  const ends = { sigmaMin: least ?? 0.002, sigmaMax: most ?? 80 }
  if (isFlow(name) || settings.use_flow_sigmas === true) return { ...flowPath(), beginning: () => 1 }
  if (isEdm(name)) return { ...edmPath(ends), beginning: () => Math.hypot(ends.sigmaMax, 1) }
  if (name === 'CMStochasticIterativeScheduler') return edmPath(ends)
  const table = discretePath(betas(settings))
  const path = settings.rescale_betas_zero_snr ? zeroTerminalSnr(table) : table
  // Noise of variance 1 + σ² on x/α, or of σ² where the grid begins at the last timestep.
  return /^(Euler|Heun|KDPM2|LMS)/.test(name) && settings.timestep_spacing !== 'leading' ? { ...path, beginning: ({ sigma }) => sigma } : path
}

/** Output −F of EDM's. */
const negated = (inner: Parameterization): Parameterization => ({ ...inner, target: (x0, eps, level) => neg(inner.target(x0, eps, level)), read: (output, x, level) => inner.read(neg(output), x, level) })

/** EDM's with c_skip and c_out of σ − σmin, so that at σmin x is returned as it is (Song et al., arXiv:2303.01469, appendix C); the network is told 250·ln σ. */
const consistencyPrediction = ({ sigma_data: data, sigma_min: least }: SchedulerSettings): Parameterization => ({
  ...edmPrediction({ sigmaData: data, time: ({ sigma }) => times(250, ln(plus(sigma, 1e-44))) }),
  name: 'consistency',
  read(output, x, level) {
    const above = plus(level.sigma, -(least ?? 0.002))
    const [skip, out] = [over(data ** 2, plus(square(above), data ** 2)), over(times(above, data), root(plus(square(level.sigma), data ** 2)))]
    return Prediction.ofImage(combine([skip, x], [out, output]), x, level)
  },
})

function parameterizationOf(name: SchedulerClass, settings: SchedulerSettings): Parameterization {
  const { prediction_type: type, variance_type: variance, sigma_data: sigmaData } = settings
  if (name === 'IPNDMScheduler') return vPrediction()
  if (name === 'CMStochasticIterativeScheduler') return consistencyPrediction(settings)
  if (isFlow(name)) return flowPrediction({ time: ({ sigma }) => times(settings.num_train_timesteps, sigma) })
  const time = settings.use_flow_sigmas === true ? { time: ({ t }: { readonly t: ReturnType<Parameterization['time']> }) => t } : {}
  const learned = name.startsWith('DDPM') && variance.startsWith('learned') ? withLearnedVariance : (inner: Parameterization) => inner
  switch (type) {
    case 'epsilon': return learned(isEdm(name) ? edmPrediction({ sigmaData }) : epsPrediction(time))
    case 'v_prediction': return learned(isEdm(name) ? negated(edmPrediction({ sigmaData })) : vPrediction(time))
    case 'sample': return learned(imagePrediction(time))
    case 'flow_prediction': return flowPrediction(time)
    default: throw new ConfigError(`fromDiffusers: prediction_type ${type}; use epsilon, v_prediction, sample or flow_prediction`)
  }
}

function levelsOf(name: SchedulerClass, settings: SchedulerSettings, path: NoisePath, steps: number, flow: FlowLevels): readonly HostLevel[] {
  switch (name) {
    case 'DDIMScheduler': case 'DDIMParallelScheduler': return timestepGrid(settings, path, steps)
    case 'DDPMScheduler': case 'DDPMParallelScheduler': return timestepGrid({ ...settings, set_alpha_to_one: true }, path, steps)
    case 'PNDMScheduler': return timestepGrid(settings, path, steps)
    case 'DDIMInverseScheduler': return inverseGrid(settings, path, steps)
    case 'LCMScheduler': case 'TCDScheduler': return distilledGrid(name, settings, path, steps)
    case 'DPMSolverMultistepInverseScheduler': return inverseSolverGrid(settings, path, steps)
    case 'DPMSolverMultistepScheduler': case 'DPMSolverSinglestepScheduler': case 'DEISMultistepScheduler': case 'UniPCMultistepScheduler': case 'SASolverScheduler': return solverGrid(name, settings, path, steps)
    case 'FlowMatchEulerDiscreteScheduler': case 'FlowMatchHeunDiscreteScheduler': return flowGrid(settings, steps, flow)
    case 'EDMEulerScheduler': case 'EDMDPMSolverMultistepScheduler': return edmGrid(settings, steps)
    case 'CMStochasticIterativeScheduler': return consistencyGrid(settings, steps)
    case 'IPNDMScheduler': return ipndmGrid(steps)
    default: return sigmaGrid(settings, path, steps)
  }
}

function samplerOf(name: SchedulerClass, settings: SchedulerSettings, { eta, churn, least, most, noise, ...others }: StepOptions): Sampler {
  refuseOthers('fromDiffusers', others)
  const churning = [churn, least, most, noise].some((x) => x !== undefined)
  if (churning && !['EulerDiscreteScheduler', 'EDMEulerScheduler'].includes(name)) throw new ConfigError(`fromDiffusers: churn, least, most and noise are for Euler's schedulers, and ${name} is none; leave them out`)
  if (eta !== undefined && !/^(DDIM(Parallel)?|TCD)Scheduler$/.test(name)) throw new ConfigError(`fromDiffusers: eta is for DDIMScheduler and TCDScheduler, and not ${name}; leave it out`)
  const share = eta === undefined ? {} : { eta }
  switch (name) {
    case 'DDIMScheduler': case 'DDIMParallelScheduler': return inEqualSteps(limited(ddim(share), settings, false), settings)
    case 'DDIMInverseScheduler': return limited(ddimInversion(), settings, false)
    case 'DDPMScheduler': case 'DDPMParallelScheduler': return limited(ddpm({ variance: varianceOf(settings) }), settings, true)
    case 'EulerDiscreteScheduler': case 'EDMEulerScheduler': return churned({ ...(churn !== undefined && { churn }), ...(least !== undefined && { least }), ...(most !== undefined && { most }), ...(noise !== undefined && { noise }) }, settings.prediction_type === 'v_prediction')
    case 'EulerAncestralDiscreteScheduler': return ancestralEuler()
    case 'HeunDiscreteScheduler': return heun()
    case 'KDPM2DiscreteScheduler': return dpm2()
    case 'KDPM2AncestralDiscreteScheduler': return ancestralDpm2()
    case 'LMSDiscreteScheduler': return lmsOfStep
    case 'DPMSolverMultistepScheduler': case 'DPMSolverMultistepInverseScheduler': case 'EDMDPMSolverMultistepScheduler': return limited(dpmMultistep(settings), { ...settings, clip_sample: false }, true)
    case 'DPMSolverSinglestepScheduler': return limited(dpmSinglestep(settings), { ...settings, clip_sample: false }, true)
    case 'DEISMultistepScheduler': return limited(ordered(deis({ order: settings.solver_order }), settings, ['eps1', 'eps2']), { ...settings, clip_sample: false }, true)
    case 'UniPCMultistepScheduler': return limited(uniPcOf(settings), { ...settings, clip_sample: false }, true)
    case 'SASolverScheduler': return limited(saSolverOf(settings), { ...settings, clip_sample: false }, true)
    case 'PNDMScheduler': return { ...(settings.skip_prk_steps ? plmsAlong : pndmAlong)(settings.prediction_type === 'v_prediction' ? alongVelocity : alongNoise), rises: true } // the last step may be from the first timestep to itself
    case 'LCMScheduler': return limited(asking(consistency(), (denoise) => (x, level) => consistencyBoundary({ scaling: settings.timestep_scaling, sigmaData: settings.sigma_data })(denoise)(x, level, {})), settings, false)
    case 'TCDScheduler': return limited(tcd({ gamma: eta ?? 0.3 }), settings, false)
    case 'FlowMatchEulerDiscreteScheduler': return settings.stochastic_sampling ? consistency() : euler()
    case 'FlowMatchHeunDiscreteScheduler': return eulerAtTheEnd(heunInTime())
    case 'CMStochasticIterativeScheduler': return asking(consistencyIteration(settings.sigma_min ?? 0.002), (denoise) => (x, level) => (settings.clip_denoised ? Prediction.ofImage(clamp(denoise(x, level).x0, -1, 1), x, level) : denoise(x, level)))
    case 'IPNDMScheduler': return asking(ipndm(), (denoise) => (x, level) => (level.alpha > 1e-8 ? denoise(x, level) : new Prediction(() => mul(x, 0), () => denoise(x, { ...level, alpha: 0 }).eps)))
    default: throw new ConfigError(`fromDiffusers: ${String(name)}`)
  }
}

function uniPcOf({ solver_order: order, solver_type: variant, disable_corrector: without, predict_x0: ofImage, lower_order_final: lower }: SchedulerSettings): Sampler {
  if (!ofImage || !lower || (variant !== 'bh1' && variant !== 'bh2')) throw new ConfigError(`fromDiffusers: UniPC with predict_x0 ${ofImage}, lower_order_final ${lower} and solver_type ${variant}; use true, true, and bh1 or bh2`)
  return unipcOf((left) => Math.min(order, left), order, variant, (step) => !without.includes(step - 1))
}

/** τ is 1 from timestep 200 to 800, and 0 elsewhere. */
function saSolverOf({ algorithm_type: algorithm, predictor_order: predictor, corrector_order: corrector, lower_order_final: lower }: SchedulerSettings): Sampler {
  if (algorithm !== 'data_prediction' || !lower) throw new ConfigError(`fromDiffusers: SA-Solver with algorithm_type ${algorithm} and lower_order_final ${lower}; use data_prediction and true`)
  return stochasticAdams(({ t }) => (t >= 200 && t <= 800 ? 1 : 0), predictor, corrector, adamsOfCode, true)
}

function varianceOf({ variance_type: type }: SchedulerSettings): 'small' | 'large' | 'learned' {
  switch (type) {
    case 'fixed_small': case 'fixed_small_log': return 'small'
    case 'fixed_large': return 'large'
    case 'learned_range': return 'learned'
    default: throw new ConfigError(`fromDiffusers: variance_type ${type}; use fixed_small, fixed_small_log, fixed_large or learned_range`)
  }
}
