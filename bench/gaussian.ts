/**
 * Samplers on data N(μ, diag s²), whose denoiser is known and linear: so is every sampler but those that choose their steps, and the distribution of what it makes
 * follows exactly from its answers to zero, to a start of 1 and to noise of 1 in one step (Pierret and Galerne, arXiv:2405.14250).
 */
import { add, full, mul, realize, tensor } from '../engine/index.ts'
import type { Device, Tensor } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import { Prediction } from '../diffusion/prediction.ts'
import type { HostLevel, NoisePath } from '../diffusion/paths/path.ts'
import { beginsWith } from '../diffusion/sample.ts'
import type { Problem, Sampler, SamplerState } from '../diffusion/samplers/sampler.ts'

export interface GaussianData {
  readonly means: readonly number[]
  readonly deviations: readonly number[]
}

/** 64 coordinates whose standard deviations fall as those of an image's frequencies do, 1/(1 + k), scaled to a mean variance of ¼; mean 0.2. */
export function imageLike(count = 64): GaussianData {
  const raw = Array.from({ length: count }, (_, k) => 1 / (1 + k))
  const scale = 0.5 / Math.sqrt(raw.reduce((sum, s) => sum + s * s, 0) / count)
  return { means: raw.map(() => 0.2), deviations: raw.map((s) => s * scale) }
}

/** E[x₀ | x] = (α·s²·x + σ²·μ)/(α²·s² + σ²), in float64 where the device has it. */
export function gaussianDenoiser({ means, deviations }: GaussianData, device: Device): Problem['denoise'] {
  const row = (value: (mean: number, deviation: number) => number): Tensor => tensor(means.map((mean, i) => value(mean, at(deviations, i))), [1, means.length], { device, dtype: device.supports('f64') ? 'f64' : 'f32' })
  return (x, level) => {
    const { alpha, sigma } = level
    const total = (s: number): number => (alpha * s) ** 2 + sigma ** 2
    return Prediction.ofImage(add(mul(x, row((_, s) => (alpha * s * s) / total(s))), row((mean, s) => (mean * sigma ** 2) / total(s))), x, level)
  }
}

/** The mean and standard deviation of each coordinate of what `sampler` makes. */
export async function outcome(sampler: Sampler, path: NoisePath, levels: readonly HostLevel[], data: GaussianData, device: Device): Promise<GaussianData> {
  const [steps, draws, size] = [levels.length - 1, 2, data.means.length]
  const rows = 2 + draws * steps // nothing at all, a start of 1, and each noise alone
  const only = (row: number): Tensor => tensor(Float64Array.from({ length: rows }, (_, i) => (i === row ? 1 : 0)), [rows, 1], { device, dtype: 'f64' })
  const ones = full([1, size], 1, { device, dtype: 'f64' })
  const noise = (step: number, draw = 0): Tensor => {
    if (draw >= draws) throw new RangeError(`draw ${draw} of a step`)
    return mul(only(2 + draws * step + draw), ones)
  }
  const problem: Problem = { path, levels, noise, denoise: gaussianDenoiser(data, device) }
  let state: SamplerState = { step: 0, x: mul(only(1), mul(ones, beginsWith(path, at(levels, 0)))), memory: {}, numbers: {} }
  await realize(state.x)
  while (state.step < steps) {
    const { memory = {}, numbers = {}, step, x } = await sampler.step(state, problem)
    await realize(x, ...Object.values(memory))
    state = { step, x, memory, numbers }
  }
  const x = await state.x.data()
  const value = (row: number, i: number): number => at([...x.subarray(row * size + i, row * size + i + 1)], 0)
  const gains = (i: number): number[] => Array.from({ length: rows - 1 }, (_, row) => value(row + 1, i) - value(0, i))
  return { means: data.means.map((_, i) => value(0, i)), deviations: data.means.map((_, i) => Math.hypot(...gains(i))) }
}

/** The 2-Wasserstein distance of two Gaussians with independent coordinates: √(Σ (μ − μ')² + (s − s')²). */
export const wasserstein = (a: GaussianData, b: GaussianData): number => Math.hypot(...a.means.map((mean, i) => mean - at(b.means, i)), ...a.deviations.map((s, i) => s - at(b.deviations, i)))
