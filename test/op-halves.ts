/**
 * The op table's calls in f16. An op runs on f16 operands; a fused op that the device has a kernel for runs as the library's
 * functions run it, in f32 between casts, so that the kernel may take f16 memory.
 */
import type { Device } from '../engine/device/device.ts'
import { isFloat } from '../engine/dtype.ts'
import type { Tensor } from '../engine/graph.ts'
import type { AnyOp } from '../engine/op.ts'
import { cast } from '../engine/ops/elementwise.ts'
import { checkAgainstReference } from '../testing/index.ts'
import { isSample } from '../testing/samples.ts'
import { inputsOn, outputsOf, ruleGradients, termsOf } from './op-checks.ts'
import type { Call } from './op-calls.ts'

/** Floats as f16, in attributes as well. */
function halved({ operands, attributes }: Call): Call {
  return {
    operands: operands.map((x) => (isSample(x) && x.dtype === 'f32' ? { ...x, dtype: 'f16' } : x)),
    attributes: 'dtype' in attributes && attributes.dtype === 'f32' ? { ...attributes, dtype: 'f16' } : attributes,
  }
}

const half = (x: Tensor): Tensor => (isFloat(x.dtype) ? cast(x, 'f16') : x)
const single = (x: Tensor): Tensor => (isFloat(x.dtype) ? cast(x, 'f32') : x)

/** Whether the device's kernel of a fused op stands for the decomposition. */
function hasKernel(op: AnyOp, call: Call, device: Device): boolean {
  return op.kind === 'fused' && device.backend.accepts(op, inputsOn(device, call, 'f32'), call.attributes)
}

/** A device's values in f16 are those of the reference, which rounds after every op. */
export async function checkHalves(op: AnyOp, call: Call, device: Device): Promise<void> {
  const { operands, attributes } = halved(call)
  const within = hasKernel(op, call, device) ? single : half
  await checkAgainstReference((...inputs) => outputsOf(op, inputs.map(half).map(within), attributes).map(half), operands, { device, terms: termsOf(call) })
}

/** And so are its gradients. */
export async function checkHalfGradient(op: AnyOp, call: Call, device: Device): Promise<void> {
  const { operands, attributes } = halved(call)
  const within = hasKernel(op, call, device) ? single : half
  const gradients = (...inputs: Tensor[]): Tensor[] => ruleGradients(op, inputs.map(half).map(within), attributes, false).flatMap((g) => (g === undefined ? [] : half(g)))
  await checkAgainstReference(gradients, operands, { device, terms: 16 * termsOf(call), scale: 1 })
}
