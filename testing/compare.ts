/** A function's values on a device against the same function in float64 on the reference device. */
import { Device, withDefaultDevice } from '../engine/device/device.ts'
import { ReferenceBackend } from '../engine/device/reference/backend.ts'
import { DeviceError } from '../engine/error.ts'
import type { Tensor } from '../engine/graph.ts'
import { readData, realize } from '../engine/realize.ts'
import { formatShape } from '../engine/shape.ts'
import { sourceOf } from './samples.ts'
import type { Input } from './samples.ts'
import type { TensorFunction } from './gradients.ts'
import { tolerance } from './tolerance.ts'

export interface CompareOptions {
  readonly device: Device
  /** Summands of an output element, for the tolerance. Default: the elements of the largest input. */
  readonly terms?: number
  /** Rounding errors are relative to the largest expected value of each output, or to this if it is larger. Default 0. */
  readonly scale?: number
}

/**
 * Runs `fn` on `device` and on the reference device, both with the same float32 inputs, and compares shapes, types and
 * values. Throws DeviceError that names the first element that differs by more than the table of tolerances allows.
 */
export async function checkAgainstReference(fn: TensorFunction, inputs: readonly Input[], { device, ...options }: CompareOptions): Promise<void> {
  await using reference = new Device(new ReferenceBackend())
  const [got, expected] = [call(fn, inputs, device), call(fn, inputs, reference)]
  const problem = await difference(got, expected, { terms: largest(inputs, reference), ...options })
  if (problem !== undefined) throw new DeviceError(`checkAgainstReference: on ${device.name}, ${problem}`)
}

function call(fn: TensorFunction, inputs: readonly Input[], device: Device): readonly Tensor[] {
  return withDefaultDevice(device, () => {
    const result = fn(...inputs.map((input) => {
      const { leaf, view } = sourceOf(input, device, 'f32')
      return view(leaf)
    }))
    return 'node' in result ? [result] : result
  })
}

function largest(inputs: readonly Input[], device: Device): number {
  return Math.max(1, ...inputs.map((input) => sourceOf(input, device, 'f32').leaf.size))
}

/** The first difference between two lists of tensors, in words, or undefined. */
export async function difference(got: readonly Tensor[], expected: readonly Tensor[], { terms = 1, scale = 0 }: Omit<CompareOptions, 'device'> = {}): Promise<string | undefined> {
  await realize(...got)
  await realize(...expected)
  if (got.length !== expected.length) return `there are ${got.length} outputs, not ${expected.length}`
  for (const [i, y] of got.entries()) {
    const wanted = expected[i]
    if (wanted === undefined) continue
    const label = got.length === 1 ? 'the result' : `output ${i}`
    if (y.dtype !== wanted.dtype || formatShape(y.shape) !== formatShape(wanted.shape)) {
      return `${label} is ${y.dtype}${formatShape(y.shape)}, not ${wanted.dtype}${formatShape(wanted.shape)}`
    }
    const problem = valueDifference(await readData(y), await readData(wanted), tolerance(y.dtype, terms), scale)
    if (problem !== undefined) return `${label} ${y.dtype}${formatShape(y.shape)} ${problem}`
  }
  return undefined
}

function valueDifference(got: ArrayLike<number>, expected: ArrayLike<number>, relative: number, scale: number): string | undefined {
  if (got.length !== expected.length) return `has ${got.length} elements, not ${expected.length}`
  let top = 0
  for (let i = 0; i < expected.length; i++) if (Number.isFinite(expected[i])) top = Math.max(top, Math.abs(expected[i] ?? 0))
  const allowed = relative * Math.max(scale, top)
  let [wrong, worst] = [0, -1]
  const off = (i: number): number => errorOf(got[i] ?? 0, expected[i] ?? 0)
  for (let i = 0; i < got.length; i++) {
    if (off(i) <= allowed) continue
    wrong++
    if (worst < 0 || off(i) > off(worst)) worst = i
  }
  if (wrong === 0) return undefined
  return `differs in ${wrong} of ${got.length} elements, most at ${worst}: ${got[worst]}, not ${expected[worst]}; off by ${off(worst)} where ${allowed} is allowed`
}

/** Zero where both are the same infinity or both NaN; what exceeds float32 counts as infinite. */
function errorOf(got: number, expected: number): number {
  if (Number.isNaN(got) && Number.isNaN(expected)) return 0
  if (got === expected || Math.fround(expected) === got) return 0
  const error = Math.abs(got - expected)
  return Number.isNaN(error) ? Infinity : error
}
