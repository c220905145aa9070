/**
 * DPM-Solver (Lu et al., arXiv:2206.00927): exponential integrators of the diffusion ODE in λ = ln(α/σ) that let ε change within a step, of first to third
 * order with as many questions a step. In units of α, with h = λ' − λ,
 *
 *     x'/α' = x/α − (σ'/α')·(eʰ − 1)·ε + …
 */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import { between, intermediate, transfer } from './sampler.ts'
import type { Problem, Sampler, SamplerStep } from './sampler.ts'

type Order = 1 | 2 | 3

/** From x to a level, along ε and corrections in units of −σ'. */
const along = (x: Tensor, from: HostLevel, to: HostLevel, ...slopes: readonly (readonly [number, Tensor])[]): Tensor => combine([to.alpha / from.alpha, x], ...slopes.map(([factor, eps]) => [-to.sigma * factor, eps] as const))

/** One step of that order; returns also what was seen behind x. */
function solve(problem: Problem, x: Tensor, from: HostLevel, to: HostLevel, order: Order): readonly [x: Tensor, x0: Tensor] {
  const said = problem.denoise(x, from)
  if (from.alpha === 0 || to.sigma === 0 || order === 1) return [transfer(said, to), said.x0]
  const { eps, x0 } = said
  const h = Math.log(noiseRatio(from) / noiseRatio(to))
  const within = (share: number): HostLevel => intermediate(problem, noiseRatio(from) * Math.exp(-share * h))
  if (order === 2) {
    const middle = within(1 / 2)
    const later = problem.denoise(along(x, from, middle, [Math.expm1(h / 2), eps]), middle).eps
    return [along(x, from, to, [Math.expm1(h), later]), x0] // algorithm 1, where r₁ = ½ leaves of both ε only the later
  }
  const [first, second] = [within(1 / 3), within(2 / 3)]
  const one = problem.denoise(along(x, from, first, [Math.expm1(h / 3), eps]), first).eps
  const part = (2 * h) / 3
  const bend = 2 * (Math.expm1(part) / part - 1)
  const two = problem.denoise(along(x, from, second, [Math.expm1(part) - bend, eps], [bend, one]), second).eps
  const curve = (3 / 2) * (Math.expm1(h) / h - 1)
  return [along(x, from, to, [Math.expm1(h) - curve, eps], [curve, two]), x0] // algorithm 2
}

export interface SinglestepOptions {
  /** Of every step, or of each. Default 3. */
  readonly order?: Order | readonly Order[]
}

/**
 * DPM-Solver-1, -2 or -3 (algorithms 1 and 2): as many questions a step. DPM-Solver-1 is DDIM. To a clean image it takes a step of first order;
 * levels that end before it, `{ end: 'last' }`, keep the order.
 */
export function dpmSolver({ order = 3, ...others }: SinglestepOptions = {}): Sampler {
  refuseOthers('dpmSolver', others)
  const orders = typeof order === 'number' ? [order] : order
  for (const one of orders) if (![1, 2, 3].includes(one)) throw new ConfigError(`dpmSolver: order ${String(one)}; use 1, 2 or 3, or a list of such`)
  return {
    name: 'dpmSolver',
    step(state, problem): SamplerStep {
      const steps = problem.levels.length - 1
      if (typeof order !== 'number' && orders.length !== steps) throw new ConfigError(`dpmSolver: ${orders.length} orders for ${steps} steps; give one for each`)
      const [from, to] = between(this, state, problem)
      const [x, x0] = solve(problem, state.x, from, to, typeof order === 'number' ? order : at(orders, state.step))
      return { step: state.step + 1, x, x0 }
    },
  }
}

/** Orders of the steps of DPM-Solver-fast: third order, and at the end what makes the number of questions be `evaluations` (appendix D.3). The levels are as many, and one more. */
export function fastOrders(evaluations: number): Order[] {
  if (!(Number.isInteger(evaluations) && evaluations > 0)) throw new ConfigError(`fastOrders: ${evaluations} evaluations; use a positive integer`)
  const steps = Math.floor(evaluations / 3) + 1
  const rest = evaluations % 3
  const last: Order[] = rest === 0 ? [2, 1] : rest === 1 ? [1] : [2]
  return [...new Array<Order>(steps - last.length).fill(3), ...last]
}
