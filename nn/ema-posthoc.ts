/**
 * Power-function averages of any width from stored ones (Karras et al., "Analyzing and Improving the Training Dynamics of
 * Diffusion Models", arXiv:2312.02696, section 3 and appendix C). All on the host, in float64.
 */
import { ConfigError } from '../engine/index.ts'
import { hostArray } from '../engine/dtype.ts'
import { at, formatShape, sameShape, sizeOf } from '../engine/shape.ts'
import type { HostTensor } from './checkpoint/format.ts'

/** The exponent γ of a profile of relative width σ: the largest root of σ²(γ+2)²(γ+3) = γ+1 (eqs. 123 and 126). Throws ConfigError outside 0 < σ ≤ 1/√12. */
export function gammaOf(sigmaRel: number): number {
  if (!(sigmaRel > 0 && sigmaRel <= Math.sqrt(1 / 12))) throw new ConfigError(`powerFunctionDecay: sigmaRel is ${sigmaRel}; use a positive number of at most ${Math.sqrt(1 / 12).toFixed(4)}, such as 0.05`)
  const t = sigmaRel ** -2
  let gamma = 1 / sigmaRel // Beyond the root the cubic rises and is convex, so Newton's steps come down to it.
  for (let step = Infinity; step > 1e-15 * gamma;) {
    step = (((gamma + 7) * gamma + 16 - t) * gamma + 12 - t) / ((3 * gamma + 14) * gamma + 16 - t)
    gamma -= step
  }
  return gamma
}

/** The relative width of the profile with exponent γ (eq. 123). */
export function sigmaRelOf(gamma: number): number {
  return Math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))
}

/** An average's profile at some moment of its training. */
export interface PowerFunctionProfile {
  /** Updates that it has seen, or images: any measure of time, the same for all. */
  readonly step: number
  /** As given to `powerFunctionDecay`. */
  readonly sigmaRel: number
}

export interface EMASnapshot extends PowerFunctionProfile {
  /** The averages: `await readVariables(ema.average)`. */
  readonly values: ReadonlyMap<string, HostTensor>
}

/**
 * What each snapshot counts in the best approximation of another profile: least squares over the profiles (Algorithm 3).
 * The weights sum to 1. Throws ConfigError for snapshots that are alike, and for one of no step.
 */
export function posthocWeights(snapshots: readonly PowerFunctionProfile[], target: PowerFunctionProfile): number[] {
  for (const { step } of [...snapshots, target]) if (!(step > 0 && step < Infinity)) throw new ConfigError(`posthocWeights: there is a profile at step ${step}, where there is no average yet; use positive numbers of steps`)
  const weights = solve(snapshots.map((row) => [...snapshots, target].map((column) => innerProduct(row, column))))
  const sum = weights.reduce((a, b) => a + b, 0)
  return weights.map((w) => w / sum)
}

/** ∫ of the product of two profiles (eq. 151). */
function innerProduct(a: PowerFunctionProfile, b: PowerFunctionProfile): number {
  const [gammaA, gammaB] = [gammaOf(a.sigmaRel), gammaOf(b.sigmaRel)]
  const ratio = (a.step / b.step) ** (a.step < b.step ? gammaB : -gammaA)
  return ((gammaA + 1) * (gammaB + 1) * ratio) / ((gammaA + gammaB + 1) * Math.max(a.step, b.step))
}

/** The average of another profile, from snapshots of one or several (eq. 149), name by name. Throws ConfigError for snapshots that do not fit each other. */
export function posthocEMA(snapshots: readonly EMASnapshot[], target: PowerFunctionProfile): Map<string, HostTensor> {
  const [first] = snapshots
  if (first === undefined) throw new ConfigError('posthocEMA: there are no snapshots; pass at least two')
  const weights = posthocWeights(snapshots, target)
  return new Map([...first.values].map(([name, { dtype, shape }]) => {
    const data = hostArray(dtype, sizeOf(shape))
    const sums = new Float64Array(data.length)
    snapshots.forEach(({ values }, i) => {
      const value = values.get(name)
      if (value === undefined || !sameShape(value.shape, shape)) throw new ConfigError(`posthocEMA: ${name} is ${formatShape(shape)} in snapshot 0 but ${value === undefined ? 'missing' : formatShape(value.shape)} in snapshot ${i}; pass snapshots of one model`)
      const weight = at(weights, i)
      value.data.forEach((x, j) => { sums[j] = (sums[j] ?? 0) + weight * x })
    })
    data.set(sums)
    return [name, { dtype, shape, data }]
  }))
}

/** Gaussian elimination with partial pivoting; each row ends with its right-hand side. */
function solve(rows: number[][]): number[] {
  const n = rows.length
  for (let i = 0; i < n; i++) {
    const below = rows.slice(i).map((row) => Math.abs(at(row, i)))
    const pivot = i + below.indexOf(Math.max(...below))
    ;[rows[i], rows[pivot]] = [at(rows, pivot), at(rows, i)]
    const top = at(rows, i)
    if (!(Math.abs(at(top, i)) > 1e-14 * Math.abs(at(at(rows, 0), 0)))) throw new ConfigError('posthocWeights: two snapshots have the same step and sigmaRel; pass each once')
    for (const row of rows.slice(i + 1)) {
      const factor = at(row, i) / at(top, i)
      top.forEach((x, j) => { row[j] = at(row, j) - factor * x })
    }
  }
  const solution: number[] = []
  for (let i = n - 1; i >= 0; i--) {
    const row = at(rows, i)
    const known = solution.reduce((sum, x, j) => sum + x * at(row, i + 1 + j), 0)
    solution.unshift((at(row, n) - known) / at(row, i))
  }
  return solution
}
