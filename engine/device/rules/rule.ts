/** What a rule says of an op: how calls become descriptors of kernels, which is the same on every device. */
import type { ConvDescriptor, Epilogue, Strided } from '../../../kernels/ir/descriptor.ts'
import type { FloatType } from '../../../kernels/ir/expression.ts'
import type { Step } from '../../compile/lower.ts'
import type { Halves, Layouts } from '../../compile/kernelOperands.ts'
import type { View } from '../../compile/view.ts'
import type { Spec } from '../../graph.ts'

/** The views of a kernel's operands, and its op's attributes. */
export interface Operands {
  readonly inputs: readonly View[]
  readonly outputs: readonly View[]
  /** In which type those lie that the rule's `halves` name; of a kernel with an epilogue the output's may differ. */
  readonly type: FloatType
  readonly outputType: FloatType
  readonly step: Step
  /** Given only where the layouts say that the kernel takes one. */
  readonly epilogue: Epilogue | undefined
  /** An input lies as `packing` says. */
  readonly packed: boolean
  /** Whether an output lies in the very memory of an input. */
  readonly shared: (output: number, input: number) => boolean
}

/** An input that is laid out by a launch of its own. */
export interface Packing<Kernel> {
  /** Which it is. */
  readonly input: number
  /** What takes its place, and how many elements that has. */
  readonly panels: Strided
  readonly elements: number
  /** Operands: the input, the panels. */
  readonly kernel: Kernel
}

/** What rules ask of a device's kernels. */
export interface Abilities {
  /** The widest rows that the kernels of attention sum up: of values, and for the gradient of queries, too. Default: any. */
  readonly widestHead?: number
  /** Whether kernels of a convolution, and of its gradients, like these row-major images better than copies with channels last. Default: no. */
  readonly convTakesPlanes?: (d: ConvDescriptor) => boolean
}

interface OperandRule {
  /** Whether the kernel takes these operands, which are f32; if not, the decomposition runs. Default: where none is empty, of which kernels need not know. */
  accepts?(inputs: readonly Spec[], attributes: object, device: Abilities): boolean
  /** `final`: the outputs end as results of the run. */
  layouts(step: Step, inputs: readonly View[], final: boolean, device: Abilities): Layouts
  /** Which operands the kernel takes in f16 as well. Default: none. */
  halves?(step: Step): Halves
  /** Operands in the order in which the kernel counts them, where that is not the op's inputs, then its outputs. */
  operands?<T>(inputs: readonly T[], outputs: readonly T[], step: Step): readonly T[]
}

export interface Rule<Descriptor> extends OperandRule {
  describe(operands: Operands): Descriptor
}

/** A rule for each op of a list of descriptors. */
export type Rules<Descriptors> = { readonly [Op in keyof Descriptors]: Rule<Descriptors[Op]> }

/** A rule and a device's kernel. */
export interface KernelRule<Kernel, Target> extends OperandRule {
  kernel(operands: Operands, target: Target): Kernel
}
