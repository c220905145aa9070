/** What the tests of emitters go through: values with cases of their own, and the operations that are exact or correctly rounded. */
import type { BinaryOp, ScalarType, UnaryOp } from '../../kernels/ir/expression.ts'

export const scalarTypes: readonly ScalarType[] = ['f32', 'i32', 'u32', 'bool']

export const edges: Readonly<Record<ScalarType, readonly number[]>> = {
  f32: [0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, 1e-40, 8388609, 2147483648, -2147483904, 4294967296, 1e30, Infinity, -Infinity, NaN],
  i32: [0, 1, -1, 2, -2, 7, -7, 31, 32, 33, 65536, 2147483647, -2147483648],
  u32: [0, 1, 2, 7, 31, 32, 33, 65536, 2147483647, 2147483648, 4294967295],
  bool: [0, 1],
}

const integers: readonly BinaryOp[] = ['add', 'sub', 'mul', 'idiv', 'rem', 'min', 'max', 'and', 'or', 'xor', 'shl', 'shr', 'eq', 'ne', 'lt', 'le']
export const exactBinaries: Readonly<Record<ScalarType, readonly BinaryOp[]>> = {
  f32: ['add', 'sub', 'mul', 'div', 'min', 'max', 'eq', 'ne', 'lt', 'le'], i32: integers, u32: integers, bool: ['and', 'or', 'xor', 'min', 'max', 'eq', 'ne', 'lt', 'le'],
}
export const exactUnaries: Readonly<Record<ScalarType, readonly UnaryOp[]>> = {
  f32: ['neg', 'abs', 'sign', 'sqrt', 'floor', 'ceil', 'round', 'trunc'], i32: ['neg', 'abs', 'sign', 'not'], u32: ['neg', 'abs', 'sign', 'not'], bool: ['not'],
}
