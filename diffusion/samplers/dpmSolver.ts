/**
 * DPM-Solver++ (Lu et al., arXiv:2211.01095): exponential integrators of the diffusion ODE, and of its SDE, in λ = ln(α/σ), where with h = λ' − λ
 *
 *     x' = (σ'/σ)·x + α'·(1 − e⁻ʰ)·x₀
 *
 * is exact for an x₀ that stays as it is; higher orders let it change. With η, half of 1 + η of the way is the ODE's and fresh noise makes up for the rest.
 * e⁻ʰ = σ'·α/(σ·α') is 0 where a step begins at noise alone, or ends at a clean image: nothing is infinite.
 */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { combine } from '../arithmetic.ts'
import type { HostLevel } from '../paths/path.ts'
import type { EtaOptions } from './ancestral.ts'
import { ancestral, between, intermediate } from './sampler.ts'
import type { Problem, Sampler, SamplerState, SamplerStep } from './sampler.ts'

/** h. */
const span = (from: HostLevel, to: HostLevel): number => -Math.log((to.sigma * from.alpha) / (from.sigma * to.alpha))

/** The step's h before this one, k steps ago; undefined where there was none. */
function spanBefore({ step }: SamplerState, { levels }: Problem, k: number): number | undefined {
  const [from, to] = [levels[step - k], levels[step - k + 1]]
  return from === undefined || to === undefined ? undefined : span(from, to)
}

/** (e^{−x} − 1)/x + 1 and its like one order up, with their limits for an infinite x. */
const phi2 = (x: number): number => (x === Infinity ? 1 : Math.expm1(-x) / x + 1)
const phi3 = (x: number): number => (x === Infinity ? -0.5 : phi2(x) / x - 0.5)

/** x' from what is said now and `corrections`, in units of α', that carry it on; and the noise of an SDE. */
function exponentialStep(state: SamplerState, problem: Problem, from: HostLevel, to: HostLevel, eta: number, x0: Tensor, corrections: readonly (readonly [number, Tensor])[]): Tensor {
  const h = span(from, to)
  const anew = eta === 0 ? 0 : eta * h // h may be infinite
  const x = combine([(to.sigma / from.sigma) * Math.exp(-anew), state.x], [to.alpha * -Math.expm1(-h - anew), x0], ...corrections.map(([factor, d]) => [to.alpha * factor, d] as const))
  const up = to.sigma * Math.sqrt(-Math.expm1(-2 * anew))
  return up > 0 ? combine([1, x], [up, problem.noise(state.step)]) : x
}

export interface MultistepOptions extends EtaOptions {
  /** How the second-order term is weighed: as the midpoint rule does, or Heun's. They agree to second order. Default midpoint. */
  readonly solver?: 'midpoint' | 'heun'
}

function checkEta(op: string, eta: number): void {
  if (!(eta >= 0)) throw new ConfigError(`${op}: eta is ${eta}; use 0 for the ODE, 1 for the SDE`)
}

/**
 * DPM-Solver++(2M), algorithm 2, and with η > 0 its SDE form (2M SDE, appendix of the paper and k-diffusion): one question a step, and the answer before. The
 * first step and one to a clean image are of first order.
 */
export function dpmSolver2M({ eta = 0, solver = 'midpoint', ...others }: MultistepOptions = {}): Sampler {
  refuseOthers('dpmSolver2M', others)
  checkEta('dpmSolver2M', eta)
  return {
    name: 'dpmSolver2M',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const { x0 } = problem.denoise(state.x, from)
      const [h, before, old] = [span(from, to), spanBefore(state, problem, 1), state.memory['x0']]
      const all = (1 + eta) * h
      const weight = solver === 'midpoint' ? -Math.expm1(-all) / 2 : phi2(all)
      const slope = old === undefined || before === undefined || to.sigma === 0 ? 0 : (weight * h) / before
      const x = exponentialStep(state, problem, from, to, eta, x0, old === undefined ? [] : [[slope, x0], [-slope, old]])
      return { step: state.step + 1, x, memory: { x0 }, x0 }
    },
  }
}

/**
 * DPM-Solver++ of third order, and with η > 0 its SDE form: one question a step, and the two answers before. It takes the whole curvature of x₀ in λ; the
 * authors' code and those after it (k-diffusion's 3M SDE) take half of it, which leaves second order (docs/diffusion.md).
 */
export function dpmSolver3M({ eta = 0, ...others }: EtaOptions = {}): Sampler {
  refuseOthers('dpmSolver3M', others)
  return thirdOrder(eta, 1)
}

/** With a share of the curvature: ½ is what other programs compute. */
export function thirdOrder(eta: number, curvature: number): Sampler {
  checkEta('dpmSolver3M', eta)
  return {
    name: 'dpmSolver3M',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const { x0 } = problem.denoise(state.x, from)
      const h = span(from, to)
      const all = (1 + eta) * h
      const [old, older] = [state.memory['x0'], state.memory['older']]
      const [r0, r1] = [1, 2].map((k) => (spanBefore(state, problem, k) ?? NaN) / h)
      const corrections: (readonly [number, Tensor])[] = []
      if (old !== undefined && r0 !== undefined && to.sigma > 0) {
        const second = phi2(all)
        if (older === undefined || r1 === undefined || r1 === Infinity) corrections.push([second / r0, x0], [-second / r0, old])
        else {
          // With slopes d₁ = (x₀ − x₀₋₁)/r₀ and d₂ = (x₀₋₁ − x₀₋₂)/r₁, x₀(τ) = x₀ + (d₁ + r₀·b)·τ + b·τ², b = (d₁ − d₂)/(r₀ + r₁), whose integral is φ₂·(d₁ + r₀·b) − 2·φ₃·b.
          const bend = (second * r0 - 2 * curvature * phi3(all)) / (r0 + r1)
          const [one, two] = [(second + bend) / r0, -bend / r1]
          corrections.push([one, x0], [two - one, old], [-two, older])
        }
      }
      const x = exponentialStep(state, problem, from, to, eta, x0, corrections)
      return { step: state.step + 1, x, memory: old === undefined ? { x0 } : { x0, older: old }, x0 }
    },
  }
}

