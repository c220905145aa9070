/**
 * Integrators of the probability-flow ODE in the path's own time, dx/dt = α'(t)·x₀ + σ'(t)·ε (Song et al., arXiv:2011.13456, eq. 13; on a flow, dx/dt = u): the
 * methods of any textbook. A clean image is reached from the least level of the path's span by a step of DDIM's, which costs one more question.
 */
import { refuseOthers } from '../../engine/error.ts'
import type { Tensor } from '../../engine/index.ts'
import { combine } from '../arithmetic.ts'
import { levelOf } from '../paths/path.ts'
import type { HostLevel, NoisePath } from '../paths/path.ts'
import type { Prediction } from '../prediction.ts'
import { checkTolerances, integrate, step as rungeKutta } from './rungeKutta.ts'
import type { ErrorOptions, Tableau } from './rungeKutta.ts'
import { between, transfer } from './sampler.ts'
import type { Problem, Sampler } from './sampler.ts'

/** dx/dt at time t, of what is said there. */
export function velocity(path: NoisePath, { x0, eps }: Pick<Prediction, 'x0' | 'eps'>, t: number): Tensor {
  const { alpha, sigma } = path.slope(t)
  return combine([alpha, x0], [sigma, eps])
}

/** The least level to integrate to, where the clean image is asked for: that of the span, or σ/α = 1e-3 where the span ends in the image itself. */
export function leastLevel(path: NoisePath): HostLevel {
  const least = path.at(path.span[0])
  return least.sigma > 0 ? least : levelOf(path, 1e-3)
}

/** What a method makes of x: the images at the end, what was seen behind them at the beginning, and the length of its next step. */
interface Gone {
  readonly x: Tensor
  readonly x0?: Tensor
  readonly h?: number
}

/** The sampler of a way to go from one time to another, at both of which there is noise. */
export function integrator(name: string, go: (problem: Problem, x: Tensor, from: HostLevel, to: HostLevel, h?: number) => Gone | Promise<Gone>): Sampler {
  return {
    name,
    async step(state, problem) {
      const [from, to] = between(this, state, problem)
      const least = to.sigma > 0 ? to : leastLevel(problem.path)
      const end = to.sigma > 0 || from.t > least.t ? least : from
      const { x, x0, h } = end === from ? { x: state.x } : await go(problem, state.x, from, end, state.numbers['h'])
      const next = { step: state.step + 1, numbers: h === undefined ? {} : { h } }
      if (to.sigma > 0) return { ...next, x, x0: x0 ?? problem.denoise(state.x, from).x0 }
      const said = problem.denoise(x, end)
      return { ...next, x: transfer(said, to), x0: x0 ?? said.x0 }
    },
  }
}

const fixed = (name: string, tableau: Tableau): Sampler => integrator(name, (problem, x, from, to) => {
  const said = problem.denoise(x, from)
  const [end] = rungeKutta((t, [y = x]) => [velocity(problem.path, problem.denoise(y, problem.path.at(t)), t)], tableau, from.t, [x], to.t - from.t, [velocity(problem.path, said, from.t)]).y
  return { x: end ?? x, x0: said.x0 }
})

/** Euler's method in time; on a flow it is `euler`. */
export const eulerInTime = (): Sampler => fixed('eulerInTime', { nodes: [0], stages: [[]], weights: [1] })

/** The midpoint method in time. */
export const midpoint = (): Sampler => fixed('midpoint', { nodes: [0, 1 / 2], stages: [[], [1 / 2]], weights: [0, 1] })

/** Heun's method in time. */
export const heunInTime = (): Sampler => fixed('heunInTime', { nodes: [0, 1], stages: [[], [1]], weights: [1 / 2, 1 / 2] })

/** The classical Runge–Kutta method of fourth order in time. */
export const rk4 = (): Sampler => fixed('rk4', { nodes: [0, 1 / 2, 1 / 2, 1], stages: [[], [1 / 2], [0, 1 / 2], [0, 0, 1]], weights: [1 / 6, 1 / 3, 1 / 3, 1 / 6] })

/**
 * Dormand and Prince's method in time, of fifth order, which chooses the length of its steps between two levels by the error: `levels(path, 1)` is enough. All
 * images take the same steps, and so an image depends on its batch within the tolerance: the one sampler of which that is so.
 */
export function dopri5(tolerances: ErrorOptions = {}): Sampler {
  const { rtol: _, atol: __, ...others } = tolerances
  refuseOthers('dopri5', others)
  const checked = checkTolerances('dopri5', tolerances)
  return { ...integrator('dopri5', async (problem, x, from, to, h) => {
    const { y: [end = x], h: next } = await integrate((t, [y = x]) => [velocity(problem.path, problem.denoise(y, problem.path.at(t)), t)], from.t, to.t, [x], checked, h)
    return { x: end, h: next }
  }), adaptive: true }
}
