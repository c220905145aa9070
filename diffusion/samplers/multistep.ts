/**
 * Linear multistep methods: one question a step, and the answers of the steps before. Each replaces ε by a combination of the last ones and goes on as
 * DDIM or Euler's method do.
 */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import { noiseRatio } from '../paths/path.ts'
import { between, transfer } from './sampler.ts'
import type { Problem, Sampler, SamplerState, SamplerStep } from './sampler.ts'

/** ε of this step and of those before it, newest first, as many as are remembered. */
export function history(eps: Tensor, { memory }: SamplerState, most: number): Tensor[] {
  const before = Array.from({ length: most - 1 }, (_, k) => memory[`eps${k + 1}`])
  return [eps, ...before.slice(0, before.indexOf(undefined) < 0 ? before.length : before.indexOf(undefined)).filter((x) => x !== undefined)]
}

export const remembered = (past: readonly Tensor[], most: number): Record<string, Tensor> => Object.fromEntries(past.slice(0, most - 1).map((eps, k) => [`eps${k + 1}`, eps]))

function checkOrder(op: string, order: number, most: number): void {
  if (!(Number.isInteger(order) && order >= 1 && order <= most)) throw new ConfigError(`${op}: order ${order}; use 1 to ${most}`)
}

export interface OrderOptions {
  /** How many answers are combined; default 4. */
  readonly order?: number
}

/** Of Adams and Bashforth for equal steps, newest first: of first to fourth order. */
export const adamsBashforth: readonly (readonly number[])[] = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]

/**
 * iPNDM: Adams and Bashforth's combination of the last four ε, of as many as there are in the first steps, in DDIM's step (Zhang and Chen,
 * arXiv:2204.13902, section 3; Liu et al., arXiv:2202.09778, eq. 12).
 */
export function ipndm({ order = 4, ...others }: OrderOptions = {}): Sampler {
  refuseOthers('ipndm', others)
  checkOrder('ipndm', order, 4)
  return {
    name: 'ipndm',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const said = problem.denoise(state.x, from)
      const past = history(said.eps, state, order)
      const eps = combine(...at(adamsBashforth, past.length - 1).map((b, k) => [b, at(past, k)] as const))
      const keep = to.alpha / from.alpha
      const x = past.length === 1 ? transfer(said, to) : combine([keep, state.x], [to.sigma - keep * from.sigma, eps])
      return { step: state.step + 1, x, memory: remembered(past, order), x0: said.x0 }
    },
  }
}

/** ∫ from a to b of the polynomial that is 1 at node j and 0 at the others: Gauss's rule with four points, exact for those. */
function lagrangeIntegral(nodes: readonly number[], j: number, a: number, b: number): number {
  const points = [[0.3399810435848563, 0.6521451548625461], [0.8611363115940526, 0.34785484513745385]] as const
  const value = (s: number): number => nodes.reduce((product, node, k) => (k === j ? product : (product * (s - node)) / (at(nodes, j) - node)), 1)
  const [middle, half] = [(a + b) / 2, (b - a) / 2]
  return half * points.reduce((sum, [place, weight]) => sum + weight * (value(middle + half * place) + value(middle - half * place)), 0)
}

/**
 * DEIS, the tAB method in ln(σ/α): the polynomial through the last ε in ln(σ/α), integrated over σ/α (Zhang and Chen, arXiv:2204.13902, eq. 14 and 15 with ρ = σ/α).
 */
export function deis({ order = 3, ...others }: OrderOptions = {}): Sampler {
  refuseOthers('deis', others)
  checkOrder('deis', order, 4)
  return {
    name: 'deis',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const said = problem.denoise(state.x, from)
      if (from.alpha === 0) return { step: state.step + 1, x: transfer(said, to), x0: said.x0 } // ε at σ/α = ∞ is no node.
      const past = history(said.eps, state, order)
      const ratio = noiseRatio(from)
      const nodes = past.map((_, k) => Math.log(noiseRatio(at(problem.levels, state.step - k)) / ratio))
      const moments = exponentialMoments(Math.log(noiseRatio(to) / ratio), past.length)
      const change = past.map((eps, j) => [to.alpha * ratio * lagrange(nodes, j).reduce((sum, c, k) => sum + c * at(moments, k), 0), eps] as const)
      return { step: state.step + 1, x: combine([to.alpha / from.alpha, state.x], ...change), memory: remembered(past, order), x0: said.x0 }
    },
  }
}

/** ∫ vᵏ·eᵛ dv from 0 to b, k = 0 … count − 1; b may be −∞. */
function exponentialMoments(b: number, count: number): number[] {
  const moments = [Math.expm1(b)]
  for (let k = 1; k < count; k++) moments.push((b === -Infinity ? 0 : b ** k * Math.exp(b)) - k * at(moments, k - 1))
  return moments
}

/** Coefficients, lowest first, of the polynomial that is 1 at node j and 0 at the others. */
export function lagrange(nodes: readonly number[], j: number): number[] {
  let polynomial = [1]
  for (const [k, node] of nodes.entries()) {
    if (k === j) continue
    const scale = 1 / (at(nodes, j) - node)
    polynomial = [...polynomial, 0].map((_, i) => scale * ((polynomial[i - 1] ?? 0) - node * (polynomial[i] ?? 0)))
  }
  return polynomial
}

/** The linear multistep method in σ/α: the polynomial through the last ε, integrated from σ/α to the next (k-diffusion's LMS, of order 4). */
export function lms({ order = 4, ...others }: OrderOptions = {}): Sampler {
  refuseOthers('lms', others)
  checkOrder('lms', order, 4)
  return {
    name: 'lms',
    step: (state, problem) => lmsStep(state, problem, order),
  }
}

/** That step, of the polynomial through the last `count` levels' ε, or through those that are remembered. */
export function lmsStep(state: SamplerState, problem: Problem, order: number, count?: number): SamplerStep {
  const [from, to] = between({ name: 'lms' }, state, problem)
  const said = problem.denoise(state.x, from)
  if (from.alpha === 0) return { step: state.step + 1, x: transfer(said, to), x0: said.x0 } // ε at σ/α = ∞ is no node.
  const past = history(said.eps, state, order)
  const nodes = Array.from({ length: count ?? past.length }, (_, k) => noiseRatio(at(problem.levels, state.step - k)))
  const change = past.map((eps, j) => [to.alpha * lagrangeIntegral(nodes, j, at(nodes, 0), noiseRatio(to)), eps] as const)
  return { step: state.step + 1, x: combine([to.alpha / from.alpha, state.x], ...change), memory: remembered(past, order), x0: said.x0 }
}
