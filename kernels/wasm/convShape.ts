/** Convolutions as plain data, and the taps of their kernels as the generated code reads them. */
import type { ConvDescriptor, Strided } from '../descriptor.ts'

export const product = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * size, 1)

/** Every position of a box, row by row. */
export function boxPositions(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>((outer, size) => outer.flatMap((p) => Array.from({ length: size }, (_, i) => [...p, i])), [[]])
}

export const dot = (x: readonly number[], y: readonly number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? 0), 0)

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

export const convFlops = (d: ConvDescriptor): number => 2 * d.batch * product(d.output) * d.outChannels * (d.inChannels / d.groups) * product(d.kernel)

/** Bytes of all operands, each once. */
export function convBytes(d: ConvDescriptor): number {
  const x = d.batch * d.inChannels * product(d.input)
  const y = d.batch * d.outChannels * product(d.output)
  const w = d.outChannels * (d.inChannels / d.groups) * product(d.kernel)
  return 4 * (x + y + w)
}

export const inBytes = (operand: Strided): { readonly offset: number; readonly strides: readonly number[] } => ({ offset: 4 * operand.offset, strides: operand.strides.map((s) => 4 * s) })
