/**
 * The CPU's table: for every primitive that is not movement or elementwise, and for the fused ops it has kernels for,
 * how operands must lie and which generator writes the code. A primitive that is missing here does not compile.
 */
import type { WasmTarget } from '../../../kernels/wasm/kernel.ts'
import type { LayoutRule } from '../../compile/schedule.ts'
import { readsOf, writesOf } from '../../compile/plan.ts'
import type { Launch } from '../../compile/plan.ts'
import type { Step } from '../../compile/lower.ts'
import { DeviceError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import type { Fused } from '../../op.ts'
import { formatShape, sizeOf } from '../../shape.ts'
import { epilogueOf, mapCall, reduceCall } from './generated.ts'
import type { Call } from './generated.ts'
import { fusedRules } from './fused.ts'
import { primitiveRules } from './primitive.ts'
import type { KernelRule } from './rule.ts'

function ruleOf(name: string): KernelRule | undefined {
  return (primitiveRules as Readonly<Record<string, KernelRule | undefined>>)[name] ?? fusedRules[name]
}

function ruleFor({ op }: Step): KernelRule {
  const rule = ruleOf(op.name)
  if (rule === undefined) throw new RangeError(`cpu: no kernel for ${op.name}`)
  return rule
}

export function kernelAccepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean {
  const rule = fusedRules[op.name]
  return rule !== undefined && inputs.every((x) => x.dtype === 'f32') && (rule.accepts?.(inputs, attributes) ?? true)
}

export const kernelLayouts: LayoutRule = (step, inputs) => ruleFor(step).layouts(step, inputs)

/** Kernels count elements in 32 bits with a sign. What is fused needs no memory, so no limit of memory says it first. */
const mostElements = 2 ** 31 - 1

function checkSize(launch: Launch): void {
  const shapes = [...readsOf(launch), ...writesOf(launch)].map(({ view }) => view.shape)
  const large = [...shapes, ...(launch.kind === 'reduce' ? [launch.reduction.shape] : [])].find((shape) => sizeOf(shape) > mostElements)
  if (large !== undefined) throw new DeviceError(`cpu: ${launch.label} takes ${sizeOf(large)} elements ${formatShape(large)} at once, but at most ${mostElements} can be; use a smaller batch, or split it`)
}

/** The kernel of a launch, and the buffers it is called with. Throws DeviceError for sizes that kernels cannot count. */
export function callsOf(launch: Launch, target: WasmTarget): Call {
  checkSize(launch)
  switch (launch.kind) {
    case 'map':
      return mapCall(launch)
    case 'reduce':
      return reduceCall(launch)
    case 'op': {
      const rule = ruleFor(launch.step)
      const { epilogue, buffers } = launch.epilogue === undefined ? { epilogue: undefined, buffers: [] } : epilogueOf(launch.epilogue)
      const inputs = [...launch.inputs.map((l) => l.buffer), ...buffers]
      const outputs = launch.outputs.map((l) => l.buffer)
      const kernel = rule.kernel({ inputs: launch.inputs.map((l) => l.view), outputs: launch.outputs.map((l) => l.view), step: launch.step, epilogue }, target)
      return { kernel, buffers: rule.operands?.(inputs, outputs, launch.step) ?? [...inputs, ...outputs] }
    }
    default:
      return launch satisfies never
  }
}
