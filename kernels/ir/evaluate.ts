/**
 * Expressions as JavaScript closures in float64: what the reference device runs and what the
 * generated kernels are tested against. Integers wrap exactly; a bool is 0 or 1.
 */
import { erf } from './erf.ts'
import type { BinaryOp, Expression, ScalarType, UnaryOp } from './expression.ts'
import { roundToF16 } from './rounding.ts'

/** The value of an expression where `loads` gives its operands' elements and `index` its position. */
export type Evaluator = (loads: (operand: number) => number, index: (axis: number) => number, accumulator: number) => number

export interface EvaluateOptions {
  /** Applied to every f32 result, as `Math.fround`; float64 if absent. */
  readonly rounding?: (x: number) => number
}

type Unary = (x: number) => number
type Binary = (x: number, y: number) => number

/** Half to even. */
function round(x: number): number {
  const below = Math.floor(x)
  const rest = x - below
  if (rest === 0 || rest !== rest) return x
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0)
  return up ? (below === -1 ? -0 : below + 1) : below
}

/** As C99, NumPy and PyTorch: 1 to any power is 1, and so is −1 to an infinite one. */
const pow: Binary = (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : Math.pow(x, y))

const sigmoid: Unary = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)))
const truth = (x: boolean): number => (x ? 1 : 0)

/** A value of any type brought to `type`; float to integer truncates and saturates, NaN to 0. */
export function castScalar(x: number, from: ScalarType, to: ScalarType): number {
  if (to === 'f32') return x
  if (to === 'bool') return truth(x !== 0)
  if (from !== 'f32') return to === 'i32' ? x | 0 : x >>> 0
  if (x !== x) return 0
  return to === 'i32' ? Math.min(Math.max(Math.trunc(x), -2147483648), 2147483647) : Math.min(Math.max(Math.trunc(x), 0), 4294967295)
}

const floatUnary: Readonly<Partial<Record<UnaryOp, Unary>>> = {
  neg: (x) => -x, abs: Math.abs, sign: Math.sign, sqrt: Math.sqrt, floor: Math.floor, ceil: Math.ceil, round, trunc: Math.trunc,
  exp: Math.exp, log: Math.log, log2: Math.log2, expm1: Math.expm1, log1p: Math.log1p, sin: Math.sin, cos: Math.cos, tanh: Math.tanh, erf, sigmoid, half: roundToF16,
}
const integerUnary: Readonly<Partial<Record<UnaryOp, Unary>>> = { neg: (x) => -x, abs: Math.abs, sign: Math.sign, not: (x) => ~x }
const boolUnary: Readonly<Partial<Record<UnaryOp, Unary>>> = { not: (x) => 1 - x }

const comparisons: Readonly<Partial<Record<BinaryOp, Binary>>> = {
  eq: (x, y) => truth(x === y), ne: (x, y) => truth(x !== y), lt: (x, y) => truth(x < y), le: (x, y) => truth(x <= y),
  // Both hand on NaN, and order the zeros.
  min: Math.min, max: Math.max,
}
const floatBinary: Readonly<Partial<Record<BinaryOp, Binary>>> = {
  ...comparisons, add: (x, y) => x + y, sub: (x, y) => x - y, mul: (x, y) => x * y, div: (x, y) => x / y, pow, atan2: Math.atan2,
}
const integerBinary: Readonly<Partial<Record<BinaryOp, Binary>>> = {
  ...comparisons, add: (x, y) => x + y, sub: (x, y) => x - y, mul: Math.imul,
  idiv: (x, y) => (y === 0 ? 0 : Math.trunc(x / y)), rem: (x, y) => (y === 0 ? 0 : x % y),
  and: (x, y) => x & y, or: (x, y) => x | y, xor: (x, y) => x ^ y, shl: (x, y) => x << y, shr: (x, y) => x >> y,
}
const unsignedBinary: typeof integerBinary = { ...integerBinary, shr: (x, y) => x >>> y }
const boolBinary: Readonly<Partial<Record<BinaryOp, Binary>>> = { ...comparisons, and: (x, y) => x & y, or: (x, y) => x | y, xor: (x, y) => x ^ y }

const unaries = { f32: floatUnary, i32: integerUnary, u32: integerUnary, bool: boolUnary } as const
const binaries = { f32: floatBinary, i32: integerBinary, u32: unsignedBinary, bool: boolBinary } as const

