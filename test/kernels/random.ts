/** fast-check arbitraries of operands in odd layouts and of expressions over them. */
import fc from 'fast-check'
import type { MapDescriptor, Operand, ReduceDescriptor, ReduceOp } from '../../kernels/ir/descriptor.ts'
import { accumulator, binary, choose, constant, type Expression, index, load, type ScalarType, type StorageType, unary } from '../../kernels/ir/expression.ts'
import { exactBinaries, exactUnaries, scalarTypes } from './edges.ts'
import { elementBytes, everyPosition, elementAt, existsAt, writeElement } from './naive.ts'

/** Those of every device. */
export const storageTypes: readonly StorageType[] = ['f32', 'bf16', 'i32', 'u32', 'u8', 'bool']
const scalarOf: Readonly<Record<StorageType, ScalarType>> = { f32: 'f32', f16: 'f32', bf16: 'f32', i32: 'i32', u32: 'u32', u8: 'u32', bool: 'bool' }
const sizes = [0, 1, 1, 3, 4, 7, 8, 31, 32, 33, 100]

/** Shapes of up to `rank` axes and 4000 positions. */
const shapes = (rank: number): fc.Arbitrary<number[]> =>
  fc.array(fc.constantFrom(...sizes), { maxLength: rank }).filter((shape) => shape.reduce((a, b) => a * b, 1) <= 4000)

/** Numbers that are exact in f32, special ones among them. */
const element = (dtype: StorageType): fc.Arbitrary<number> => {
  switch (dtype) {
    case 'f32': return fc.oneof({ weight: 8, arbitrary: fc.float({ min: -100, max: 100, noNaN: true }) }, fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 1e-40, 3e38))
    case 'f16': case 'bf16': return fc.constantFrom(0, -0, 1, -1.5, 3.25, NaN, Infinity, -200)
    case 'i32': return fc.oneof(fc.integer({ min: -9, max: 9 }), fc.integer())
    case 'u32': return fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 0xffffffff }))
    case 'u8': return fc.integer({ min: 0, max: 255 })
    case 'bool': return fc.constantFrom(0, 1)
  }
}

export interface RandomOperand {
  readonly operand: Operand
  /** Exactly the elements from the lowest to the highest that exist. */
  readonly bytes: Uint8Array
}

/** An operand over `shape`; an output moves along every axis and has no mask. */
export function randomOperand(shape: readonly number[], dtype: StorageType, output: boolean): fc.Arbitrary<RandomOperand> {
  const axis = fc.record({ key: fc.double({ noNaN: true, min: 0, max: 1 }), flip: fc.boolean(), broadcast: fc.boolean(), gap: fc.constantFrom(0, 0, 0, 1, 5), lo: fc.integer({ min: -1, max: 3 }), cut: fc.integer({ min: -1, max: 3 }), masked: fc.constantFrom(true, false, false, false) })
  return fc.record({
    axes: fc.array(axis, { minLength: shape.length, maxLength: shape.length }),
    style: fc.constantFrom('plain', 'permuted', 'any'),
    masked: fc.constantFrom(true, false, false),
    values: fc.array(element(dtype), { minLength: 37, maxLength: 37 }),
  }).map(({ axes, style, masked, values }) => {
    const order = shape.map((_, i) => i)
    if (style !== 'plain') order.sort((a, b) => (axes[a]?.key ?? 0) - (axes[b]?.key ?? 0))
    const strides = shape.map(() => 0)
    let next = 1
    for (const a of order.toReversed()) {
      const traits = axes[a]
      if (traits === undefined || (traits.broadcast && !output && style !== 'plain')) continue
      strides[a] = traits.flip && style === 'any' ? -next : next
      next = next * Math.max(1, shape[a] ?? 1) + (style === 'any' ? traits.gap : 0)
    }
    const mask = masked && !output ? shape.map((size, a): [number, number] => (axes[a]?.masked === true ? [axes[a].lo, size - axes[a].cut] : [0, size])) : undefined
    const loose: Operand = mask === undefined ? { dtype, strides, offset: 0 } : { dtype, strides, offset: 0, mask }
    let [low, high] = [Infinity, -Infinity]
    for (const position of everyPosition(shape)) {
      if (!existsAt(loose, position)) continue
      low = Math.min(low, elementAt(loose, position))
      high = Math.max(high, elementAt(loose, position))
    }
    const count = high < low ? 0 : high - low + 1
    const bytes = new Uint8Array(count * elementBytes[dtype])
    for (let i = 0; i < count; i++) writeElement(bytes, dtype, i, values[(i * i + i) % values.length] ?? 0)
    return { operand: { ...loose, offset: count === 0 ? 0 : 0 - low }, bytes }
  })
}

/** The operations that an expression may have. */
export interface Operations {
  readonly binaries: typeof exactBinaries
  readonly unaries: typeof exactUnaries
}
const exact: Operations = { binaries: exactBinaries, unaries: exactUnaries }

