/** The training objective: E ‖network(x_t, t) − target‖² (Ho et al., arXiv:2006.11239, eq. 14, for target ε). */
import { cast, indexSelect, mean, mul, reshape, sub, tensor } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import type { Network } from './denoiser.ts'
import { addNoise, checkPrediction, targetOf } from './parameterization.ts'
import type { Level, Prediction } from './parameterization.ts'
import type { NoiseSchedule } from './schedule.ts'

/** The factors of x₀ and ε at integer timesteps t [B], shaped [B, 1, …] to broadcast over tensors of `rank` axes. */
export function levelAt(schedule: NoiseSchedule, t: TensorLike, rank: number): Level {
  const column = [at(t.shape, 0), ...new Array<number>(rank - 1).fill(1)]
  const pick = (table: Float64Array): Tensor => reshape(indexSelect(tensor(Float32Array.from(table), null, { device: t.device }), t, 0), column)
  return { a: pick(schedule.signal), s: pick(schedule.noise) }
}

export interface DiffusionLossOptions {
  readonly schedule: NoiseSchedule
  /** Timesteps, i32 [B]. */
  readonly t: TensorLike
  /** Standard normal noise in the shape of the images. */
  readonly eps: TensorLike
  /** Default `eps`. */
  readonly prediction?: Prediction
}

/** The mean squared error over all elements, []. x0 [B, …]: clean images, in [-1, 1]. Throws ConfigError for a prediction that is none. */
export function diffusionLoss(network: Network, x0: TensorLike, { schedule, t, eps, prediction = 'eps' }: DiffusionLossOptions): Tensor {
  checkPrediction('diffusionLoss', prediction)
  const level = levelAt(schedule, t, x0.shape.length)
  const said = network(addNoise(x0, eps, level), cast(t, 'f32'))
  const error = sub(said, targetOf(prediction, x0, eps, level))
  return mean(mul(error, error))
}
