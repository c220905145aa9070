/**
 * The scalar-expression language in which every elementwise computation is written once.
 * An expression is a graph of immutable nodes; sharing a node means computing it once. Emitters turn
 * it into WebAssembly SIMD (`wasm/`) and JavaScript closures (`evaluate.ts`).
 */

/** The type of a value inside an expression. `f32` is computed as float64 by the reference device. */
export type ScalarType = 'f32' | 'i32' | 'u32' | 'bool'

/** How an element lies in memory. Loads widen to a scalar type, stores narrow from it. Not every device has f16. */
export type StorageType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u32' | 'u8' | 'bool'
/** In what memory the floats of a hand-written kernel lie; it computes in f32. */
export type FloatType = 'f32' | 'f16'

export type UnaryOp =
  | 'neg' | 'abs' | 'sign' | 'sqrt' | 'floor' | 'ceil' | 'round' | 'trunc'
  | 'exp' | 'log' | 'log2' | 'expm1' | 'log1p' | 'sin' | 'cos' | 'tanh' | 'erf' | 'sigmoid'
  | 'half' // f32, rounded to what f16 holds
  | 'not' // bitwise on integers, logical on bool
  | 'cast' // to the node's type: float to integer truncates and saturates, anything to bool is ≠ 0
export type BinaryOp =
  | 'add' | 'sub' | 'mul'
  | 'div' // f32 only
  | 'idiv' | 'rem' // integers, truncated; by zero gives 0
  | 'min' | 'max' // NaN if either is NaN
  | 'pow' | 'atan2' // f32
  | 'and' | 'or' | 'xor' | 'shl' | 'shr' // integers (shr is arithmetic on i32, logical on u32); and/or/xor on bool too
  | 'eq' | 'ne' | 'lt' | 'le' // to bool
export type ExpressionOp = UnaryOp | BinaryOp | 'select' | 'load' | 'index' | 'const' | 'accumulator'

export interface Expression {
  readonly op: ExpressionOp
  readonly type: ScalarType
  readonly args: readonly Expression[]
  /** `load`: operand number. `index`: domain axis. `const`: the value. `accumulator`: always 0. */
  readonly value: number
}

const none: readonly Expression[] = []

/** The element of operand `operand` at the current position. */
export const load = (operand: number, type: ScalarType): Expression => ({ op: 'load', type, args: none, value: operand })
/** The current position along `axis` of the kernel's domain, an i32. */
export const index = (axis: number): Expression => ({ op: 'index', type: 'i32', args: none, value: axis })
export const constant = (value: number, type: ScalarType): Expression => ({ op: 'const', type, args: none, value })
/** The finished reduction, in the epilogue of a reduce kernel. */
export const accumulator = (type: ScalarType): Expression => ({ op: 'accumulator', type, args: none, value: 0 })

export const unary = (op: UnaryOp, x: Expression, type: ScalarType = x.type): Expression => ({ op, type, args: [x], value: 0 })

const comparisons: ReadonlySet<BinaryOp> = new Set(['eq', 'ne', 'lt', 'le'])
export const binary = (op: BinaryOp, x: Expression, y: Expression): Expression => ({ op, type: comparisons.has(op) ? 'bool' : x.type, args: [x, y], value: 0 })

/** `condition ? x : y`. */
export const choose = (condition: Expression, x: Expression, y: Expression): Expression => ({ op: 'select', type: x.type, args: [condition, x, y], value: 0 })

/** A text that is equal exactly for expressions of equal structure, sharing included. */
export function expressionKey(roots: readonly Expression[]): string {
  const numbers = new Map<Expression, number>()
  const parts: string[] = []
  const visit = (e: Expression): number => {
    const known = numbers.get(e)
    if (known !== undefined) return known
    const args = e.args.map(visit)
    const value = Object.is(e.value, -0) ? '-0' : e.value
    parts.push(`${e.op}:${e.type}:${value}(${args.join()})`)
    numbers.set(e, numbers.size)
    return numbers.size - 1
  }
  const ends = roots.map(visit)
  return `${parts.join(';')}>${ends.join()}`
}
