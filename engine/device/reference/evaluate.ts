/** Elementwise expressions on the reference device: closures over the arrays' elements, floats in float64, bools as 0 and 1. */
import type { BinaryOp, Expression, ScalarType, UnaryOp } from '../../../kernels/expression.ts'
import { at } from '../../shape.ts'
import { roundHalfEven } from './values.ts'

/** The value of an expression at position `i`, given how to read operands there. */
export type Closure = (i: number) => number
export type Load = (operand: number) => Closure

const integer: Readonly<Record<ScalarType, (x: number) => number>> = { f32: (x) => x, i32: (x) => x | 0, u32: (x) => x >>> 0, bool: (x) => (x === 0 ? 0 : 1) }
const ranges = { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1] } as const

function castTo(from: ScalarType, to: ScalarType): (x: number) => number {
  if (from !== 'f32' || to === 'f32' || to === 'bool') return integer[to]
  const [low, high] = ranges[to]
  return (x) => (Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x))))
}

/** Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!! for small x (Abramowitz and Stegun 7.1.6), and the continued fraction 7.1.14 for large. */
function erf(x: number): number {
  const a = Math.abs(x)
  const scale = Math.exp(-a * a)
  if (Number.isNaN(x) || x === 0) return x
  if (a > 6) return Math.sign(x)
  if (a < 2.5) {
    let [term, sum] = [x, x]
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1)
      sum += term
    }
    return (2 / Math.sqrt(Math.PI)) * scale * sum
  }
  let fraction = 0
  for (let n = 120; n > 0; n--) fraction = n / 2 / (a + fraction)
  return Math.sign(x) * (1 - scale / (a + fraction) / Math.sqrt(Math.PI))
}

const unaries: Readonly<Record<Exclude<UnaryOp, 'cast' | 'not'>, (x: number) => number>> = {
  neg: (x) => -x,
  abs: Math.abs,
  sign: Math.sign,
  sqrt: Math.sqrt,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfEven,
  trunc: Math.trunc,
  exp: Math.exp,
  log: Math.log,
  expm1: Math.expm1,
  log1p: Math.log1p,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  erf,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
}

const binaries: Readonly<Record<BinaryOp, (x: number, y: number) => number>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  idiv: (x, y) => (y === 0 ? 0 : Math.trunc(x / y)),
  rem: (x, y) => (y === 0 ? 0 : x % y),
  min: Math.min,
  max: Math.max,
  pow: Math.pow,
  atan2: Math.atan2,
  and: (x, y) => x & y,
  or: (x, y) => x | y,
  xor: (x, y) => x ^ y,
  shl: (x, y) => x << y,
  shr: (x, y) => x >> y,
  eq: (x, y) => Number(x === y),
  ne: (x, y) => Number(x !== y),
  lt: (x, y) => Number(x < y),
  le: (x, y) => Number(x <= y),
}

function unaryOf(op: UnaryOp, from: ScalarType, to: ScalarType): (x: number) => number {
  if (op === 'cast') return castTo(from, to)
  if (op === 'not') return to === 'bool' ? (x) => Number(x === 0) : (x) => integer[to](~x)
  const f = unaries[op]
  return to === 'f32' ? f : (x) => integer[to](f(x))
}

function binaryOf(op: BinaryOp, type: ScalarType): (x: number, y: number) => number {
  if (op === 'mul' && type === 'i32') return Math.imul
  if (op === 'mul' && type === 'u32') return (x, y) => Math.imul(x, y) >>> 0
  if (op === 'shr' && type === 'u32') return (x, y) => x >>> y
  const f = binaries[op]
  return type === 'f32' || type === 'bool' ? f : (x, y) => integer[type](f(x, y))
}

const isUnary = (op: Expression['op']): op is UnaryOp => op === 'cast' || op === 'not' || op in unaries
const isBinary = (op: Expression['op']): op is BinaryOp => op in binaries

export function compileExpression(root: Expression, load: Load): Closure {
  const closures = new Map<Expression, Closure>()
  const visit = (e: Expression): Closure => {
    const known = closures.get(e)
    if (known !== undefined) return known
    const closure = build(e, e.args.map(visit))
    closures.set(e, closure)
    return closure
  }
  const build = ({ op, type, args, value }: Expression, inner: readonly Closure[]): Closure => {
    if (op === 'const') return () => value
    if (op === 'load') return load(value)
    const x = at(inner, 0)
    if (isUnary(op)) {
      const f = unaryOf(op, at(args, 0).type, type)
      return (i) => f(x(i))
    }
    const y = at(inner, 1)
    if (isBinary(op)) {
      const f = binaryOf(op, type)
      return (i) => f(x(i), y(i))
    }
    if (op !== 'select') throw new RangeError(`an elementwise op's expression has no ${op}`)
    const z = at(inner, 2)
    return (i) => (x(i) === 0 ? z(i) : y(i))
  }
  return visit(root)
}
