/**
 * Pseudo linear multistep methods (Liu et al., arXiv:2202.09778): Adams and Bashforth's combination of the last four ε in DDIM's step, and two ways to begin with
 * what a linear method of that order needs. `ipndm` begins with fewer of them.
 */
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'
import type { HostLevel } from '../paths/path.ts'
import type { Prediction } from '../prediction.ts'
import { adamsBashforth, history, remembered } from './multistep.ts'
import { between, transfer } from './sampler.ts'
import type { Problem, Sampler, SamplerState, SamplerStep } from './sampler.ts'

/** What is combined over the steps, and the step from x along such. */
export interface Direction {
  readonly of: (said: Prediction, level: HostLevel) => Tensor
  readonly along: (x: Tensor, direction: Tensor, from: HostLevel, to: HostLevel) => Tensor
}

/** ε, in DDIM's step: eq. 11 of the paper. */
export const alongNoise: Direction = {
  of: ({ eps }) => eps,
  along(x, eps, from, to) {
    const keep = to.alpha / from.alpha
    return combine([keep, x], [to.sigma - keep * from.sigma, eps])
  },
}

/** A step to a clean image or from noise alone is DDIM's, and is not remembered. */
const plain = (state: SamplerState, said: Prediction, from: HostLevel, to: HostLevel): SamplerStep | undefined => (from.alpha === 0 ? { step: state.step + 1, x: transfer(said, to), x0: said.x0 } : undefined)

/** The linear multistep step of the order that is known. */
function multistep({ of, along }: Direction, state: SamplerState, said: Prediction, from: HostLevel, to: HostLevel): SamplerStep {
  const past = history(of(said, from), state, 4)
  const mean = combine(...at(adamsBashforth, past.length - 1).map((b, k) => [b, at(past, k)] as const))
  return { step: state.step + 1, x: along(state.x, mean, from, to), memory: remembered(past, 4), x0: said.x0 }
}

/**
 * PNDM as Stable Diffusion was published with (its name there is PLMS): the first step asks again at its end and goes along the mean of both ε; then two, three and
 * four of them are combined.
 */
export const plms = (): Sampler => plmsAlong(alongNoise)

/** The same along another direction than ε. */
export const plmsAlong = (direction: Direction): Sampler => ({
  name: 'plms',
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const said = problem.denoise(state.x, from)
    const { of, along } = direction
    if (Object.keys(state.memory).length > 0 || from.alpha === 0 || to.sigma === 0) return plain(state, said, from, to) ?? multistep(direction, state, said, from, to)
    const first = of(said, from)
    const again = of(problem.denoise(along(state.x, first, from, to), to), to)
    return { step: state.step + 1, x: along(state.x, combine([0.5, first], [0.5, again]), from, to), memory: { eps1: first }, x0: said.x0 }
  },
})

/** F-PNDM (algorithm 2): the first three steps are pseudo Runge–Kutta's, which ask four times, in the middle of the step's time and at its end (eq. 13). */
export const pndm = (): Sampler => pndmAlong(alongNoise)

/** The same along another direction than ε. */
export const pndmAlong = (direction: Direction): Sampler => ({
  name: 'pndm',
  least: 4,
  step(state, problem): SamplerStep {
    const [from, to] = between(this, state, problem)
    const said = problem.denoise(state.x, from)
    const known = history(direction.of(said, from), state, 4).length
    if (known === 4 || from.alpha === 0 || to.sigma === 0) return plain(state, said, from, to) ?? multistep(direction, state, said, from, to)
    return { step: state.step + 1, x: rungeKuttaStep(direction, problem, state.x, said, from, to), memory: remembered(history(direction.of(said, from), state, 4), 4), x0: said.x0 }
  },
})

function rungeKuttaStep({ of, along }: Direction, problem: Problem, x: Tensor, said: Prediction, from: HostLevel, to: HostLevel): Tensor {
  const middle = problem.path.at((from.t + to.t) / 2)
  const one = of(said, from)
  const two = of(problem.denoise(along(x, one, from, middle), middle), middle)
  const three = of(problem.denoise(along(x, two, from, middle), middle), middle)
  const four = of(problem.denoise(along(x, three, from, to), to), to)
  return along(x, combine([1 / 6, one], [1 / 3, two], [1 / 3, three], [1 / 6, four]), from, to)
}
