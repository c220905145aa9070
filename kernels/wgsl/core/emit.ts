/**
 * Turns expression graphs into WGSL statements, a `let` for each node: a shared node is computed once, and what is named is no
 * constant expression, in which overflows, shifts past 31 and divisions by zero would be errors.
 * Compilers take a value less itself for zero, though it may be NaN or infinite; so such differences are told here.
 */
import type { BinaryOp, Expression, ScalarType, StorageType, UnaryOp } from '../../ir/expression.ts'
import { isLeaf, unknownNodes } from '../../ir/nodes.ts'
import { float } from './approximations.ts'
import type { ElementType } from './shader.ts'

export interface Emitted {
  readonly lines: readonly string[]
  /** The name of each root's value. */
  readonly values: readonly string[]
}

/** Values that are already computed, by name. */
export type Known = ReadonlyMap<Expression, string>

/** Computes `roots`; `leaf` is the text of a load, an index or the accumulator as a value of its type. Names start with `prefix`. Declare what the lines call by `functionsOf`. */
export function emitExpressions(roots: readonly Expression[], leaf: (e: Expression) => string, known: Known = new Map(), prefix = 'v'): Emitted {
  const names = new Map<Expression, string>(known)
  const leaves = new Map<string, string>()
  const computed = new Map<string, string>()
  const lines: string[] = []
  const nameOf = (e: Expression): string => names.get(e) ?? ''
  const keep = (code: string): string => {
    const name = `${prefix}${lines.length}`
    lines.push(`let ${name} = ${code};`)
    return name
  }
  for (const e of unknownNodes(roots, known)) {
    const [same, key] = isLeaf(e) ? [leaves, `${e.op}:${e.value}:${e.type}`] : [computed, operation(e, nameOf)]
    const name = same.get(key) ?? keep(isLeaf(e) ? leaf(e) : key)
    same.set(key, name)
    names.set(e, name)
  }
  return { lines, values: roots.map(nameOf) }
}

/** A constant of `type`; NaN and infinities too. */
export function literal(value: number, type: ScalarType): string {
  switch (type) {
    case 'f32': {
      const rounded = Math.fround(value)
      if (Number.isFinite(rounded)) return float(rounded)
      return `floatOfBits(${Number.isNaN(rounded) ? '0x7fc00000u' : rounded > 0 ? '0x7f800000u' : '0xff800000u'})`
    }
    case 'i32': return `i32(${value | 0})`
    case 'u32': return `${value >>> 0}u`
    case 'bool': return value === 0 ? 'false' : 'true'
  }
}

function operation(e: Expression, nameOf: (arg: Expression) => string): string {
  const [first, second] = e.args
  const [x = '', y = '', z = ''] = e.args.map(nameOf)
  if (e.op === 'const') return literal(e.value, e.type)
  if (e.op === 'select') return `select(${z}, ${y}, ${x})`
  if (first === undefined) throw new Error(`emit: ${e.op} has no argument`)
  if (e.op === 'cast') return cast(first.type, e.type, x)
  if (first.type === 'f32' && second !== undefined) {
    const negates = (a: Expression, of: string): boolean => a.op === 'neg' && a.args.every((arg) => nameOf(arg) === of)
    if (e.op === 'sub' ? x === y : e.op === 'add' && (negates(second, x) || negates(first, y))) return `minusItselfF32(${x})`
    // Undefined in SPIR-V: drivers drop what is stored of it.
    if (e.op === 'div' && second.op === 'const' && second.value === 0) return `overZeroF32(${Object.is(second.value, -0) ? '-' : ''}${x})`
  }
  const table: Readonly<Record<string, ((x: string, y: string) => string) | undefined>> = second === undefined ? unaries[first.type] : binaries[first.type]
  const found = table[e.op]
  if (found === undefined) throw new Error(`emit: no ${e.op} of ${first.type}`)
  return found(x, y)
}

type UnaryTable = Readonly<Partial<Record<UnaryOp, (x: string) => string>>>
type BinaryTable = Readonly<Partial<Record<BinaryOp, (x: string, y: string) => string>>>

const call = (name: string) => (x: string): string => `${name}(${x})`
const call2 = (name: string) => (x: string, y: string): string => `${name}(${x}, ${y})`
const infix = (operator: string) => (x: string, y: string): string => `${x} ${operator} ${y}`

