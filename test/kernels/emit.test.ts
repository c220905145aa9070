import { describe, expect, test } from 'vitest'
import { castScalar, compileExpression } from '../../kernels/ir/evaluate.ts'
import { binary, choose, constant, type Expression, expressionKey, index, load, type ScalarType, unary } from '../../kernels/ir/expression.ts'
import { hoist } from '../../kernels/ir/nodes.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { edges, exactBinaries, exactUnaries, scalarTypes } from './edges.ts'
import { elementBytes, readElement, writeElement } from './naive.ts'
import { runKernel } from './run.ts'

/** `e` on every pair of edge values of `type`, by kernel and by evaluator. */
function both(e: Expression, type: ScalarType): { got: number[]; expected: number[]; pairs: [number, number][] } {
  const pairs = edges[type].flatMap((x) => edges[type].map((y): [number, number] => [x, y]))
  const buffers = [type, type, e.type].map((t) => new Uint8Array(elementBytes[t] * pairs.length))
  pairs.forEach((pair, i) => pair.forEach((value, o) => writeElement(buffers[o] ?? new Uint8Array(0), type, i, value)))
  const operand = (dtype: ScalarType) => ({ dtype, strides: [1], offset: 0 })
  runKernel(mapKernel({ shape: [pairs.length], inputs: [operand(type), operand(type)], outputs: [{ operand: operand(e.type), value: e }] }), buffers)
  const evaluator = compileExpression(e, { rounding: Math.fround })
  const element = (o: number, i: number): number => readElement(buffers[o] ?? new Uint8Array(0), type, i)
  return {
    pairs,
    got: pairs.map((_, i) => readElement(buffers[2] ?? new Uint8Array(0), e.type, i)),
    expected: pairs.map((_, i) => evaluator((o) => element(o, i), () => i, 0)),
  }
}

describe('kernel and evaluator agree on edge values', () => {
  test.each(scalarTypes.flatMap((type) => exactBinaries[type].map((op) => [type, op] as const)))('%s %s', (type, op) => {
    const { got, expected } = both(binary(op, load(0, type), load(1, type)), type)
    expect(got).toEqual(expected)
  })

  test.each(scalarTypes.flatMap((type) => exactUnaries[type].map((op) => [type, op] as const)))('%s %s', (type, op) => {
    const { got, expected } = both(unary(op, load(0, type)), type)
    expect(got).toEqual(expected)
  })

  test.each(scalarTypes.flatMap((from) => scalarTypes.map((to) => [from, to] as const)))('%s cast to %s', (from, to) => {
    const { got, expected } = both(unary('cast', load(0, from), to), from)
    expect(got).toEqual(expected)
  })

  test.each([0, 3, 31, 32])('shifts by the constant %i', (count) => {
    for (const type of ['i32', 'u32'] as const) for (const op of ['shl', 'shr'] as const) {
      const { got, expected } = both(binary(op, load(0, type), constant(count, type)), type)
      expect(got).toEqual(expected)
    }
  })
})

describe('evaluator', () => {
  const value = (e: Expression): number => compileExpression(e)(() => NaN, () => 0, 0)
  const f = (x: number): Expression => constant(x, 'f32')

  test.each([[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, -0], [-1.5, -2], [-2.5, -2], [2.6, 3], [-2.6, -3], [1048577.5, 1048578], [-0, -0], [Infinity, Infinity]])('round %d is %d', (x, y) => expect(value(unary('round', f(x)))).toBe(y))
  test.each<[number, ScalarType, number]>([[-1.9, 'i32', -1], [3e9, 'i32', 2147483647], [-3e9, 'i32', -2147483648], [NaN, 'i32', 0], [-5, 'u32', 0], [3e9, 'u32', 3e9], [1e10, 'u32', 4294967295], [NaN, 'bool', 1], [-0, 'bool', 0]])('%d as %s is %d', (x, type, y) => expect(castScalar(x, 'f32', type)).toBe(y))
  test('computes f32 in float64 unless asked to round', () => {
    const e = binary('add', f(0.1), f(0.2))
    expect(value(e)).toBe(0.1 + 0.2)
    expect(compileExpression(e, { rounding: Math.fround })(() => 0, () => 0, 0)).toBe(Math.fround(Math.fround(0.1) + Math.fround(0.2)))
  })
  test('computes a shared node once', () => {
    let loads = 0
    let e: Expression = load(0, 'f32')
    for (let i = 0; i < 40; i++) e = binary('mul', e, e)
    expect(compileExpression(e)(() => { loads++; return 1 }, () => 0, 0)).toBe(1)
    expect(loads).toBe(1)
  })
  test('names an operation that a type lacks', () => {
    expect(() => compileExpression(unary('not', f(1)))).toThrow('evaluate: no not of f32')
    expect(() => mapKernel({ shape: [1], inputs: [], outputs: [{ operand: { dtype: 'f32', strides: [1], offset: 0 }, value: unary('not', f(1)) }] }).build()).toThrow('emit: no not of f32')
  })
})

test('what does not vary is hoisted, as large as possible', () => {
  const scale = binary('mul', unary('exp', load(1, 'f32')), constant(2, 'f32'))
  const row = binary('add', load(2, 'f32'), scale)
  const root = choose(binary('lt', index(0), constant(3, 'i32')), binary('mul', load(0, 'f32'), row), scale)
  const levels: Readonly<Record<number, number>> = { 0: 2, 1: 0, 2: 1 }
  const [once, perRow] = hoist([root], 2, (e) => (e.op === 'index' ? 2 : (levels[e.value] ?? 2)))
  expect(once).toEqual([scale])
  expect(perRow).toEqual([row])
})

test('the key tells shared nodes from repeated ones, and −0 from 0', () => {
  const x = unary('exp', load(0, 'f32'))
  expect(expressionKey([binary('add', x, x)])).not.toBe(expressionKey([binary('add', x, unary('exp', load(0, 'f32')))]))
  expect(expressionKey([constant(-0, 'f32')])).not.toBe(expressionKey([constant(0, 'f32')]))
})
