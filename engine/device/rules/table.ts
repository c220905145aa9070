/**
 * A device's table of kernels: for every primitive that is not movement or elementwise, and for the fused ops it has kernels
 * for, how operands must lie and which generator writes the code. A primitive that is missing does not compile.
 */
import type { Halves, KernelOperands } from '../../compile/kernelOperands.ts'
import { labelText, readsOf, writesOf } from '../../compile/plan.ts'
import type { Launch, OpLaunch } from '../../compile/plan.ts'
import type { Step } from '../../compile/lower.ts'
import type { Load } from '../../compile/fragment.ts'
import { DeviceError } from '../../error.ts'
import type { FloatType } from '../../../kernels/ir/expression.ts'
import type { Spec } from '../../graph.ts'
import type { Fused } from '../../op.ts'
import { at, formatShape, sizeOf } from '../../shape.ts'
import { describeMap, describeReduction, epilogueOf } from './generated.ts'
import type { PrimitiveGenerators } from './generators.ts'
import { primitiveRules } from './primitive.ts'
import type { KernelRule, Operands, Packing } from './rule.ts'

/** A kernel and the plan's buffers it is called with: inputs, then outputs. */
export interface Call<Kernel> {
  readonly kernel: Kernel
  readonly buffers: readonly number[]
}

/** Kernels count elements in 32 bits with a sign. What is fused needs no memory, so no limit of memory says it first. */
const mostElements = 2 ** 31 - 1

function checkSize(device: string, launch: Launch): void {
  const shapes = [...readsOf(launch), ...writesOf(launch)].map(({ view }) => view.shape)
  const large = [...shapes, ...(launch.kind === 'reduce' ? [launch.reduction.shape] : [])].find((shape) => sizeOf(shape) > mostElements)
  if (large !== undefined) throw new DeviceError(`${device}: ${labelText(launch.label)} takes ${sizeOf(large)} elements ${formatShape(large)} at once, but at most ${mostElements} can be; use a smaller batch, or split it`)
}

const floatType = (loads: readonly Load[]): FloatType => (loads.some(({ dtype }) => dtype === 'f16') ? 'f16' : 'f32')

/** What the kernel of a launch is made for, and the buffers that its epilogue reads. */
function operandsOf({ step, inputs, outputs, epilogue, packed = false }: OpLaunch, same?: readonly number[]): { readonly operands: Operands; readonly buffers: readonly number[] } {
  const after = epilogue && epilogueOf(epilogue)
  const memory = ({ buffer }: Load): number => same?.[buffer] ?? buffer
  const shared = (output: number, input: number): boolean => memory(at(outputs, output)) === memory(at(inputs, input))
  return { operands: { inputs: inputs.map((l) => l.view), outputs: outputs.map((l) => l.view), type: floatType(inputs), outputType: floatType(outputs), step, epilogue: after, packed, shared }, buffers: after?.buffers ?? [] }
}

export class KernelTable<Kernel> implements KernelOperands {
  private readonly device: string
  private readonly generate: PrimitiveGenerators<Kernel>
  private readonly primitives: Readonly<Record<string, KernelRule<Kernel> | undefined>>
  private readonly fused: Readonly<Record<string, KernelRule<Kernel> | undefined>>
  private readonly f16: boolean

  /** `device`: its name in errors. `f16`: whether its kernels take that, where their rules say so. */
  constructor(device: string, generate: PrimitiveGenerators<Kernel>, fused: Readonly<Record<string, KernelRule<Kernel> | undefined>>, { f16 = false }: { readonly f16?: boolean } = {}) {
    this.device = device
    this.generate = generate
    this.primitives = primitiveRules(generate)
    this.fused = fused
    this.f16 = f16
  }

  accepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean {
    const rule = this.fused[op.name]
    return rule !== undefined && inputs.every((x) => x.dtype === 'f32') && (rule.accepts?.(inputs, attributes) ?? inputs.every((x) => sizeOf(x.shape) > 0))
  }

  readonly layouts: KernelOperands['layouts'] = (step, inputs, final) => this.ruleFor(step).layouts(step, inputs, final)

  readonly halves = (step: Step): Halves | undefined => (this.f16 ? (this.primitives[step.op.name] ?? this.fused[step.op.name])?.halves?.(step) : undefined)

  /**
   * The kernel of a launch, and the buffers it is called with. `same` names for each buffer of the plan the one whose memory it
   * shares; default: none shares. Throws DeviceError for sizes that kernels cannot count.
   */
  call(launch: Launch, same?: readonly number[]): Call<Kernel> {
    checkSize(this.device, launch)
    switch (launch.kind) {
      case 'map': {
        const { descriptor, buffers } = describeMap(launch)
        return { kernel: this.generate.map(descriptor, buffers.map((b) => same?.[b] ?? b)), buffers }
      }
      case 'reduce': {
        const { descriptor, reads } = describeReduction(launch)
        const buffers = [...reads, launch.output.buffer]
        return { kernel: this.generate.reduce(descriptor, buffers.map((b) => same?.[b] ?? b)), buffers }
      }
      case 'op': {
        const rule = this.ruleFor(launch.step)
        const { operands, buffers } = operandsOf(launch, same)
        const inputs = [...launch.inputs.map((l) => l.buffer), ...buffers]
        const outputs = launch.outputs.map((l) => l.buffer)
        return { kernel: rule.kernel(operands), buffers: rule.operands?.(inputs, outputs, launch.step) ?? [...inputs, ...outputs] }
      }
      case 'pack': {
        const packing = this.packing(launch.reader)
        if (packing === undefined) throw new RangeError(`${labelText(launch.label)}: the kernel takes its operands as they lie`)
        return { kernel: packing.kernel, buffers: [launch.input.buffer, launch.output.buffer] }
      }
      default:
        return launch satisfies never
    }
  }

  /** The input that a launch of its own is to lay out for the launch's kernel, if there is one. */
  packing(launch: OpLaunch): Packing<Kernel> | undefined {
    return this.ruleFor(launch.step).packing?.(operandsOf(launch).operands)
  }

  private ruleFor({ op }: Step): KernelRule<Kernel> {
    const rule = this.primitives[op.name] ?? this.fused[op.name]
    if (rule === undefined) throw new RangeError(`${this.device}: no kernel for ${op.name}`)
    return rule
  }
}
