/**
 * Turns expression graphs into vector code, operation by operation for a bundle of vectors at a time:
 * first every load, then the arithmetic, so that V8 can pair the vectors of a bundle into wider ones.
 * A bool is a lane of all ones or all zeros. Sums and products are never contracted into fused ones.
 */
import type { BinaryOp, Expression, UnaryOp } from '../../ir/expression.ts'
import { isLeaf, unknownNodes } from '../../ir/nodes.ts'
import * as approximations from './approximations.ts'
import { type Code, f32x4, i32, i32x4, v128 } from './assembler.ts'
import { pow } from './power.ts'
import type { VectorScope } from './scope.ts'
import { atan2, sines } from './trigonometry.ts'

/** The vectors of a value: one for each vector of the bundle, or a single one that holds for all. */
export type Bundle = readonly Code[]

/** Values that are already computed, for instance outside the loop. */
export type Known = ReadonlyMap<Expression, Bundle>

/** Values computed before a loop, once for its bundles and once for its single vectors, which share none. */
export class Hoisted {
  private readonly scope: VectorScope
  private readonly paired = new Map<Expression, Bundle>()
  private readonly single = new Map<Expression, Bundle>()

  constructor(scope: VectorScope) {
    this.scope = scope
  }

  /** What bundles of `width` vectors use. */
  of(width: number): Known {
    return width === 1 ? this.single : this.paired
  }

  /** Computes `roots` for loops over bundles of `width` vectors and over single ones; `leaf` makes the leaves for either. */
  compute(roots: readonly Expression[], width: number, leaf: () => Leaf): void {
    for (const [count, known] of [[width, this.paired], [1, this.single]] as const) {
      if (known === this.paired && width === 1) continue
      this.scope.within(count, () => {
        const bundles = emitExpressions(this.scope, roots, 1, known, leaf())
        roots.forEach((e, i) => known.set(e, bundles[i] ?? []))
      })
    }
  }
}

/** Code of a load, an index or the accumulator for one vector of the bundle. */
export type Leaf = (e: Expression, vector: number) => Code

/** Computes `roots` for a bundle of `width` vectors, each of which has its own result, kept. */
export function emitExpressions(scope: VectorScope, roots: readonly Expression[], width: number, known: Known, leaf: Leaf): Bundle[] {
  const nodes = unknownNodes(roots, known)
  const uses = new Map<Expression, number>(roots.map((e) => [e, 2]))
  for (const e of nodes) for (const x of e.args) uses.set(x, (uses.get(x) ?? 0) + 1)

  const values = new Map<Expression, Bundle>(known)
  const loads = new Map<string, Bundle>()
  for (const e of nodes.filter(isLeaf)) {
    const key = `${e.op}:${e.value}:${e.type}`
    const bundle = loads.get(key) ?? Array.from({ length: width }, (_, vector) => scope.keep(leaf(e, vector)))
    loads.set(key, bundle)
    values.set(e, bundle)
  }
  for (const e of nodes) {
    if (isLeaf(e)) continue
    const args = e.args.map((x) => values.get(x) ?? [])
    if (e.op === 'sin' || e.op === 'cos') {
      values.set(e, sines(scope, args[0] ?? [], e.op === 'sin' ? 0 : 1))
      continue
    }
    // A value that is the same for all vectors stays one.
    const count = Math.max(1, ...args.map((bundle) => bundle.length))
    const bundle = Array.from({ length: count }, (_, vector) => {
      const code = operation(scope, e, args.map((x) => x[vector] ?? x[0] ?? []))
      return (uses.get(e) ?? 0) > 1 ? scope.keep(code) : code
    })
    values.set(e, bundle)
  }
  return roots.map((e) => {
    const bundle = values.get(e) ?? []
    return Array.from({ length: width }, (_, vector) => bundle[vector] ?? bundle[0] ?? [])
  })
}

function operation(scope: VectorScope, e: Expression, codes: readonly Code[]): Code {
  const [x = [], y = [], z = []] = codes
  const [first, second] = e.args
  switch (e.op) {
    case 'const':
      if (e.type === 'f32') return scope.f32(e.value)
      return e.type === 'bool' ? scope.i32(e.value === 0 ? 0 : -1) : scope.i32(e.value | 0)
    case 'select': return v128.select(y, z, x)
    case 'load': case 'index': case 'accumulator': throw new Error(`emit: ${e.op} is a leaf`)
    case 'shl': case 'shr': return shift(scope, e, x, y, second)
    default:
      if (first === undefined) throw new Error(`emit: ${e.op} has no argument`)
      return second === undefined ? unaryOperation(scope, e, first, x) : binaryOperation(scope, e, first, x, y)
  }
}

