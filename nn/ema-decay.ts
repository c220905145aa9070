/**
 * Decays of moving averages that change as the average ages, as functions of k = 0, 1, …, the updates before. They are
 * given as weights 1 − β, computed on the device: a step that is skipped there does not age the average.
 */
import { ConfigError, add, clamp, div, expm1, log1p, maximum, mul, neg, pow } from '../engine/index.ts'
import type { Tensor } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import { literal } from '../engine/ops/elementwise.ts'
import { gammaOf } from './ema-posthoc.ts'

export interface DecayProfile {
  /** 1 − β of the update after k others. k [] → []. */
  readonly weight: (k: Tensor) => Tensor | number
}

/** min(β, (1 + k) / (10 + k)): TensorFlow's `ExponentialMovingAverage` with `num_updates`. Throws ConfigError for β outside 0 to 1. */
export function warmupDecay(decay = 0.9999): DecayProfile {
  check('warmupDecay', 'decay', decay, decay >= 0 && decay <= 1, 'a number from 0 to 1')
  return { weight: (k) => maximum(div(literal(9), add(k, literal(10))), 1 - decay) }
}

export interface PowerWarmupOptions {
  /** Default 1. */
  readonly invGamma?: number
  /** 2/3 for a million steps and more, 3/4 for less. Default 2/3. */
  readonly power?: number
  /** Default 0. */
  readonly minDecay?: number
}

/**
 * β = 1 − (1 + k/invGamma)^(−power), kept between `minDecay` and `decay`: `use_ema_warmup` of diffusers' `EMAModel`, and
 * ema-pytorch. Throws ConfigError for numbers out of range.
 */
export function powerWarmupDecay(decay = 0.9999, { invGamma = 1, power = 2 / 3, minDecay = 0, ...others }: PowerWarmupOptions = {}): DecayProfile {
  refuseOthers('powerWarmupDecay', others)
  check('powerWarmupDecay', 'decay', decay, decay >= minDecay && minDecay >= 0 && decay <= 1, `a number from minDecay, ${minDecay}, to 1`)
  check('powerWarmupDecay', 'invGamma', invGamma, invGamma > 0, 'a positive number')
  check('powerWarmupDecay', 'power', power, power > 0, 'a positive number')
  return { weight: (k) => clamp(pow(add(div(k, invGamma), literal(1)), -power), 1 - decay, 1 - minDecay) }
}

export interface HalfLifeOptions {
  /** Images in a step. */
  readonly batch: number
  /** The half-life is at most this share of the images seen so far; null for no such limit. Default 0.05. */
  readonly rampUp?: number | null
}

/**
 * β = 2^(−batch / halfLife), the half-life counted in images: the training loop of EDM (Karras et al., arXiv:2206.00364),
 * which uses 500,000. Throws ConfigError for numbers out of range.
 */
export function halfLifeDecay(halfLife: number, { batch, rampUp = 0.05, ...others }: HalfLifeOptions): DecayProfile {
  refuseOthers('halfLifeDecay', others)
  check('halfLifeDecay', 'halfLife', halfLife, halfLife > 0, 'a positive number of images')
  check('halfLifeDecay', 'batch', batch, batch > 0, 'a positive number of images')
  check('halfLifeDecay', 'rampUp', rampUp ?? 1, (rampUp ?? 1) > 0, 'a positive number, or null')
  if (rampUp === null) return { weight: () => -Math.expm1((-Math.LN2 * batch) / halfLife) }
  // An average that has seen no image forgets where it started.
  const life = (k: Tensor): Tensor => clamp(mul(k, batch * rampUp), 1e-8, halfLife)
  return { weight: (k) => neg(expm1(div(-Math.LN2 * batch, life(k)))) }
}

/**
 * β = (1 − 1/(k+1))^(γ+1), whose average weighs the past by tᵞ: EDM2's power-function average (Karras et al.,
 * arXiv:2312.02696, eq. 127). `sigmaRel` is the width of that profile relative to the training time, such as 0.05 or 0.1.
 * Snapshots of two of them give any other afterwards: `posthocEMA`. Throws ConfigError for a width out of range.
 */
export function powerFunctionDecay(sigmaRel: number): DecayProfile {
  const gamma = gammaOf(sigmaRel)
  return { weight: (k) => neg(expm1(mul(log1p(div(literal(-1), add(k, literal(1)))), gamma + 1))) }
}

function check(profile: string, name: string, value: number, holds: boolean, words: string): void {
  if (!holds) throw new ConfigError(`${profile}: ${name} is ${value}; use ${words}`)
}
