/** Arbitraries of calls: operands with values that suit an op, and its attributes. What the op table's rows are made of. */
import * as fc from 'fast-check'
import type { DType } from '../engine/dtype.ts'
import type { Shape } from '../engine/shape.ts'
import type { Input, SampleOptions, ShapeOptions } from '../testing/index.ts'
import { sample, shapes } from '../testing/index.ts'

export interface Call<A extends object = object> {
  readonly operands: readonly Input[]
  readonly attributes: A
}
export type Calls<A extends object = object> = fc.Arbitrary<Call<A>>

export interface Row<A extends object = object> {
  /** Where the op is compared with the reference: every awkward size, edge values. */
  readonly calls: Calls<A>
  /** Where its gradient is compared with finite differences: small, away from kinks. Default `calls`; null: it has none. */
  readonly smooth?: Calls<A> | null
}

export type Range = readonly [low: number, high: number]

/** Small enough that every element's derivative is felt. */
export const small: ShapeOptions = { sizes: [0, 1, 2, 3, 5], elements: 40 }

/** One operand each; no two of them get the same numbers, since equal operands are a kink of many ops. */
export function operands(...each: readonly fc.Arbitrary<Input>[]): fc.Arbitrary<readonly Input[]> {
  return fc.tuple(...each).map((list) => list.map((x, i) => (typeof x === 'object' && 'seed' in x ? { ...x, seed: x.seed + 1000 * i } : x)))
}

export function call<A extends object>(inputs: fc.Arbitrary<readonly Input[]>, attributes: A): Calls<A> {
  return inputs.map((list) => ({ operands: list, attributes }))
}

/** `count` operands of one shape. */
export function alike(count: number, shape: fc.Arbitrary<Shape>, options: SampleOptions = {}): fc.Arbitrary<readonly Input[]> {
  return shape.chain((s) => operands(...Array.from({ length: count }, () => sample(s, options))))
}

/** What goes wrong at the edges: halves, zeros of both signs, infinities, NaN. */
const edges = [0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, -1e8, Infinity, -Infinity, NaN]

/** All combinations of edge values. */
function edgeOperands(count: number): readonly Input[] {
  const n = edges.length
  return Array.from({ length: count }, (_, i) => Float32Array.from({ length: n ** count }, (__, j) => edges[Math.floor(j / n ** i) % n] ?? 0))
}

/** Floats in `range` and edge values; gradients within `smooth`. */
export function floats(count: number, range: Range, smooth: Range | null = range): Row {
  const drawn = alike(count, shapes(), { range })
  return {
    calls: call(fc.oneof({ weight: 8, arbitrary: drawn }, { weight: 1, arbitrary: fc.constant(edgeOperands(count)) }), {}),
    smooth: smooth === null ? null : call(alike(count, shapes(small), { range: smooth }), {}),
  }
}

/** Integers of several types in `range`. */
export function integers(count: number, ranges: Readonly<Partial<Record<DType, Range>>>): Calls {
  const types: readonly DType[] = ['i32', 'u32', 'u8', 'bool']
  return fc.oneof(...types.flatMap((dtype) => {
    const range = ranges[dtype]
    return range === undefined ? [] : [call(alike(count, shapes({ elements: 1100 }), { dtype, range }), {})]
  }))
}

/** Rows that take both. */
export function numbers(count: number, range: Range, smooth: Range | null = range): Row {
  const own = floats(count, range, smooth)
  return { ...own, calls: fc.oneof({ weight: 2, arbitrary: own.calls }, { weight: 1, arbitrary: integers(count, { i32: [-9, 9], u32: [0, 9] }) }) }
}

/** A shape, some of its axes in ascending order, and an operand. */
export function reduction(options: ShapeOptions, samples: SampleOptions): Calls<{ axes: readonly number[] }> {
  return shapes({ rank: [1, 3], ...options }).chain((shape) =>
    fc.record({ axes: fc.subarray([...shape.keys()], { minLength: 1 }), list: operands(sample(shape, samples)) }).map(({ axes, list }) => ({ operands: list, attributes: { axes } })),
  )
}

/** An operand and an axis of it. */
export function alongAxis<A extends object>(options: ShapeOptions, samples: SampleOptions, attributes: (axis: number) => fc.Arbitrary<A>, count = 1): Calls<A> {
  return shapes({ rank: [1, 3], ...options }).chain((shape) =>
    fc.nat(shape.length - 1).chain((axis) => fc.record({ operands: operands(...Array.from({ length: count }, () => sample(shape, samples))), attributes: attributes(axis) })),
  )
}