/** A graph whose every operation is exact or correctly rounded, ending in `type`. */
export function randomExpression(type: ScalarType, operands: readonly StorageType[], rank: number, extra: readonly Expression[] = [], { binaries, unaries }: Operations = exact): fc.Arbitrary<Expression> {
  const step = fc.record({ kind: fc.nat(9), op: fc.nat(99), a: fc.nat(99), b: fc.nat(99), c: fc.nat(99), type: fc.constantFrom(...scalarTypes) })
  return fc.array(step, { minLength: 1, maxLength: 12 }).map((steps) => {
    const pool: Expression[] = [
      ...extra, ...operands.map((dtype, o) => load(o, scalarOf[dtype])), ...Array.from({ length: rank }, (_, axis) => index(axis)),
      constant(1.5, 'f32'), constant(-3, 'i32'), constant(7, 'u32'), constant(1, 'bool'),
    ]
    const pick = (n: number): Expression => pool[n % pool.length] ?? constant(0, 'f32')
    const as = (e: Expression, wanted: ScalarType): Expression => (e.type === wanted ? e : unary('cast', e, wanted))
    for (const { kind, op, a, b, c, type: t } of steps) {
      const [x, y] = [pick(a), pick(b)]
      if (kind < 5) pool.push(binary(binaries[x.type][op % binaries[x.type].length] ?? 'eq', x, as(y, x.type)))
      else if (kind < 7) pool.push(unary(unaries[x.type][op % unaries[x.type].length] ?? 'not', x))
      else if (kind < 8) pool.push(choose(as(pick(c), 'bool'), x, as(y, x.type)))
      else pool.push(as(x, t))
    }
    return as(pool.at(-1) ?? constant(0, 'f32'), type)
  })
}

export interface MapCase {
  readonly d: MapDescriptor
  readonly buffers: readonly Uint8Array[]
}

export const mapCases = (operations: Operations = exact, stored: readonly StorageType[] = storageTypes): fc.Arbitrary<MapCase> => fc.record({ shape: shapes(4), types: fc.array(fc.constantFrom(...stored), { maxLength: 3 }), results: fc.array(fc.constantFrom(...stored), { minLength: 1, maxLength: 2 }) })
  .chain(({ shape, types, results }) => fc.record({
    shape: fc.constant(shape),
    inputs: fc.tuple(...types.map((t) => randomOperand(shape, t, false))),
    outputs: fc.tuple(...results.map((t) => randomOperand(shape, t, true))),
    values: fc.tuple(...results.map((t) => randomExpression(scalarOf[t], types, shape.length, [], operations))),
  }))
  .map(({ shape, inputs, outputs, values }) => {
    const all: RandomOperand[] = [...inputs, ...outputs]
    return {
      d: { shape, inputs: inputs.map((i) => i.operand), outputs: outputs.map((o, i) => ({ operand: o.operand, value: values[i] ?? constant(0, 'f32') })) },
      buffers: all.map((o) => o.bytes),
    }
  })

/** Float sums and products of these are exact in any order. */
function exactly(op: ReduceOp, e: Expression): Expression {
  if (e.type !== 'f32') return e
  if (op === 'sum') return unary('cast', binary('and', unary('cast', e, 'i32'), constant(63, 'i32')), 'f32')
  return op === 'prod' ? choose(binary('lt', e, constant(1, 'f32')), constant(-1, 'f32'), constant(1, 'f32')) : e
}

export interface ReduceCase {
  readonly d: ReduceDescriptor
  readonly buffers: readonly Uint8Array[]
}

export const reduceCases = (operations: Operations = exact, stored: readonly StorageType[] = storageTypes): fc.Arbitrary<ReduceCase> => fc.record({
  full: shapes(4), split: fc.nat(4), op: fc.constantFrom<ReduceOp>('sum', 'max', 'min', 'prod'), type: fc.constantFrom<ScalarType>(...scalarTypes),
  types: fc.array(fc.constantFrom(...stored), { maxLength: 3 }), results: fc.array(fc.constantFrom(...stored), { minLength: 1, maxLength: 2 }),
})
  .filter(({ op, type }) => type !== 'bool' || op === 'max' || op === 'min')
  .chain(({ full, split, op, type, types, results }) => {
    const shape = full.slice(0, split)
    return fc.record({
      shape: fc.constant(shape), reduced: fc.constant(full.slice(split)), op: fc.constant(op),
      inputs: fc.tuple(...types.map((t) => randomOperand(full, t, false))),
      element: randomExpression(type, types, full.length, [], operations),
      outputs: fc.tuple(...results.map((t) => randomOperand(shape, t, true))),
      values: fc.tuple(...results.map((t) => randomExpression(scalarOf[t], types, shape.length, [accumulator(type)], operations))),
    })
  })
  .map(({ shape, reduced, op, inputs, element, outputs, values }) => {
    const all: RandomOperand[] = [...inputs, ...outputs]
    return {
      d: { shape, reduced, op, element: exactly(op, element), inputs: inputs.map((i) => i.operand), outputs: outputs.map((o, i) => ({ operand: o.operand, value: values[i] ?? constant(0, 'f32') })) },
      buffers: all.map((o) => o.bytes),
    }
  })
  // At reduced position 0 of an empty reduction there is no element to read.
  .filter(({ d }) => !d.reduced.includes(0) || d.inputs.length === 0)
