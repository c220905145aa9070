/** DPM-Solver with steps in λ = ln(α/σ) as long as their error allows (Lu et al., arXiv:2206.00927, appendix C; Jolicoeur-Martineau et al., arXiv:2105.14080). */
import { refuseOthers } from '../../engine/error.ts'
import { ConfigError, abs, div, maximum, mean, mul, realize, sqrt, square, sub } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { noiseRatio } from '../paths/path.ts'
import type { HostLevel } from '../paths/path.ts'
import { thirds } from './dpmSolver.ts'
import { integrator } from './integrators.ts'
import { checkTolerances } from './rungeKutta.ts'
import type { ErrorOptions } from './rungeKutta.ts'
import { intermediate } from './sampler.ts'
import type { Problem, Sampler } from './sampler.ts'

export interface AdaptiveOptions extends ErrorOptions {
  /** The first step in λ; default 0.05. */
  readonly first?: number
  /** What a step is shortened by besides what its error says; default 0.9. */
  readonly safety?: number
}

/** √ of the mean square of (third − second)/max(atol, rtol·max(|second|, |x|)): one number for the batch. */
const errorOf = (x: Tensor, third: Tensor, second: Tensor, { rtol, atol }: Required<ErrorOptions>): Tensor => sqrt(mean(square(div(sub(third, second), maximum(mul(maximum(abs(second), abs(x)), rtol), atol)))))

/**
 * DPM-Solver++ of third order with the second-order step of the same questions for an error estimate: three questions a step, which is tried again, shorter, where the error is above
 * the tolerance. Between two levels it takes as many steps as it needs: `levels(path, 1)` is enough. All images take the same steps, and so an image depends on its batch within
 * the tolerance, as with `dopri5`. Tolerances are for images, default 0.05 and 0.0078, the authors' (a grey value). Throws ConfigError at noise alone, where λ is infinite.
 */
export function dpmSolverAdaptive({ rtol = 0.05, atol = 0.0078, first = 0.05, safety = 0.9, ...others }: AdaptiveOptions = {}): Sampler {
  refuseOthers('dpmSolverAdaptive', others)
  const tolerances = checkTolerances('dpmSolverAdaptive', { rtol, atol })
  if (!(first > 0 && safety > 0 && safety < 1)) throw new ConfigError(`dpmSolverAdaptive: a first step of ${first} and a safety of ${safety}; use a positive one, and a safety below 1`)
  const sampler = integrator('dpmSolverAdaptive', async (problem, start, from, to, length = first) => {
    if (from.alpha === 0) throw new ConfigError('dpmSolverAdaptive: it cannot begin at noise alone, where ln(α/σ) is infinite; pass levels that begin later, such as levels(path, n).slice(1)')
    let [x, level, h] = [start, from, length]
    try {
      while (level !== to) {
        const rest = Math.log(noiseRatio(level) / noiseRatio(to))
        const length = h > rest - 1e-6 ? rest : h
        const next = length === rest ? to : intermediate(problem, noiseRatio(level) * Math.exp(-length))
        const tried = await attempt(problem, x, level, next, tolerances)
        const done = tried.error <= 1
        const old = done ? x : tried.x
        if (old !== start) old.dispose()
        if (!done && length < 1e-5) throw new ConfigError(`dpmSolverAdaptive: the error of steps as short as ${length} is above the tolerance, rtol ${rtol} and atol ${atol}; use a larger one`)
        if (done) [x, level] = [tried.x, next]
        if (!(done && next === to)) h = length * Math.min(5, Math.max(0.2, safety * tried.error ** (-1 / 3)))
      }
    } catch (error) {
      if (x !== start) x.dispose()
      throw error
    }
    return { x, h }
  })
  return { ...sampler, adaptive: true }
}

async function attempt(problem: Problem, x: Tensor, from: HostLevel, to: HostLevel, tolerances: Required<ErrorOptions>): Promise<{ readonly x: Tensor; readonly error: number }> {
  const { third, second } = thirds(problem, x, problem.denoise(x, from).x0, from, to)
  const error = errorOf(x, third, second, tolerances)
  await realize(third, error)
  const [size = NaN] = await error.data()
  error.dispose()
  if (!Number.isNaN(size)) return { x: third, error: size }
  third.dispose()
  throw new ConfigError(`dpmSolverAdaptive: NaN from σ/α = ${noiseRatio(from)} to ${noiseRatio(to)}; the network's output is not finite there`)
}
