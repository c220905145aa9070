/**
 * A denoiser says what clean image is behind x = x₀ + σ·ε: E[x₀ | x]. It is all that a sampler knows of a network
 * (Karras et al., arXiv:2206.00364, eq. 2-3; k-diffusion's DiscreteEpsDDPMDenoiser and DiscreteVDDPMDenoiser).
 */
import { clamp, expand, mul, scalar } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import { checkPrediction, cleanOf } from './parameterization.ts'
import type { Prediction } from './parameterization.ts'
import type { NoiseSchedule } from './schedule.ts'

/** x [B, …] = x₀ + σ·ε → the expected x₀, of the same shape. */
export type Denoiser = (x: Tensor, sigma: number) => Tensor

/** What a network trained on x_t = √ᾱ·x₀ + √(1−ᾱ)·ε says, at timesteps t [B]. */
export type Network = (x: Tensor, t: TensorLike) => Tensor

/**
 * The denoiser inside such a network: with a = 1/√(1+σ²) and s = σ·a, the network sees a·x at the timestep of σ.
 * Numbers go in as data, so that every noise level runs the same plan. Throws ConfigError for a prediction that is none.
 */
export function denoiserOf(network: Network, schedule: NoiseSchedule, prediction: Prediction = 'eps'): Denoiser {
  checkPrediction('denoiserOf', prediction)
  return (x, sigma) => {
    const a = 1 / Math.hypot(1, sigma)
    const scaled = mul(x, a)
    const t = expand(scalar(schedule.timestepOf(sigma), { device: x.device }), [at(x.shape, 0)])
    return cleanOf(prediction, network(scaled, t), scaled, { a, s: sigma * a })
  }
}

/** The same denoiser with what it says kept within the range of the data, as in DDPM's reference code (`clip_denoised`). */
export function clipped(denoise: Denoiser, low = -1, high = 1): Denoiser {
  return (x, sigma) => clamp(denoise(x, sigma), low, high)
}
