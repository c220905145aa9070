import { describe, expect, test } from 'vitest'
import type { Operand } from '../../../kernels/ir/descriptor.ts'
import { erf } from '../../../kernels/ir/erf.ts'
import { compileExpression } from '../../../kernels/ir/evaluate.ts'
import { binary, type BinaryOp, constant, type Expression, load, type ScalarType, unary, type UnaryOp } from '../../../kernels/ir/expression.ts'
import { roundToF16 } from '../../../kernels/ir/rounding.ts'
import { emitExpressions } from '../../../kernels/wgsl/core/emit.ts'
import { floor } from '../../../kernels/wgsl/core/kernel.ts'
import { mapKernel } from '../../../kernels/wgsl/elementwise/map.ts'
import { edges, exactBinaries, exactUnaries, scalarTypes } from '../edges.ts'
import { elementBytes } from '../naive.ts'
import { error, pairs, samples, sigmoid } from '../ulps.ts'
import { gpu, runWgsl } from './run.ts'
import { numbers, withoutTiny, type Words } from './words.ts'

const arrays = { f32: Float32Array, i32: Int32Array, u32: Uint32Array, bool: Uint32Array } as const
const packed = (dtype: ScalarType, offset = 0): Operand => ({ dtype, strides: [1], offset })

/** `values` on pairs of numbers of `type`, all computed by one kernel, which writes them one after the other into one buffer. */
async function compute(type: ScalarType, values: readonly Expression[], inputs: readonly (readonly [number, number])[]): Promise<Words[]> {
  const n = inputs.length
  const operands = [0, 1].map((side) => new arrays[type](inputs.map((pair) => pair[side] ?? 0)))
  const results = new Uint32Array(n * values.length)
  const outputs = values.map((value, i) => ({ operand: packed(value.type, i * n), value }))
  await runWgsl(mapKernel({ shape: [n], inputs: [packed(type), packed(type)], outputs }, floor, [0, 1, ...values.map(() => 2)]), [...operands, results])
  return values.map((value, i) => new arrays[value.type](results.buffer, i * n * elementBytes.u32, n))
}

describe.skipIf(gpu === undefined)('kernel and evaluator agree on edge values', () => {
  // Quotients and roots may miss by some units of the last place: see below.
  const inexact: readonly string[] = ['div', 'sqrt']

  test.each(scalarTypes)('of %s', async (type) => {
    const [x, y] = [load(0, type), load(1, type)]
    const values = [
      ...exactBinaries[type].filter((op) => !inexact.includes(op)).map((op) => binary(op, x, y)),
      ...exactUnaries[type].filter((op) => !inexact.includes(op)).map((op) => unary(op, x)),
      ...scalarTypes.map((to) => unary('cast', x, to)),
      ...(type === 'f32' ? [unary('half', x), ...(['sub', 'eq', 'ne', 'lt', 'le'] as const).map((op) => binary(op, x, x)), binary('eq', binary('sub', x, x), constant(0, 'f32'))] : []),
      ...(type === 'i32' || type === 'u32' ? [0, 3, 31, 32].flatMap((count) => (['shl', 'shr'] as const).map((op) => binary(op, x, constant(count, type)))) : []),
      ...edges[type].map((value) => constant(withoutTiny(value), type)).flatMap((c) => (type === 'f32' ? [binary('max', x, c)] : [binary('lt', x, c)])),
      ...(type === 'f32' ? [binary('sub', x, x), binary('add', unary('neg', y), y), ...[0, -0].map((zero) => binary('div', x, constant(zero, type)))] : []),
    ]
    const inputs = edges[type].map((x) => (type === 'f32' ? Math.fround(withoutTiny(x)) : x)).flatMap((a, _, all) => all.map((b): [number, number] => [a, b]))
    const got = await compute(type, values, inputs)
    values.forEach((value, i) => {
      const evaluator = compileExpression(value, { rounding: Math.fround })
      const expected = inputs.map((pair) => withoutTiny(evaluator((o) => pair[o] ?? 0, () => 0, 0)))
      expect(numbers(got[i] ?? []), `${value.op} to ${value.type}`).toEqual(numbers(expected))
    })
  })
})

/** As `error`, where a device may flush arguments, summands and results that are denormal. */
function flushedError(got: number, exact: number, flushed: number): number {
  const usual = got === 0 && Math.fround(exact) === 0 ? 0 : error(got, exact)
  // As much as the largest denormal, which a sum may have lost.
  return Math.min(usual, Math.abs(got - exact) <= 2 ** -126 ? 0 : Infinity, got === 0 && flushed === 0 ? 0 : error(got, flushed))
}

