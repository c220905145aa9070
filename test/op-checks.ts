/** What has to hold for a call of any op: see `ops.test.ts` for the list. Each throws where it does not. */
import { expect } from 'vitest'
import { tensor } from '../engine/create.ts'
import { Device, getDefaultDevice, withDefaultDevice } from '../engine/device/device.ts'
import { ReferenceBackend } from '../engine/device/reference/backend.ts'
import { isFloat } from '../engine/dtype.ts'
import { aliasOp, pullback } from '../engine/grad.ts'
import type { Tensor } from '../engine/graph.ts'
import { apply, applyMany, applyOn } from '../engine/op.ts'
import type { AnyOp, Cotangents, Fused } from '../engine/op.ts'
import { mul } from '../engine/ops/elementwise.ts'
import { readData } from '../engine/realize.ts'
import { formatShape, sizeOf } from '../engine/shape.ts'
import { difference } from '../testing/compare.ts'
import { checkAgainstReference, checkGradients } from '../testing/index.ts'
import { isSample, sourceOf, uniform } from '../testing/samples.ts'
import type { Call } from './op-calls.ts'

export function outputsOf(op: AnyOp, inputs: readonly Tensor[], attributes: object): Tensor[] {
  return inputs.length === 0 ? [applyOn(getDefaultDevice(op.name), op, attributes)] : applyMany(op, inputs, attributes)
}

function decomposed(op: Fused, inputs: readonly Tensor[], attributes: object): readonly Tensor[] {
  const ends = op.decompose(inputs, attributes)
  return 'node' in ends ? [ends] : ends
}

export function inputsOn(device: Device, { operands }: Call, float: 'f32' | 'f64'): Tensor[] {
  return operands.map((input) => {
    const source = sourceOf(input, device, float)
    return source.view(source.leaf)
  })
}

/** Summands of an element: no op adds up more than the elements of all operands. */
export const termsOf = ({ operands }: Call): number => operands.reduce<number>((n, x) => n + (isSample(x) ? sizeOf(x.shape) : 16), 1)

/** Shapes and types are as the op's rule says, and as its decomposition's. */
export async function checkShapeRule(op: AnyOp, call: Call, device: Device): Promise<void> {
  const inputs = inputsOn(device, call, 'f32')
  const outputs = inputs.length === 0 ? [applyOn(device, op, call.attributes)] : applyMany(op, inputs, call.attributes)
  for (const y of outputs) {
    const values = await readData(y)
    expect(values.length, `${op.name} ${formatShape(y.shape)}`).toBe(sizeOf(y.shape))
    expect(values instanceof Float32Array || values instanceof Float64Array).toBe(isFloat(y.dtype))
  }
  if (op.kind !== 'fused') return
  const specs = (list: readonly Tensor[]): string[] => list.map((y) => `${y.dtype}${formatShape(y.shape)}`)
  expect(specs(decomposed(op, inputs, call.attributes))).toEqual(specs(outputs))
}

/** A device's values are those of the reference. */
export async function checkDevice(op: AnyOp, call: Call, device: Device): Promise<void> {
  await checkAgainstReference((...inputs) => outputsOf(op, inputs, call.attributes), call.operands, { device, terms: termsOf(call) })
}

/** A fused op's kernel computes what its decomposition does. */
export async function checkKernel(op: Fused, call: Call, device: Device): Promise<boolean> {
  const inputs = inputsOn(device, call, 'f32')
  if (!device.backend.accepts(op, inputs, call.attributes)) return false
  const problem = await difference(applyMany(op, inputs, call.attributes), decomposed(op, inputs, call.attributes), { terms: termsOf(call) })
  if (problem !== undefined) throw new Error(`${op.name}: the kernel against the decomposition: ${problem}`)
  return true
}

/** The gradient, and its own gradient, against finite differences. */
export async function checkDifferences(op: AnyOp, call: Call, order: 1 | 2): Promise<void> {
  await checkGradients((...inputs) => outputsOf(op, inputs, call.attributes), call.operands, { order })
}