function find<F>(table: Readonly<Partial<Record<string, F>>>, e: Expression, from: ScalarType): F {
  const f = table[e.op]
  if (f === undefined) throw new Error(`evaluate: no ${e.op} of ${from}`)
  return f
}

/** Brings a raw result into the range of its type. */
function normalise(type: ScalarType, rounding: Unary | undefined): Unary | undefined {
  switch (type) {
    case 'f32': return rounding
    case 'i32': return (x) => x | 0
    case 'u32': return (x) => x >>> 0
    case 'bool': return (x) => truth(x !== 0)
  }
}

type Step = (slots: Float64Array, loads: (operand: number) => number, index: (axis: number) => number, accumulator: number) => number

/** The function of a node with one or two arguments. */
const unaryOf = (e: Expression, from: ScalarType): Unary => (e.op === 'cast' ? (x) => castScalar(x, from, e.type) : find(unaries[from], e, from))
const binaryOf = (e: Expression, from: ScalarType): Binary => find(binaries[from], e, from)
const pick = (condition: number, x: number, y: number): number => (condition !== 0 ? x : y)

function compileNode(e: Expression, slots: readonly number[], rounding: Unary | undefined): Step {
  const [a = 0, b = 0, c = 0] = slots
  const from = e.args[0]?.type ?? e.type
  const fit = normalise(e.type, rounding)
  const finish = (step: Step): Step => (fit === undefined ? step : (...context) => fit(step(...context)))
  switch (e.op) {
    case 'const': {
      const value = fit === undefined ? e.value : fit(e.value)
      return () => value
    }
    case 'load': return finish((_, loads) => loads(e.value))
    case 'index': return finish((_, __, index) => index(e.value))
    case 'accumulator': return finish((_, __, ___, accumulator) => accumulator)
    case 'select': return (values) => pick(at(values, a), at(values, b), at(values, c))
    default: return finish(e.args.length === 1 ? unaryStep(unaryOf(e, from), a) : binaryStep(binaryOf(e, from), a, b))
  }
}

const unaryStep = (f: Unary, a: number): Step => (values) => f(at(values, a))
const binaryStep = (f: Binary, a: number, b: number): Step => (values) => f(at(values, a), at(values, b))

const at = (values: Float64Array, i: number): number => values[i] ?? 0

/** Compiles `root`; shared nodes are computed once an evaluation. */
export function compileExpression(root: Expression, { rounding }: EvaluateOptions = {}): Evaluator {
  const numbers = new Map<Expression, number>()
  const steps: Step[] = []
  const visit = (e: Expression): number => {
    const known = numbers.get(e)
    if (known !== undefined) return known
    const args = e.args.map(visit)
    steps.push(compileNode(e, args, rounding))
    numbers.set(e, steps.length - 1)
    return steps.length - 1
  }
  const last = visit(root)
  const values = new Float64Array(steps.length)
  return (loads, index, accumulator) => {
    for (let i = 0; i < steps.length; i++) values[i] = steps[i]?.(values, loads, index, accumulator) ?? 0
    return at(values, last)
  }
}

type Column = Float64Array<ArrayBuffer>

/** `root` at each of `length` positions, node by node over whole arrays; `operands` has what it loads, and no node is rounded. */
export function evaluateArrays(root: Expression, operands: readonly Column[], length: number): Column {
  const known = new Map<Expression, Column>()
  const visit = (e: Expression): Column => {
    const values = known.get(e) ?? evaluateNode(e, e.args.map(visit), operands, length)
    known.set(e, values)
    return values
  }
  return visit(root)
}

function evaluateNode(e: Expression, args: readonly Column[], operands: readonly Column[], length: number): Column {
  const [a = empty, b = empty, c = empty] = args
  const from = e.args[0]?.type ?? e.type
  const out = new Float64Array(length)
  if (e.op === 'load') out.set(operands[e.value] ?? empty)
  else if (e.op === 'const') out.fill(e.value)
  else if (e.op === 'select') for (let i = 0; i < length; i++) out[i] = pick(at(a, i), at(b, i), at(c, i))
  else if (args.length === 1) {
    const f = unaryOf(e, from)
    for (let i = 0; i < length; i++) out[i] = f(at(a, i))
  } else {
    const f = binaryOf(e, from) // An index or accumulator has none: only generated kernels know them.
    for (let i = 0; i < length; i++) out[i] = f(at(a, i), at(b, i))
  }
  const fit = normalise(e.type, undefined)
  return fit === undefined ? out : out.map((x) => fit(x))
}

const empty: Column = new Float64Array()
