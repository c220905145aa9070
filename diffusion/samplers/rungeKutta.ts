/** Explicit Runge–Kutta methods for dy/dt = f(t, y), y a list of tensors: one step of a table, and Dormand and Prince's pair with steps as long as its error allows. */
import { ConfigError, abs, add, div, maximum, mul, realize, square, sqrt, sum } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { combine } from '../arithmetic.ts'

export type Field = (t: number, y: readonly Tensor[]) => readonly Tensor[]

/** Butcher's table: a step's stage i is f at t + nodes[i]·h, y + h·Σ stages[i][j]·kⱼ, and its end y + h·Σ weights[i]·kᵢ. */
export interface Tableau {
  readonly nodes: readonly number[]
  readonly stages: readonly (readonly number[])[]
  readonly weights: readonly number[]
}

/** y + h·Σ weights·k. */
const advanced = (y: readonly Tensor[], h: number, weights: readonly number[], k: readonly (readonly Tensor[])[]): Tensor[] => y.map((part, i) => combine([1, part], ...weights.map((w, j) => [h * w, at(at(k, j), i)] as const)))

/** One step of h. `first` is f(t, y), where it is known. */
export function step(field: Field, { nodes, stages, weights }: Tableau, t: number, y: readonly Tensor[], h: number, first?: readonly Tensor[]): { readonly y: Tensor[]; readonly k: (readonly Tensor[])[] } {
  const k: (readonly Tensor[])[] = []
  for (const [i, node] of nodes.entries()) k.push(i === 0 && first !== undefined ? first : field(t + node * h, i === 0 ? y : advanced(y, h, at(stages, i), k)))
  return { y: advanced(y, h, weights, k), k }
}

/** Dormand and Prince, "A family of embedded Runge-Kutta formulae" (1980): of fifth order; its last stage is the first of the next step. */
const dormandPrince = {
  nodes: [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1],
  stages: [[], [1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9], [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729], [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656], [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]],
  weights: [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0],
} as const
/** What the embedded method of fourth order differs by. */
const difference = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40] as const

export interface ErrorOptions {
  /** The error that a step may make, relative to x; default 1e-4 (for likelihoods 1e-5). */
  readonly rtol?: number
  /** The error that a step may make where x is 0; default as for `rtol`. */
  readonly atol?: number
}

export function checkTolerances(op: string, { rtol = 1e-4, atol = 1e-4 }: ErrorOptions): Required<ErrorOptions> {
  if (!(rtol >= 0 && atol >= 0 && rtol + atol > 0)) throw new ConfigError(`${op}: rtol ${rtol} and atol ${atol}; use tolerances of at least 0, and one above it`)
  return { rtol, atol }
}

/** The root of the mean square of error/(atol + rtol·max(|y|, |y'|)) over all elements: one number, so that a step is of one length for the batch. */
function errorNorm(y: readonly Tensor[], next: readonly Tensor[], error: readonly Tensor[], { rtol, atol }: Required<ErrorOptions>): Tensor {
  const squares = y.map((part, i) => sum(square(div(at(error, i), add(mul(maximum(abs(part), abs(at(next, i))), rtol), atol)))))
  return sqrt(div(squares.reduce((a, b) => add(a, b)), y.reduce((count, part) => count + part.size, 0)))
}

/**
 * y at `to` from y at `from`, by Dormand and Prince's method with error control, and the step that it would take next. The first step is `h`, by default a
 * twentieth of the way. Each step tried is one run of the device and one number read. Tensors given stay alive.
 * Throws ConfigError where the tolerance cannot be met.
 */
export async function integrate(field: Field, from: number, to: number, start: readonly Tensor[], tolerances: Required<ErrorOptions>, first: number = (to - from) / 20): Promise<{ readonly y: readonly Tensor[]; readonly h: number }> {
  let [t, y, h, slope] = [from, start, first, [] as readonly Tensor[]]
  const release = (tensors: readonly Tensor[]): void => {
    for (const old of tensors) if (!start.includes(old)) old.dispose()
  }
  try {
    while (t !== to) {
      const last = Math.abs(h) >= Math.abs(to - t)
      const length = last ? to - t : h
      if (!last && Math.abs(length) < 1e-7 * Math.abs(to - from)) throw new ConfigError(`the error of steps as short as ${length} at time ${t} is above the tolerance, rtol ${tolerances.rtol} and atol ${tolerances.atol}; use a larger one, which numbers of 32 bits can meet`)
      const next = step(field, dormandPrince, t, y, length, slope.length === 0 ? undefined : slope)
      const ends = at(next.k, 6)
      const error = errorNorm(y, next.y, y.map((_, i) => combine(...difference.map((w, j) => [length * w, at(at(next.k, j), i)] as const))), tolerances)
      await realize(...next.y, ...ends, error)
      const [size = NaN] = await error.data()
      error.dispose()
      const done = size <= 1
      release(done ? [...y, ...slope] : [...next.y, ...ends])
      if (Number.isNaN(size)) throw new ConfigError(`NaN after time ${t} of the way from ${from} to ${to}: the network's output, or a level there, is not finite`)
      if (done) [t, y, slope] = [last ? to : t + length, next.y, ends]
      if (!(last && done)) h = length * Math.min(5, Math.max(0.2, 0.9 * size ** -0.2)) // The last step says nothing of the next one: it was cut.
    }
  } catch (error) {
    release([...y, ...slope])
    throw error
  }
  release(slope)
  return { y, h }
}