describe.skipIf(gpu === undefined)('within a few units of the last place of the exact value', () => {
  const flush = (x: number): number => (Math.abs(x) < 2 ** -126 ? x * Number.MIN_VALUE : x)
  const worst = (got: Words, exact: (i: number, argument: (x: number) => number) => number): { ulps: number; at: number } => {
    let [ulps, at] = [0, -1]
    got.forEach((y, i) => {
      const e = flushedError(y, exact(i, (x) => x), exact(i, flush))
      if (!(e <= ulps)) [ulps, at] = [e, i]
    })
    return { ulps, at }
  }

  test.each<[UnaryOp, (x: number) => number, number, number]>([
    ['exp', Math.exp, 110, 1.5], ['log', Math.log, 10, 1], ['log2', Math.log2, 10, 2.2], ['expm1', Math.expm1, 3, 1.6], ['expm1', Math.expm1, 100, 1.6], ['log1p', Math.log1p, 2, 1.5],
    ['tanh', Math.tanh, 10, 1.5], ['sigmoid', sigmoid, 110, 2.5], ['erf', erf, 4.5, 1.3], ['sqrt', Math.sqrt, 1000, 2.5],
    ['sin', Math.sin, 4, 2.5], ['cos', Math.cos, 4, 2.5], ['sin', Math.sin, 1e5, 2.5], ['cos', Math.cos, 1e5, 2.5], ['sin', Math.sin, 3e38, 2.5], ['cos', Math.cos, 3e38, 2.5],
  ])('%s', async (name, exact, limit, ulps) => {
    const x = samples(limit, 30_000)
    const [got = new Float32Array()] = await compute('f32', [unary(name, load(0, 'f32'))], Array.from(x, (v): [number, number] => [v, 0]))
    const found = worst(got, (i, argument) => exact(argument(x[i] ?? NaN)))
    expect(found.ulps, `worst at ${x[found.at]}`).toBeLessThanOrEqual(ulps)
  })

  test('half: to nearest, ties to even', async () => {
    // Every f16, both neighbours of the middle between it and the next, and that.
    const x = Array.from({ length: 0x7c00 }, (_, bits) => {
      const [low, high] = [bits, bits + 1].map((b) => (b >> 10 === 0 ? b * 2 ** -24 : (1024 + (b & 1023)) * 2 ** ((b >> 10) - 25)))
      const middle = ((low ?? 0) + (high ?? 0)) / 2
      return [low ?? 0, middle * (1 - 2 ** -12), middle, -middle * (1 + 2 ** -12)]
    }).flat()
    const [got = new Float32Array()] = await compute('f32', [unary('half', load(0, 'f32'))], x.map((v): [number, number] => [v, 0]))
    const wrong = x.filter((v, i) => !Object.is(got[i], roundToF16(Math.fround(v))))
    expect(wrong).toEqual([])
  })

  const torch = (x: number, y: number): number => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y)
  test.each<[BinaryOp, (x: number, y: number) => number, readonly number[], number]>([
    ['pow', torch, [1, 3, 60, 1e9], 1.5], ['atan2', Math.atan2, [1, 1e-30, 1e30, 3e38], 3], ['div', (x, y) => x / y, [1, 1e-30, 1e30], 2.5],
  ])('%s', async (name, exact, ranges, ulps) => {
    for (const limit of ranges) {
      const x = samples(name === 'pow' ? 10 : limit, 20_000).map((v) => (name === 'pow' ? Math.abs(v) : v))
      const inputs = [...Array.from(x, (v, i): [number, number] => [v, Math.fround((((i * 0.5698402909980532) % 1) * 2 - 1) * limit)]), ...pairs.map(([a, b]): [number, number] => [Math.fround(a), Math.fround(b)])]
      const [got = new Float32Array()] = await compute('f32', [binary(name, load(0, 'f32'), load(1, 'f32'))], inputs)
      const found = worst(got, (i, argument) => exact(argument(inputs[i]?.[0] ?? NaN), argument(inputs[i]?.[1] ?? NaN)))
      expect(found.ulps, `worst at ${inputs[found.at]?.join()}: ${got[found.at]}`).toBeLessThanOrEqual(ulps)
    }
  })
})

test('a shared node is computed once, and loads of one operand are one', () => {
  const x = unary('exp', load(0, 'f32'))
  const { lines, values } = emitExpressions([binary('mul', x, x), binary('add', x, load(0, 'f32'))], () => 'x')
  expect(lines).toEqual(['let v0 = x;', 'let v1 = expF32(v0);', 'let v2 = v1 * v1;', 'let v3 = v1 + v0;'])
  expect(values).toEqual(['v2', 'v3'])
})

test('what is computed alike is one value, and a difference of a value and itself is told', () => {
  const [x, y] = [load(0, 'f32'), load(1, 'f32')]
  const sum = (): Expression => binary('add', x, y)
  const { lines } = emitExpressions([binary('sub', sum(), sum()), binary('add', unary('neg', sum()), sum()), binary('sub', load(0, 'i32'), load(0, 'i32'))], ({ value }) => `x${value}`)
  expect(lines).toEqual(['let v0 = x0;', 'let v1 = x1;', 'let v2 = v0 + v1;', 'let v3 = minusItselfF32(v2);', 'let v4 = -v2;', 'let v5 = minusItselfF32(v4);', 'let v6 = x0;', 'let v7 = v6 - v6;'])
})

test('names an operation that a type lacks', () => {
  expect(() => emitExpressions([unary('not', load(0, 'f32'))], () => 'x')).toThrow('emit: no not of f32')
})
