/** Pure kernel generators: sizes, dtypes and options in; code and launch geometry out. */
export { accumulator, binary, choose, constant, expressionKey, index, load, unary } from './expression.ts'
export type { BinaryOp, Expression, ExpressionOp, ScalarType, StorageType, UnaryOp } from './expression.ts'
export type { MapDescriptor, Operand, Output, ReduceDescriptor, ReduceOp, Strided } from './descriptor.ts'
