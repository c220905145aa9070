/** Functions of two numbers beyond the four operations: extremes, powers, angles, division with a remainder. */
import { isFloat } from '../dtype.ts'
import { DTypeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { applyOn } from '../op.ts'
import { at, formatShape } from '../shape.ts'
import { add, arithmetic, binaryRow, div, equal, floating, isTensor, less, lessEqual, literal, literalOp, mul, neg, notEqual, sub, unify, where, widen } from './elementwise.ts'
import type { BinaryRow, Operand } from './elementwise.ts'
import { and, xor } from './logic.ts'
import { floor, log, reciprocal } from './math.ts'
import { expand } from './movement.ts'

/** `dz` to whichever of the two was taken, half to each where they are equal. */
const toTheTaken = (dz: Tensor, taken: Tensor, tied: Tensor): Tensor => where(taken, where(tied, mul(dz, literal(0.5)), dz), literal(0))

export const maximumOp: BinaryRow = binaryRow('max', (dz, x, y) => {
  const tied = equal(x, y)
  return [toTheTaken(dz, lessEqual(y, x), tied), toTheTaken(dz, lessEqual(x, y), tied)]
})
export const minimumOp: BinaryRow = binaryRow('min', (dz, x, y) => {
  const tied = equal(x, y)
  return [toTheTaken(dz, lessEqual(x, y), tied), toTheTaken(dz, lessEqual(y, x), tied)]
})

/** The larger of x and y; NaN if either is. Where they are equal the gradient is split evenly. */
export function maximum(x: Operand, y: Operand): Tensor {
  return arithmetic(maximumOp, x, y)
}
/** The smaller of x and y; NaN if either is. Where they are equal the gradient is split evenly. */
export function minimum(x: Operand, y: Operand): Tensor {
  return arithmetic(minimumOp, x, y)
}

export const powOp: BinaryRow = binaryRow('pow', (dz, x, y, z) => {
  const slope = where(equal(y, literal(0)), literal(0), mul(y, pow(x, sub(y, literal(1)))))
  const growth = where(and(equal(x, literal(0)), lessEqual(literal(0), y)), literal(0), mul(z, log(x)))
  return [mul(dz, slope), mul(dz, growth)]
})

/**
 * xʸ in floats; NaN for negative x unless y is an integer. Numbers are data: changing the exponent compiles nothing.
 * For a fixed integer exponent `powInteger` is exact on integers and cheaper.
 */
export function pow(x: Operand, y: Operand): Tensor {
  return arithmetic(powOp, x, y, true)
}

/** x². */
export function square(x: TensorLike): Tensor {
  return mul(x, x)
}

/** xⁿ by repeated multiplication; the integer n is structure. Integers stay integers for n ≥ 0; x⁰ is 1. */
export function powInteger(x: TensorLike, n: number): Tensor {
  if (!Number.isInteger(n)) throw new DTypeError(`powInteger: exponent ${n} of a tensor ${formatShape(x.shape)} is not an integer; use pow`)
  if (n < 0) return reciprocal(powInteger(floating(x), -n))
  const base = widen(x)
  if (n === 0) return expand(applyOn(base.device, literalOp, { value: 1, dtype: base.dtype }), base.shape)
  if (n === 1) return base
  const half = powInteger(base, Math.floor(n / 2))
  return n % 2 === 0 ? mul(half, half) : mul(mul(half, half), base)
}

export const atan2Op: BinaryRow = binaryRow('atan2', (dz, y, x) => {
  const turn = div(dz, add(mul(x, x), mul(y, y)))
  return [mul(turn, x), neg(mul(turn, y))]
})

/** The angle of the point (x, y) from the positive x axis, in (−π, π]. */
export function atan2(y: Operand, x: Operand): Tensor {
  return arithmetic(atan2Op, y, x, true)
}

/** The angle in [−π/2, π/2] whose tangent is x, within 3 units of the last place. */
export function atan(x: TensorLike): Tensor {
  return atan2(x, literal(1))
}

export const truncatedDivideOp: BinaryRow = binaryRow('idiv')
export const truncatedRemainderOp: BinaryRow = binaryRow('rem')

/** Both operands in their common type, widened, and whether that is a float. */
function divisible(op: string, x: Operand, y: Operand): { a: Tensor; b: Tensor; floats: boolean } {
  const pair = unify(op, [x, y].map((v) => (isTensor(v) ? widen(v) : v)))
  const [a, b] = [at(pair, 0), at(pair, 1)]
  return { a, b, floats: isFloat(a.dtype) }
}

/** Where a remainder has the sign the divisor does not have. */
const opposed = (r: Tensor, b: Tensor): Tensor => and(notEqual(r, literal(0)), xor(less(r, literal(0)), less(b, literal(0))))

/**
 * ⌊x / y⌋, as Python's //. Integers divide exactly, by zero to 0; floats round the quotient first. No gradient.
 */
export function floorDivide(x: Operand, y: Operand): Tensor {
  const { a, b, floats } = divisible('floorDivide', x, y)
  if (floats) return floor(div(a, b))
  const quotient = arithmetic(truncatedDivideOp, a, b)
  if (a.dtype === 'u32') return quotient
  return where(opposed(arithmetic(truncatedRemainderOp, a, b), b), sub(quotient, literal(1)), quotient)
}

/**
 * x − y·⌊x / y⌋, with the sign of the divisor, as Python's %. An integer's remainder by zero is 0; a float's is NaN, and
 * is as precise as x / y, so huge quotients lose it.
 */
export function remainder(x: Operand, y: Operand): Tensor {
  const { a, b, floats } = divisible('remainder', x, y)
  const rest = floats ? sub(a, mul(b, floor(div(a, b)))) : arithmetic(truncatedRemainderOp, a, b)
  // Of floats, a quotient rounded up to the next integer leaves a rest just below zero.
  return a.dtype === 'u32' ? rest : where(opposed(rest, b), add(rest, b), rest)
}
