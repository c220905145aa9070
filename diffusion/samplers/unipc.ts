/** UniPC (Zhao et al., arXiv:2302.04867): a multistep predictor in λ = ln(α/σ), and a corrector that uses what the network says at the step's end, which the next step asks anyway. */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import { between } from './sampler.ts'
import type { Problem, Sampler, SamplerState, SamplerStep } from './sampler.ts'

export interface UnipcOptions {
  /** How many answers the predictor combines, 1 to 4; default 2. The corrector's is one more. */
  readonly order?: number
  /** B(h): h, or e^h − 1, which the authors found better for few steps (section 4.1). Default bh2. */
  readonly variant?: 'bh1' | 'bh2'
  /** Whether a step is corrected by what is said at its end, and that only from this step on; false for UniP alone. Default true. */
  readonly corrector?: boolean | ((step: number) => boolean)
}

const lambda = (level: HostLevel): number => -Math.log(noiseRatio(level))

/** UniPC of that order in what is said of x₀, with one question a step. A step to a clean image is of first order. */
export function unipc({ order = 2, variant = 'bh2', corrector = true, ...others }: UnipcOptions = {}): Sampler {
  refuseOthers('unipc', others)
  if (!(Number.isInteger(order) && order >= 1 && order <= 4)) throw new ConfigError(`unipc: order ${order}; use 1 to 4`)
  if (!['bh1', 'bh2'].includes(variant)) throw new ConfigError(`unipc: variant ${variant}; use bh1 or bh2`)
  return unipcOf((_, to) => (to.sigma === 0 ? 1 : order), order, variant, typeof corrector === 'function' ? corrector : () => corrector)
}

/** The sampler, given the order of a step that has so many left, itself among them. */
export const unipcOf = (orderAt: (left: number, to: HostLevel) => number, most: number, variant: 'bh1' | 'bh2', corrects: (step: number) => boolean): Sampler => ({
  name: 'unipc',
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const { x0 } = problem.denoise(state.x, from)
    const { before } = state.memory
    const last = problem.levels[state.step - 1]
    const correct = before !== undefined && last !== undefined && last.alpha > 0 && corrects(state.step)
    const x = correct ? moved(before, last, from, earlier(state, problem, state.numbers['order'] ?? 1), variant, x0) : state.x
    const past = [{ x0, lambda: lambda(from) }, ...earlier(state, problem, most - 1).filter((one) => Number.isFinite(one.lambda))]
    const used = past.slice(0, from.alpha === 0 ? 1 : orderAt(problem.levels.length - 1 - state.step, to))
    const memory = Object.fromEntries(past.slice(0, most).map((one, k) => [`x0${k}`, one.x0]))
    return { step: state.step + 1, x: moved(x, from, to, used, variant), memory: { ...memory, before: x }, numbers: { order: used.length }, x0 }
  },
})

interface Answer {
  readonly x0: Tensor
  readonly lambda: number
}

/** What was said at the levels before, newest first, `count` of it at most. */
function earlier({ step, memory }: SamplerState, { levels }: Problem, count: number): Answer[] {
  return Array.from({ length: count }, (_, k) => ({ x0: memory[`x0${k}`], level: levels[step - 1 - k] })).flatMap(({ x0, level }) => (x0 === undefined || level === undefined ? [] : [{ x0, lambda: lambda(level) }]))
}

/**
 * x at `to`: α'·(1 − e⁻ʰ)·m₀ + (σ'/σ)·x − α'·B·Σ ρₖ·(mₖ − m₀)/rₖ, where mₖ was said at λ₀ + rₖ·h and the ρ solve Σ rₖⁿ⁻¹·ρₖ = bₙ (eq. 3 and 5). With what is said at
 * `to` itself, r = 1, it is the corrector.
 */
function moved(x: Tensor, from: HostLevel, to: HostLevel, past: readonly Answer[], variant: 'bh1' | 'bh2', end?: Tensor): Tensor {
  const [newest] = past
  if (newest === undefined) throw new ConfigError('unipc: a state without what was said; go on from one that the same sampler made')
  const h = -Math.log((to.sigma * from.alpha) / (from.sigma * to.alpha))
  const others = [...past.slice(1).map((one) => ({ x0: one.x0, r: (one.lambda - newest.lambda) / h })), ...(end === undefined ? [] : [{ x0: end, r: 1 }])]
  const base = [[to.sigma / from.sigma, x], [to.alpha * -Math.expm1(-h), newest.x0]] as const
  if (others.length === 0) return combine(...base)
  const b = variant === 'bh1' ? -h : Math.expm1(-h)
  const rho = others.length === 1 ? [0.5] : solved(others.map(({ r }) => r), rightSide(-h, b, others.length))
  const slopes = others.map(({ x0, r }, k) => [(-to.alpha * b * at(rho, k)) / r, x0] as const)
  return combine(...base, ...slopes, [-slopes.reduce((sum, [factor]) => sum + factor, 0), newest.x0])
}

/** bₙ = hⁿ⁻¹·n!·φₙ₊₁(h)·h/B, n = 1 … count. */
function rightSide(h: number, b: number, count: number): number[] {
  const side: number[] = []
  let [phi, factorial] = [Math.expm1(h) / h - 1, 1]
  for (let n = 1; n <= count; n++) {
    side.push((phi * factorial) / b)
    factorial *= n + 1
    phi = phi / h - 1 / factorial
  }
  return side
}

/** ρ of Σ rₖⁿ⁻¹·ρₖ = bₙ, by elimination. */
function solved(r: readonly number[], b: readonly number[]): number[] {
  const rows = b.map((right, n) => [...r.map((x) => x ** n), right])
  for (let i = 0; i < rows.length; i++) {
    const pivot = at(rows, i).map((x) => x / at(at(rows, i), i))
    for (let k = 0; k < rows.length; k++) rows[k] = k === i ? pivot : at(rows, k).map((x, j) => x - at(at(rows, k), i) * at(pivot, j))
  }
  return rows.map((row) => at(row, row.length - 1))
}