const unaries: Readonly<Record<ScalarType, UnaryTable>> = {
  f32: {
    neg: (x) => `-${x}`, abs: call('abs'), sqrt: call('sqrt'), sign: call('signF32'),
    floor: call('floor'), ceil: call('ceil'), round: call('round'), trunc: call('trunc'),
    exp: call('expF32'), log: call('logF32'), log2: call('log2F32'), expm1: call('expm1F32'), log1p: call('log1pF32'),
    sin: call('sinF32'), cos: call('cosF32'), tanh: call('tanhF32'), erf: call('erfF32'), sigmoid: call('sigmoidF32'), half: call('roundF16'),
  },
  i32: { neg: (x) => `-${x}`, abs: call('abs'), sign: call('sign'), not: (x) => `~${x}` },
  u32: { neg: (x) => `0u - ${x}`, abs: (x) => x, sign: (x) => `min(${x}, 1u)`, not: (x) => `~${x}` },
  bool: { not: (x) => `!${x}` },
}

// That a NaN differs from everything holds for == alone.
const comparisons: BinaryTable = { eq: infix('=='), ne: (x, y) => `!(${x} == ${y})`, lt: infix('<'), le: infix('<=') }
const integers: BinaryTable = {
  ...comparisons, add: infix('+'), sub: infix('-'), mul: infix('*'), min: call2('min'), max: call2('max'), and: infix('&'), or: infix('|'), xor: infix('^'),
  shl: (x, y) => `${x} << (u32(${y}) & 31u)`, shr: (x, y) => `${x} >> (u32(${y}) & 31u)`,
}
const binaries: Readonly<Record<ScalarType, BinaryTable>> = {
  f32: { ...comparisons, add: infix('+'), sub: infix('-'), mul: infix('*'), div: infix('/'), min: call2('minF32'), max: call2('maxF32'), pow: call2('powF32'), atan2: call2('atan2F32') },
  i32: { ...integers, idiv: call2('divideI32'), rem: call2('remainderI32') },
  u32: { ...integers, idiv: call2('divideU32'), rem: call2('remainderU32') },
  bool: {
    eq: infix('=='), ne: infix('!='), lt: (x, y) => `!${x} & ${y}`, le: (x, y) => `!${x} | ${y}`,
    and: infix('&'), or: infix('|'), xor: infix('!='), min: infix('&'), max: infix('|'),
  },
}

function cast(from: ScalarType, to: ScalarType, x: string): string {
  if (from === to) return x
  if (from === 'f32' && to === 'bool') return `!(${x} == 0.0)`
  return from === 'f32' ? `${to}OfF32(${x})` : `${to}(${x})`
}

/** The code of a binary operation on values of `type`. */
export function binaryCode(op: BinaryOp, type: ScalarType): (x: string, y: string) => string {
  const found = binaries[type][op]
  if (found === undefined) throw new Error(`emit: no ${op} of ${type}`)
  return found
}

/** How elements of a type lie on the device. */
export const elementType: Readonly<Record<StorageType, 'f32' | 'f16' | 'i32' | 'u32'>> = { f32: 'f32', f16: 'f16', bf16: 'f32', i32: 'i32', u32: 'u32', u8: 'u32', bool: 'u32' }

/** An element as it lies in an array of `held` as a value of `type`. */
export function widen(element: string, dtype: StorageType, held: ElementType, type: ScalarType): string {
  const own = elementType[dtype]
  const x = held === own ? element : `bitcast<${own}>(${element})`
  if (type === 'bool') return `${x} != 0u`
  if (dtype === 'bool') return `${type}(${x} != 0u)`
  return own === type ? x : `${type}(${x})`
}

/** A value of `type` as an element of an array of `held`. */
export function narrow(value: string, type: ScalarType, dtype: StorageType, held: ElementType): string {
  const own = elementType[dtype]
  const x = narrowed(value, type, dtype)
  return held === own ? x : `bitcast<${held}>(${x})`
}

function narrowed(x: string, type: ScalarType, dtype: StorageType): string {
  if (dtype === 'bf16') return `roundBf16(${x})`
  if (type === 'bool') return `u32(${x})`
  if (dtype === 'bool') return `u32(${x} != 0)`
  if (dtype === 'u8') return `u32(${x}) & 255u`
  return elementType[dtype] === type ? x : `${elementType[dtype]}(${x})`
}
