/** What an entry of a device's kernel table says. */
import type { Epilogue, Strided } from '../../../kernels/ir/descriptor.ts'
import type { FloatType } from '../../../kernels/ir/expression.ts'
import type { Step } from '../../compile/lower.ts'
import type { Halves, Layouts } from '../../compile/kernelOperands.ts'
import type { View } from '../../compile/view.ts'
import type { Spec } from '../../graph.ts'
import type { PrimitiveName } from '../../ops/primitives.ts'

/** What the compiler folds away or generates, so that there is no kernel to write. */
type Generated = 'reshape' | 'permute' | 'expand' | 'slice' | 'pad' | 'concat' | 'barrier' | 'sum' | 'max' | 'min' | 'prod'
export type HandWritten = Exclude<PrimitiveName, Generated>

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

export interface KernelRule<Kernel> {
  /** Whether the kernel takes these operands, which are f32; if not, the decomposition runs. Default: where none is empty, of which kernels need not know. */
  accepts?(inputs: readonly Spec[], attributes: object): boolean
  /** `final`: the outputs end as results of the run. */
  layouts(step: Step, inputs: readonly View[], final: boolean): Layouts
  /** Which operands the kernel takes in f16 as well. Default: none. */
  halves?(step: Step): Halves
  kernel(operands: Operands): Kernel
  /** The input to lay out for the kernel, if that pays. */
  packing?(operands: Operands): Packing<Kernel> | undefined
  /** Operands in the order in which the kernel counts them, where that is not the op's inputs, then its outputs. */
  operands?<T>(inputs: readonly T[], outputs: readonly T[], step: Step): readonly T[]
}
