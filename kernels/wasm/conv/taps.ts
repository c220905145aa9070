/** The taps of convolutions' kernels as the generated code reads them. */
import type { Strided } from '../../ir/descriptor.ts'

/** One position of the kernel, relative to the source coordinate of an output position. */
export interface Tap {
  readonly coordinate: readonly number[]
  /** Bytes to add to the address of an output position's source, and to that of the first weight. */
  readonly sourceBytes: number
  readonly weightBytes: number
}

/** Fields of a tap's record, in bytes; then one coordinate a dimension. */
export const tapFields = { source: 0, weight: 4, coordinates: 8 } as const
export const tapBytes = (rank: number): number => tapFields.coordinates + 4 * rank

export const tapRecord = (tap: Tap): number[] => [tap.sourceBytes, tap.weightBytes, ...tap.coordinate]

export const inBytes = (operand: Strided): { readonly offset: number; readonly strides: readonly number[] } => ({ offset: 4 * operand.offset, strides: operand.strides.map((s) => 4 * s) })