type UnaryTable = Readonly<Partial<Record<UnaryOp, (scope: VectorScope, x: Code) => Code>>>
type BinaryTable = Readonly<Partial<Record<BinaryOp, (scope: VectorScope, x: Code, y: Code) => Code>>>

const one = (scope: VectorScope, compute: () => Code): Code => scope.compute(1, () => [compute()])[0] ?? []
const approximate = (f: (scope: VectorScope, x: Code) => Code) => (scope: VectorScope, x: Code): Code => one(scope, () => f(scope, scope.keep(x)))
const approximate2 = (f: (scope: VectorScope, x: Code, y: Code) => Code) => (scope: VectorScope, x: Code, y: Code): Code => one(scope, () => f(scope, scope.keep(x), scope.keep(y)))
const plain = (f: (x: Code) => Code) => (_: VectorScope, x: Code): Code => f(x)
const plain2 = (f: (x: Code, y: Code) => Code) => (_: VectorScope, x: Code, y: Code): Code => f(x, y)

/** ±1 by the sign bit; zeros and NaN are their own sign. */
function signOf(scope: VectorScope, code: Code): Code {
  const x = scope.keep(code)
  const one = v128.or(v128.and(x, scope.i32(0x80000000)), scope.f32(1))
  return v128.select(one, x, f32x4.gt(f32x4.abs(x), scope.f32(0)))
}

const unaryF32: UnaryTable = {
  neg: plain(f32x4.neg), abs: plain(f32x4.abs), sqrt: plain(f32x4.sqrt), sign: signOf,
  floor: plain(f32x4.floor), ceil: plain(f32x4.ceil), round: plain(f32x4.nearest), trunc: plain(f32x4.trunc),
  exp: approximate(approximations.exp), log: approximate(approximations.log), log2: approximate(approximations.log2), expm1: approximate(approximations.expm1), log1p: approximate(approximations.log1p),
  tanh: approximate(approximations.tanh), erf: approximate(approximations.erf), sigmoid: approximate(approximations.sigmoid),
}

const unaryI32: UnaryTable = {
  neg: plain(i32x4.neg), abs: plain(i32x4.abs), not: plain(v128.not),
  sign: (scope, code) => {
    const x = scope.keep(code)
    return v128.or(i32x4.shr(x, 31), i32x4.shru(i32x4.neg(x), 31))
  },
}

const unaryU32: UnaryTable = { neg: plain(i32x4.neg), abs: plain((x) => x), not: plain(v128.not), sign: (scope, x) => i32x4.minu(x, scope.i32(1)) }
const unaryTables = { f32: unaryF32, i32: unaryI32, u32: unaryU32, bool: { not: plain(v128.not) } satisfies UnaryTable } as const

function unaryOperation(scope: VectorScope, e: Expression, from: Expression, x: Code): Code {
  if (e.op === 'cast') return cast(scope, from, e, x)
  const table: UnaryTable = unaryTables[from.type]
  const found = Object.entries(table).find(([name]) => name === e.op)
  if (found === undefined) throw new Error(`emit: no ${e.op} of ${from.type}`)
  return found[1](scope, x)
}

function cast(scope: VectorScope, from: Expression, to: Expression, x: Code): Code {
  if (from.type === to.type) return x
  switch (to.type) {
    case 'bool': return from.type === 'f32' ? f32x4.ne(x, scope.f32(0)) : i32x4.ne(x, scope.i32(0))
    case 'f32':
      if (from.type === 'bool') return v128.and(x, scope.f32(1))
      return from.type === 'i32' ? f32x4.convertI32(x) : f32x4.convertI32u(x)
    case 'i32': case 'u32':
      if (from.type === 'f32') return to.type === 'i32' ? i32x4.truncSatF32(x) : i32x4.truncSatF32u(x)
      return from.type === 'bool' ? v128.and(x, scope.i32(1)) : x
  }
}

