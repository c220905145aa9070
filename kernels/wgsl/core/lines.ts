/** Lines of elements in a buffer, along which kernels sort, search and add. */
import type { Strided } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'

/** Strides and offset lead to the first elements. */
export interface Lines extends Strided {
  readonly buffer: number
  /** From element to element. */
  readonly step: number
}

/** Lines of `length` elements one behind the other, in the order of `shape`. */
export function packedLines(shape: readonly number[], length: number, buffer: number): Lines {
  return { buffer, strides: shape.map((_, axis) => length * product(shape.slice(axis + 1))), offset: 0, step: 1 }
}
