/** Logic on bools, bits of integers, and tests of floats. None has a gradient. */
import { isFloat } from '../dtype.ts'
import { DTypeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import { arithmetic, binaryRow, cast, equal, isTensor, literal, notEqual, sub, unaryRow, unify, widen } from './elementwise.ts'
import type { BinaryRow, Operand, UnaryRow } from './elementwise.ts'

/** On bools logical, on integers bit by bit. */
export const andOp: BinaryRow = binaryRow('and')
export const orOp: BinaryRow = binaryRow('or')
export const xorOp: BinaryRow = binaryRow('xor')
export const notOp: UnaryRow = unaryRow('not')
export const shlOp: BinaryRow = binaryRow('shl')
export const shrOp: BinaryRow = binaryRow('shr')

/** Of two bool tensors of any shapes that broadcast: the rows themselves, for use inside definitions. */
export const and = (x: Tensor, y: Tensor): Tensor => apply(andOp, unify('and', [x, y]))
export const or = (x: Tensor, y: Tensor): Tensor => apply(orOp, unify('or', [x, y]))
export const xor = (x: Tensor, y: Tensor): Tensor => apply(xorOp, unify('xor', [x, y]))

const bool = (x: TensorLike): Tensor => cast(x, 'bool')

/** Whether both hold; what is not bool holds where it is not 0. Shapes broadcast. */
export function logicalAnd(x: TensorLike, y: TensorLike): Tensor {
  return and(bool(x), bool(y))
}
/** Whether at least one holds. */
export function logicalOr(x: TensorLike, y: TensorLike): Tensor {
  return or(bool(x), bool(y))
}
/** Whether exactly one holds. */
export function logicalXor(x: TensorLike, y: TensorLike): Tensor {
  return xor(bool(x), bool(y))
}
/** Whether x does not hold. */
export function logicalNot(x: TensorLike): Tensor {
  return apply(notOp, [bool(x)])
}

function integers(op: string, x: Operand, y: Operand): void {
  for (const v of [x, y]) {
    if (isTensor(v) && (isFloat(v.dtype) || v.dtype === 'bool')) {
      throw new DTypeError(`${op}: an operand is ${v.dtype}, which has no bits to work on; ${v.dtype === 'bool' ? `use ${op.replace('bitwise', 'logical')}, or cast it to i32` : 'cast it to i32 or u32'}`)
    }
  }
}

function bits(name: string, op: BinaryRow, x: Operand, y: Operand): Tensor {
  integers(name, x, y)
  return arithmetic(op, x, y)
}

/** The bits set in both integers; u8 counts as i32, here and below. */
export function bitwiseAnd(x: Operand, y: Operand): Tensor {
  return bits('bitwiseAnd', andOp, x, y)
}
/** The bits set in either integer. */
export function bitwiseOr(x: Operand, y: Operand): Tensor {
  return bits('bitwiseOr', orOp, x, y)
}
/** The bits set in exactly one of two integers. */
export function bitwiseXor(x: Operand, y: Operand): Tensor {
  return bits('bitwiseXor', xorOp, x, y)
}
/** The bits not set in an integer. */
export function bitwiseNot(x: TensorLike): Tensor {
  integers('bitwiseNot', x, x)
  return apply(notOp, [widen(x)])
}
/** x · 2ⁿ, dropping what overflows; n from 0 to 31. */
export function shiftLeft(x: Operand, n: Operand): Tensor {
  return bits('shiftLeft', shlOp, x, n)
}
/** ⌊x / 2ⁿ⌋; n from 0 to 31. The sign of an i32 is kept. */
export function shiftRight(x: Operand, n: Operand): Tensor {
  return bits('shiftRight', shrOp, x, n)
}

/** Where x is NaN, as bool. */
export function isNaN(x: TensorLike): Tensor {
  return notEqual(x, x)
}
/** Where x is neither infinite nor NaN, as bool. */
export function isFinite(x: TensorLike): Tensor {
  const wide = widen(x)
  return equal(sub(wide, wide), literal(0)) // ∞ − ∞ is NaN.
}
