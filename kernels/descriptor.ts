/**
 * What the generated kernels compute, as plain data: a domain of positions, operands addressed by
 * strides over that domain, and expressions. The compiler writes these, the generators read them.
 */
import type { Expression, StorageType } from './expression.ts'

/** A strided, possibly masked window on a buffer, addressed over a kernel's domain. */
export interface Operand {
  readonly dtype: StorageType
  /** In elements, one per domain axis: may be 0 (broadcast) or negative (flip). */
  readonly strides: readonly number[]
  /** In elements, from the start of the buffer to the position (0, …, 0) of the domain. */
  readonly offset: number
  /** Positions outside lo ≤ p < hi on any axis read as zero (padding). One pair per axis; absent: no mask. Inputs only. */
  readonly mask?: readonly (readonly [lo: number, hi: number])[]
}

export interface Output {
  readonly operand: Operand
  readonly value: Expression
}

/** out[p] = value(inputs at p) for every position p of the domain `shape`. */
export interface MapDescriptor {
  readonly shape: readonly number[]
  readonly inputs: readonly Operand[]
  readonly outputs: readonly Output[]
}

export type ReduceOp = 'sum' | 'max' | 'min' | 'prod'

/**
 * For every position of `shape`: fold `element` over all positions of `reduced`, then write the
 * outputs, whose values may use `accumulator` and load operands (at reduced position 0).
 * Operand strides and `index` axes run over [...shape, ...reduced]; output strides over `shape`.
 * The order of additions depends on the shapes alone. An empty fold gives the identity.
 */
export interface ReduceDescriptor {
  readonly shape: readonly number[]
  readonly reduced: readonly number[]
  readonly op: ReduceOp
  readonly inputs: readonly Operand[]
  readonly element: Expression
  readonly outputs: readonly Output[]
  /** Cuts the fold into parts: each is written by itself, `stride` elements of an output after the one before. */
  readonly parts?: { readonly count: number; readonly stride: number }
}

/**
 * What becomes of every element of a product as it is stored: `value`, an f32, reads the element as its `accumulator`
 * and the inputs at the element's position. Strides are those of the output's axes; masks are not looked at.
 */
export interface Epilogue {
  readonly inputs: readonly Operand[]
  readonly value: Expression
}

/** Strides in elements of the dimensions a kernel names, and the offset of the first element. */
export interface Strided {
  readonly strides: readonly number[]
  readonly offset: number
}
