/** From a network to what samplers ask of it, with guidance in between. */
import { refuseOthers } from '../engine/error.ts'
import { ConfigError, ShapeError, clamp, expand, mul, scalar } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { formatShape, sameShape } from '../engine/shape.ts'
import type { Parameterization } from './parameterization.ts'
import type { HostLevel } from './paths/path.ts'
import { Prediction } from './prediction.ts'

/** What a network is conditioned on: tensors by name, batch first, such as { labels: [B] } or { context: [B, T, D] }. */
export type Conditions = Readonly<Record<string, TensorLike>>

/** A network: x [B, …], time [B] f32, and its conditions → [B, …]. */
export type Network<C extends Conditions = Conditions> = (x: Tensor, time: Tensor, conditions: C) => Tensor

/** What is said of x [B, …] at one level. */
export type Denoiser<C extends Conditions = Conditions> = (x: Tensor, level: HostLevel, conditions: C) => Prediction

/** Another denoiser in the place of one: guidance, thresholding, averaged weights. */
export type Guidance<C extends Conditions = Conditions> = (denoise: Denoiser<C>) => Denoiser<C>

/**
 * The denoiser of a network that was trained in that parameterization. All numbers of a level go in as data, so that every level runs the same plan.
 * Throws ConfigError where the network cannot be told the time, ShapeError where its output is not of the shape of x.
 */
export function denoiserOf<C extends Conditions = Conditions>(network: Network<C>, parameterization: Parameterization): Denoiser<C> {
  return (x, level, conditions) => {
    const [time, scale] = [parameterization.time(level), parameterization.input?.(level) ?? 1]
    if (typeof time === 'number' && !Number.isFinite(time)) throw new ConfigError(`${parameterization.name}: at α = ${level.alpha}, σ = ${level.sigma} the network would be told the time ${time}; begin at a level that it was trained on`)
    const seen = scale === 1 ? x : mul(x, scale)
    const told = expand(typeof time === 'number' ? scalar(time, { device: x.device }) : time, [x.shape[0] ?? 1])
    const output = network(seen, told, conditions)
    checkOutput(output, x, parameterization)
    return parameterization.read(output, x, level)
  }
}

/** x₀ kept within the range of the data, as in DDPM's reference code (`clip_denoised`); ε follows. Default −1 to 1. */
export function clipped<C extends Conditions>({ low = -1, high = 1, ...others }: { readonly low?: number; readonly high?: number } = {}): Guidance<C> {
  refuseOthers('clipped', others)
  return (denoise) => (x, level, conditions) => {
    const { x0, variance } = denoise(x, level, conditions)
    return Prediction.ofImage(clamp(x0, low, high), x, level, variance)
  }
}

/** Guidances one around the other: the first is the innermost. */
export const compose = <C extends Conditions>(...guidances: readonly Guidance<C>[]): Guidance<C> => (denoise) => guidances.reduce<Denoiser<C>>((inner, guidance) => guidance(inner), denoise)

function checkOutput(output: Tensor, x: Tensor, { name, channels = 1 }: Parameterization): void {
  const wanted = x.shape.map((d, i) => (i === 1 ? d * channels : d))
  if (sameShape(output.shape, wanted)) return
  throw new ShapeError(`the network makes ${formatShape(output.shape)} of images ${formatShape(x.shape)}, but in the parameterization ${name} it should make ${formatShape(wanted)}; pass images of the network's own size, and the parameterization that it was trained in`)
}