/**
 * DPM-Solver++(2S), algorithm 1, with r = ½: the network is asked again in the middle of λ. With η > 0 the step goes to a level below the next
 * one, and up by fresh noise (k-diffusion's 2S ancestral).
 */
export function dpmSolver2S({ eta = 0, ...others }: EtaOptions = {}): Sampler {
  refuseOthers('dpmSolver2S', others)
  checkEta('dpmSolver2S', eta)
  return {
    name: 'dpmSolver2S',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const { down, up } = ancestral(from, to, eta)
      const { x0 } = problem.denoise(state.x, from)
      let later = x0
      if (down.sigma > 0 && from.alpha > 0) {
        const middle = intermediate(problem, Math.sqrt((from.sigma / from.alpha) * (down.sigma / down.alpha)))
        later = problem.denoise(exponentialStep(state, problem, from, middle, 0, x0, []), middle).x0
      }
      const x = exponentialStep(state, problem, from, down, 0, later, [])
      return { step: state.step + 1, x: up > 0 ? combine([1, x], [up, problem.noise(state.step)]) : x, x0 }
    },
  }
}

/** What a third-order step in what is said of x₀ makes, and a second-order one of the same questions (Lu et al., arXiv:2211.01095, appendix; r₁ = ⅓, r₂ = ⅔). */
export function thirds(problem: Problem, x: Tensor, x0: Tensor, from: HostLevel, to: HostLevel): { readonly third: Tensor; readonly second: Tensor } {
  const h = span(from, to)
  const carried = (level: HostLevel, ...terms: readonly (readonly [number, Tensor])[]): Tensor => combine([level.sigma / from.sigma, x], ...terms.map(([factor, d]) => [level.alpha * factor, d] as const))
  const within = (share: number): HostLevel => intermediate(problem, (from.sigma / from.alpha) * Math.exp(-share * h))
  const [first, middle] = [within(1 / 3), within(2 / 3)]
  const one = problem.denoise(carried(first, [-Math.expm1(-h / 3), x0]), first).x0
  const part = (2 * h) / 3
  const bend = 2 * phi2(part) // r₂/r₁ of the slope
  const two = problem.denoise(carried(middle, [-Math.expm1(-part) - bend, x0], [bend, one]), middle).x0
  const [all, slope, half] = [-Math.expm1(-h), (3 / 2) * phi2(h), (-3 / 2) * Math.expm1(-h)]
  return { third: carried(to, [all - slope, x0], [slope, two]), second: carried(to, [all - half, x0], [half, one]) }
}

/** DPM-Solver++(3S): three questions a step, at thirds of λ. With η > 0 the step goes to a level below the next one, and up by fresh noise. */
export function dpmSolver3S({ eta = 0, ...others }: EtaOptions = {}): Sampler {
  refuseOthers('dpmSolver3S', others)
  checkEta('dpmSolver3S', eta)
  return {
    name: 'dpmSolver3S',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const { x0 } = problem.denoise(state.x, from)
      const { down, up } = ancestral(from, to, eta)
      const x = down.sigma > 0 && from.alpha > 0 ? thirds(problem, state.x, x0, from, down).third : exponentialStep(state, problem, from, down, 0, x0, [])
      return { step: state.step + 1, x: up > 0 ? combine([1, x], [up, problem.noise(state.step)]) : x, x0 }
    },
  }
}

/**
 * DPM-Solver++ (SDE), as k-diffusion has it: 2S with noise in the middle, too. The noise of the whole step holds that of its first half, as the
 * increments of one Brownian motion in σ/α do.
 */
export function dpmSolverSde({ eta = 1, ...others }: EtaOptions = {}): Sampler {
  refuseOthers('dpmSolverSde', others)
  checkEta('dpmSolverSde', eta)
  return {
    name: 'dpmSolverSde',
    step(state, problem): SamplerStep {
      const [from, to] = between(this, state, problem)
      const { x0 } = problem.denoise(state.x, from)
      const { down, up } = ancestral(from, to, eta)
      if (to.sigma === 0 || from.alpha === 0) {
        const x = exponentialStep(state, problem, from, down, 0, x0, [])
        return { step: state.step + 1, x: up > 0 ? combine([1, x], [up, problem.noise(state.step)]) : x, x0 }
      }
      const [s, end] = [from.sigma / from.alpha, to.sigma / to.alpha]
      const middle = intermediate(problem, Math.sqrt(s * end))
      const part = ancestral(from, middle, eta)
      const first = problem.noise(state.step)
      const half = exponentialStep(state, problem, from, part.down, 0, x0, [])
      const later = problem.denoise(part.up > 0 ? combine([1, half], [part.up, first]) : half, middle).x0
      const x = exponentialStep(state, problem, from, down, 0, later, [])
      if (up === 0) return { step: state.step + 1, x, x0 }
      const share = (s - Math.sqrt(s * end)) / (s - end) // of the way in σ/α, and so of the variance
      return { step: state.step + 1, x: combine([1, x], [up * Math.sqrt(share), first], [up * Math.sqrt(1 - share), problem.noise(state.step, 1)]), x0 }
    },
  }
}