const binaryF32: BinaryTable = {
  add: plain2(f32x4.add), sub: plain2(f32x4.sub), mul: plain2(f32x4.mul), div: plain2(f32x4.div), min: plain2(f32x4.min), max: plain2(f32x4.max),
  eq: plain2(f32x4.eq), ne: plain2(f32x4.ne), lt: plain2(f32x4.lt), le: plain2(f32x4.le),
  pow: approximate2(pow), atan2: approximate2(atan2),
}
const bitwise: BinaryTable = { and: plain2(v128.and), or: plain2(v128.or), xor: plain2(v128.xor), eq: plain2(i32x4.eq), ne: plain2(i32x4.ne) }
const wrapping: BinaryTable = { ...bitwise, add: plain2(i32x4.add), sub: plain2(i32x4.sub), mul: plain2(i32x4.mul) }
const binaryI32: BinaryTable = {
  ...wrapping, min: plain2(i32x4.min), max: plain2(i32x4.max), lt: plain2(i32x4.lt), le: plain2(i32x4.le),
  // Dividing by −1 negates, which unlike the instruction does not trap on the smallest integer.
  idiv: (scope, a, b) => {
    const [x, y] = [scope.keep(a), scope.keep(b)]
    const negative = i32x4.eq(y, scope.i32(-1))
    const quotient = divideLanes(scope, i32.div, x, v128.select(scope.i32(1), y, v128.or(negative, i32x4.eq(y, scope.i32(0)))))
    return v128.andnot(v128.select(i32x4.neg(x), quotient, negative), i32x4.eq(y, scope.i32(0)))
  },
  rem: (scope, a, b) => {
    const y = scope.keep(b)
    const special = v128.or(i32x4.eq(y, scope.i32(-1)), i32x4.eq(y, scope.i32(0)))
    return divideLanes(scope, i32.rem, a, v128.select(scope.i32(1), y, special))
  },
}
const unsignedDivision = (op: (x: Code, y: Code) => Code) => (scope: VectorScope, a: Code, b: Code): Code => {
  const zero = scope.keep(i32x4.eq(scope.keep(b), scope.i32(0)))
  return v128.andnot(divideLanes(scope, op, a, v128.select(scope.i32(1), b, zero)), zero)
}
const binaryU32: BinaryTable = {
  ...wrapping, min: plain2(i32x4.minu), max: plain2(i32x4.maxu), lt: plain2(i32x4.ltu), le: plain2(i32x4.leu),
  idiv: unsignedDivision(i32.divu), rem: unsignedDivision(i32.remu),
}
const binaryBool: BinaryTable = { ...bitwise, min: plain2(v128.and), max: plain2(v128.or), lt: plain2(i32x4.ltu), le: plain2(i32x4.leu) }
const binaryTables = { f32: binaryF32, i32: binaryI32, u32: binaryU32, bool: binaryBool } as const

function binaryOperation(scope: VectorScope, e: Expression, from: Expression, x: Code, y: Code): Code {
  const found = Object.entries(binaryTables[from.type]).find(([name]) => name === e.op)
  if (found === undefined) throw new Error(`emit: no ${e.op} of ${from.type}`)
  return found[1](scope, x, y)
}

/** Lane by lane; the divisors must be safe. */
function divideLanes(scope: VectorScope, op: (x: Code, y: Code) => Code, a: Code, b: Code): Code {
  const [x, y] = [scope.keep(a), scope.keep(b)]
  return [1, 2, 3].reduce<Code>((code, lane) => i32x4.replace(code, lane, op(i32x4.extract(x, lane), i32x4.extract(y, lane))), i32x4.splat(op(i32x4.extract(x, 0), i32x4.extract(y, 0))))
}

/** Counts are taken modulo 32. A constant count is one instruction, others go lane by lane. */
function shift(scope: VectorScope, e: Expression, a: Code, b: Code, count: Expression | undefined): Code {
  const [vector, lanewise] = e.op === 'shl' ? [i32x4.shl, i32.shl] : e.type === 'i32' ? [i32x4.shr, i32.shr] : [i32x4.shru, i32.shru]
  if (count?.op === 'const') return vector(a, i32.const(count.value))
  const [x, y] = [scope.keep(a), scope.keep(b)]
  return [0, 1, 2, 3].reduce<Code>((code, lane) => i32x4.replace(code, lane, lanewise(i32x4.extract(x, lane), i32x4.extract(y, lane))), x)
}
