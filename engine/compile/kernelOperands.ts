/** What a device's hand-written kernels want of their operands: how they lie in memory, and in which type. */
import type { Step } from './lower.ts'
import type { View } from './view.ts'

export interface Layouts {
  /** Per input: the memory order it must have, packed from the start of its buffer; `any`: unmasked strides of any kind. */
  readonly inputs: readonly ((readonly number[]) | 'any')[]
  /** Per output: the memory order it will be written in; `any`: whichever its reader likes. */
  readonly outputs: readonly ((readonly number[]) | 'any')[]
  /** Whether the kernel can make an expression of its one output, a product in f32, as it stores it. Default: no. */
  readonly epilogue?: boolean
  /** Whether an output may be the very memory of an input: the kernel reads each element before it writes it. Default: no. */
  readonly inPlace?: (output: number, input: number) => boolean
}

/** The operands of a kernel, by number, that lie in f16 if all of them can: inputs that f16 holds, outputs of which no more is wanted. */
export interface Halves {
  readonly inputs: readonly number[]
  /** Of a kernel that takes an epilogue none: what the epilogue gives is stored in its own type. */
  readonly outputs: readonly number[]
}

export interface KernelOperands {
  /** Chooses the layouts of a kernel, seeing where its inputs lie, and whether its outputs end as results, which are row-major. */
  readonly layouts: (step: Step, inputs: readonly View[], final: boolean) => Layouts
  /** Undefined: all floats lie in f32, and those of other types are converted in a copy. */
  readonly halves: (step: Step) => Halves | undefined
}
