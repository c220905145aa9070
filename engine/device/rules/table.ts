/**
 * A device's table of kernels: a generator for every descriptor that the compiler and the rules make. One that is missing, or
 * that takes another descriptor, does not compile.
 */
import type { Epilogue, FusedDescriptors, MapDescriptor, PrimitiveDescriptors, ProductDescriptors, ReduceDescriptor } from '../../../kernels/ir/descriptor.ts'
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
import { fusedRules } from './fused.ts'
import { primitiveRules, productRules } from './primitive.ts'
import type { Abilities, KernelRule, Operands, Packing, Rules } from './rule.ts'

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

/** What makes kernels of descriptors, by op. `Rest`: what it is told besides. */
type Generators<Descriptors, Rest extends readonly unknown[], Target, Kernel, Missing = never> = { readonly [Op in keyof Descriptors]: ((d: Descriptors[Op], target: Target, ...rest: Rest) => Kernel) | Missing }
type OfProducts = [epilogue: Epilogue | undefined, factors: FloatType, output: FloatType]
type OfOthers = [type: FloatType]

/** All kernels of a device. Operands are counted inputs first, then outputs. Where a fused op's is undefined, its decomposition runs. */
export interface DeviceKernels<Kernel, Target> extends Abilities, Generators<ProductDescriptors, OfProducts, Target, Kernel>,
  Generators<PrimitiveDescriptors, OfOthers, Target, Kernel>, Generators<FusedDescriptors, OfOthers, Target, Kernel, undefined> {
  /** `buffers` names for each operand the first that lies in the same buffer. */
  readonly map: (d: MapDescriptor, target: Target, buffers: readonly number[]) => Kernel
  readonly reduce: (d: ReduceDescriptor, target: Target, buffers: readonly number[]) => Kernel
  /** The ops over lists of tensors, which each device goes through in its own way. */
  readonly adamw: KernelRule<Kernel, Target>
  readonly squaredNorm: KernelRule<Kernel, Target>
  /** What lays an operand of a product out by a launch of its own, where that pays. */
  readonly packers?: Partial<Generators<ProductDescriptors, [], Target, Packing<Kernel> | undefined>>
}

type KernelRules<Kernel, Target> = Readonly<Record<string, KernelRule<Kernel, Target> | undefined>>

/** Rules with the generators of a device. */
function bind<Descriptors, Rest extends readonly unknown[], Target, Kernel>(rules: Rules<Descriptors>, generators: Partial<Generators<Descriptors, Rest, Target, Kernel, undefined>>, rest: (operands: Operands) => Rest): KernelRules<Kernel, Target> {
  const bound: Record<string, KernelRule<Kernel, Target>> = {}
  for (const op in rules) {
    const [rule, generate] = [rules[op], generators[op]]
    if (generate !== undefined) bound[op] = { ...rule, kernel: (operands, target) => generate(rule.describe(operands), target, ...rest(operands)) }
  }
  return bound
}

const ofProducts = ({ epilogue, type, outputType }: Operands): OfProducts => [epilogue, type, outputType]
const ofOthers = ({ type }: Operands): OfOthers => [type]

export class KernelTable<Kernel, Target> implements KernelOperands {
  private readonly device: string
  private readonly kernels: DeviceKernels<Kernel, Target>
  private readonly target: Target
  private readonly rules: KernelRules<Kernel, Target>
  private readonly packers: KernelRules<Packing<Kernel> | undefined, Target>
  private readonly f16: boolean

  /** `device`: its name in errors. `f16`: whether its kernels take that, where their rules say so. */
  constructor(device: string, target: Target, kernels: DeviceKernels<Kernel, Target>, f16 = false) {
    this.device = device
    this.kernels = kernels
    this.target = target
    this.f16 = f16
    const { adamw, squaredNorm } = kernels
    this.rules = { ...bind(productRules, kernels, ofProducts), ...bind(primitiveRules, kernels, ofOthers), ...bind(fusedRules, kernels, ofOthers), adamw, squaredNorm }
    this.packers = bind(productRules, kernels.packers ?? {}, (): [] => [])
  }

  accepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean {
    const rule = this.rules[op.name]
    return rule !== undefined && inputs.every((x) => x.dtype === 'f32') && (rule.accepts?.(inputs, attributes, this.kernels) ?? inputs.every((x) => sizeOf(x.shape) > 0))
  }

  readonly layouts: KernelOperands['layouts'] = (step, inputs, final) => this.ruleFor(step).layouts(step, inputs, final, this.kernels)

  readonly halves = (step: Step): Halves | undefined => (this.f16 ? this.rules[step.op.name]?.halves?.(step) : undefined)

  /**
   * The kernel of a launch, and the buffers it is called with. `same` names for each buffer of the plan the one whose memory it
   * shares; default: none shares. Throws DeviceError for sizes that kernels cannot count.
   */
  call(launch: Launch, same?: readonly number[]): Call<Kernel> {
    checkSize(this.device, launch)
    const { map, reduce } = this.kernels
    // Operands in one buffer have the place of the first of them.
    const places = (buffers: readonly number[]): number[] => buffers.map((b) => same?.[b] ?? b).map((b, _, all) => all.indexOf(b))
    switch (launch.kind) {
      case 'map': {
        const { descriptor, buffers } = describeMap(launch)
        return { kernel: map(descriptor, this.target, places(buffers)), buffers }
      }
      case 'reduce': {
        const { descriptor, reads } = describeReduction(launch)
        const buffers = [...reads, launch.output.buffer]
        return { kernel: reduce(descriptor, this.target, places(buffers)), buffers }
      }
      case 'op': {
        const rule = this.ruleFor(launch.step)
        const { operands, buffers } = operandsOf(launch, same)
        const inputs = [...launch.inputs.map((l) => l.buffer), ...buffers]
        const outputs = launch.outputs.map((l) => l.buffer)
        return { kernel: rule.kernel(operands, this.target), buffers: rule.operands?.(inputs, outputs, launch.step) ?? [...inputs, ...outputs] }
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
    return this.packers[launch.step.op.name]?.kernel(operandsOf(launch).operands, this.target)
  }

  private ruleFor({ op }: Step): KernelRule<Kernel, Target> {
    const rule = this.rules[op.name]
    if (rule === undefined) throw new RangeError(`${this.device}: no kernel for ${op.name}`)
    return rule
  }
}