/** Cotangents for the float outputs; for some calls only for the first. */
function cotangents(outputs: readonly Tensor[], firstOnly: boolean): Cotangents {
  return outputs.map((y, i) => {
    if (!isFloat(y.dtype) || (firstOnly && i > 0)) return undefined
    return tensor(Float64Array.from({ length: y.size }, (_, j) => uniform(i + 77, j) - 0.5), y.shape, { dtype: y.dtype, device: y.device })
  })
}

/** The cotangents of the inputs that the op's own rule gives; absent ones dropped. */
export function ruleGradients(op: AnyOp, inputs: readonly Tensor[], attributes: object, firstOnly: boolean): (Tensor | undefined)[] {
  const own = inputs.map((x) => apply(aliasOp, [x]))
  const outputs = outputsOf(op, own, attributes)
  return pullback(outputs, cotangents(outputs, firstOnly), own)
}

/** A fused op's gradient rule gives what differentiating its decomposition gives, in float64. */
export async function checkRule(op: Fused, call: Call): Promise<void> {
  await using device = new Device(new ReferenceBackend())
  const inputs = inputsOn(device, call, 'f64')
  for (const firstOnly of [false, true]) {
    const own = inputs.map((x) => apply(aliasOp, [x]))
    const ends = decomposed(op, own, call.attributes)
    const expected = pullback(ends, cotangents(ends, firstOnly), own)
    const got = ruleGradients(op, inputs, call.attributes, firstOnly)
    const both = got.flatMap((g, i) => {
      const wanted = expected[i]
      if (g === undefined || wanted === undefined) return []
      return [[g, wanted] as const]
    })
    // What is absent on one side is zero on the other.
    expect(got.map((g, i) => (g ?? expected[i]) !== undefined && isFloat(inputs[i]?.dtype ?? 'bool'))).toEqual(expected.map((g, i) => (g ?? got[i]) !== undefined))
    const problem = await difference(both.map(([g]) => g), both.map(([, e]) => e), { terms: 1e4, scale: 1 })
    if (problem !== undefined) throw new Error(`${op.name}: its gradient rule against its decomposition's: ${problem}`)
  }
}

/** The gradient on a device is that on the reference, whichever kernels both take. */
export async function checkDeviceGradient(op: AnyOp, call: Call, device: Device): Promise<void> {
  const gradients = (...inputs: Tensor[]): Tensor[] => ruleGradients(op, inputs, call.attributes, false).flatMap((g) => g ?? [])
  await checkAgainstReference(gradients, call.operands, { device, terms: 16 * termsOf(call), scale: 1 })
}

/** A call's values on a device, or its gradients, as bits; the sign and payload of NaN aside. */
export async function bitsOn(op: AnyOp, call: Call, device: Device, gradients: boolean): Promise<(readonly number[])[]> {
  const results = withDefaultDevice(device, () => {
    const inputs = inputsOn(device, call, 'f32')
    return gradients ? ruleGradients(op, inputs, call.attributes, false).flatMap((g) => g ?? []) : outputsOf(op, inputs, call.attributes)
  })
  const lists: (readonly number[])[] = []
  for (const y of results) {
    const values = await readData(y)
    lists.push(isFloat(y.dtype) ? [...new Int32Array(Float32Array.from(values, (v) => (Number.isNaN(v) ? NaN : v)).buffer)] : Array.from(values))
  }
  return lists
}

/** Five runs with other inputs and other numbers take one plan, and each gives its own values. */
export async function checkPlans(op: AnyOp, call: Call, device: Device): Promise<void> {
  const counts: number[] = []
  for (const [i, factor] of [0, 0, 0.1, -3, 1].entries()) {
    const operands = call.operands.map((x) => (isSample(x) ? { ...x, seed: x.seed + i } : x))
    const scaled = (...inputs: Tensor[]): Tensor[] => outputsOf(op, inputs, call.attributes).map((y) => (isFloat(y.dtype) ? mul(y, factor) : y))
    await checkAgainstReference(scaled, operands, { device, terms: termsOf(call) })
    counts.push(device.counters.plansCompiled)
  }
  expect(new Set(counts).size, `${op.name}: plans compiled after each run: ${counts.join()}`).toBe(1)
}
