/**
 * Gradients against directional finite differences, in float64 on the reference device: for y = f(x) and random w and v,
 * ⟨∇ₓ⟨w, y⟩, v⟩ must equal (⟨w, f(x + hv)⟩ − ⟨w, f(x − hv)⟩) / 2h, for each input on its own.
 */
import { tensor } from '../engine/create.ts'
import { Device, withDefaultDevice } from '../engine/device/device.ts'
import { ReferenceBackend } from '../engine/device/reference/backend.ts'
import { isFloat } from '../engine/dtype.ts'
import { GradientError } from '../engine/error.ts'
import { grad } from '../engine/grad.ts'
import type { Tensor } from '../engine/graph.ts'
import { add, mul } from '../engine/ops/elementwise.ts'
import { reshape, sumKeep } from '../engine/ops/movement.ts'
import { readData, readItem, realize } from '../engine/realize.ts'
import { formatShape } from '../engine/shape.ts'
import { sourceOf, uniform } from './samples.ts'
import type { Input } from './samples.ts'

export type TensorFunction = (...inputs: Tensor[]) => Tensor | readonly Tensor[]

export interface GradientOptions {
  /** 2 also checks the gradient of the gradient. Default 1. */
  readonly order?: 1 | 2
  /** h, the step of the differences. Default 1e-5. */
  readonly step?: number
  /** Relative to the larger of both numbers and of what rounding leaves of f. Default 1e-6. */
  readonly tolerance?: number
  /** Of the directions v and weights w. Default 1. */
  readonly seed?: number
}

export interface DirectionalDerivative {
  /** Position among the inputs. */
  readonly input: number
  readonly order: 1 | 2
  /** ⟨∇f, v⟩. */
  readonly analytic: number
  /** By central differences. */
  readonly numeric: number
}

/**
 * Checks the gradient of `fn` with respect to each float input at that point. `fn` gets f64 tensors on a reference device
 * of its own, which is also the default device while it runs; tensors it closes over must not live on another one.
 * Returns the derivatives it compared. Throws GradientError that names the input where they differ.
 */
export async function checkGradients(fn: TensorFunction, inputs: readonly Input[], options: GradientOptions = {}): Promise<DirectionalDerivative[]> {
  const { order = 1, seed = 1 } = options
  await using device = new Device(new ReferenceBackend())
  const first = await compare(fn, inputs, device, 1, options)
  if (order === 1) return first
  const slope: TensorFunction = (...xs) => gradients(weighted(fn(...xs), seed), xs)
  return [...first, ...(await compare(slope, inputs, device, 2, { ...options, seed: seed + 1000 }))]
}

/** The gradients with respect to the float inputs, zeros where an input does not matter. */
function gradients(loss: Tensor, xs: readonly Tensor[]): readonly Tensor[] {
  return grad(loss, xs.filter((x) => isFloat(x.dtype)), { unreached: 'zeros' })
}

/** Σ w·y over all float outputs, with random w. */
function weighted(outputs: Tensor | readonly Tensor[], seed: number): Tensor {
  const ys = ('node' in outputs ? [outputs] : outputs).filter((y) => isFloat(y.dtype))
  const sums = ys.map((y, i) => reshape(sumKeep(mul(y, noise(y, seed + i)), y.shape.map((_, axis) => axis)), []))
  if (sums.length === 0) throw new GradientError('checkGradients: the function returns no floats, so it has no gradient; return a float tensor')
  return sums.reduce((x, y) => add(x, y))
}

/** Random numbers from −1 to 1, away from 0, in the shape of `like`. */
function noise(like: Tensor, seed: number): Tensor {
  const values = Float64Array.from({ length: like.size }, (_, i) => (uniform(seed, 2 * i) < 0.5 ? -1 : 1) * (0.25 + 0.75 * uniform(seed, 2 * i + 1)))
  return tensor(values, like.shape, { dtype: 'f64', device: like.device })
}

async function compare(fn: TensorFunction, inputs: readonly Input[], device: Device, order: 1 | 2, { step = 1e-5, tolerance = 1e-6, seed = 1 }: GradientOptions): Promise<DirectionalDerivative[]> {
  const sources = inputs.map((input) => sourceOf(input, device, 'f64'))
  const leaves = sources.map(({ leaf }) => leaf)
  const loss = (at: readonly Tensor[]): Tensor => withDefaultDevice(device, () => weighted(fn(...sources.map((source, i) => source.view(at[i] ?? source.leaf))), seed))
  const floats = leaves.flatMap((leaf, i) => (isFloat(leaf.dtype) ? [i] : []))
  const value = loss(leaves)
  const slopes = gradients(value, leaves)
  await realize(value, ...slopes)
  const derivatives: DirectionalDerivative[] = []
  const failures: string[] = []
  for (const [k, input] of floats.entries()) {
    const [leaf, slope] = [leaves[input], slopes[k]]
    if (leaf === undefined || slope === undefined) continue
    const direction = await readData(noise(leaf, seed + 7919 * (input + 1)))
    const analytic = dot(await readData(slope), direction)
    const from = await readData(leaf)
    const moved = (by: number): Tensor => loss(leaves.map((t, i) => (i === input ? tensor(Float64Array.from(from, (x, j) => x + by * (direction[j] ?? 0)), t.shape, { dtype: t.dtype, device }) : t)))
    const [up, down] = [await readItem(moved(step)), await readItem(moved(-step))]
    const numeric = (up - down) / (2 * step)
    derivatives.push({ input, order, analytic, numeric })
    // Rounding leaves 2⁻⁵² of f, which the division by h magnifies.
    const noiseFloor = (2 ** -50 * (Math.abs(up) + Math.abs(down))) / step / tolerance
    const scale = Math.max(1, Math.abs(analytic), Math.abs(numeric), noiseFloor)
    if (!(Math.abs(analytic - numeric) <= tolerance * scale)) failures.push(describe(leaf, { input, order, analytic, numeric }, step))
  }
  if (failures.length > 0) throw new GradientError(`checkGradients: ${failures.join('; ')}. Either the gradient is wrong, or the function has a kink or a jump there; try another point`)
  return derivatives
}

function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += (x[i] ?? 0) * (y[i] ?? 0)
  return sum
}

function describe(leaf: Tensor, { input, order, analytic, numeric }: DirectionalDerivative, step: number): string {
  const which = order === 1 ? 'gradient' : 'gradient of the gradient'
  return `the ${which} with respect to input ${input} ${formatShape(leaf.shape)} gives ${analytic} along a random direction, but differences with a step of ${step} give ${numeric}`
}
