import { describe, expect, test } from 'vitest'
import { erf } from '../../kernels/ir/erf.ts'
import { binary, constant, load, type BinaryOp, type Expression, type UnaryOp, unary } from '../../kernels/ir/expression.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { runKernel } from './run.ts'
import { error, pairs, samples, sigmoid, worst } from './ulps.ts'

function compute(value: Expression, ...inputs: readonly Float32Array<ArrayBuffer>[]): Float32Array {
  const n = inputs[0]?.length ?? 0
  const operand = { dtype: 'f32', strides: [1], offset: 0 } as const
  const y = new Float32Array(n)
  const bytes = [...inputs, y].map((x) => new Uint8Array(x.buffer))
  runKernel(mapKernel({ shape: [n], inputs: inputs.map(() => operand), outputs: [{ operand, value }] }), bytes)
  return y
}

const op = (name: UnaryOp): Expression => unary(name, load(0, 'f32'))
const op2 = (name: BinaryOp): Expression => binary(name, load(0, 'f32'), load(1, 'f32'))

describe('within a few units of the last place of the exact value', () => {
  test.each<[UnaryOp, (x: number) => number, number, number]>([
    ['exp', Math.exp, 110, 1], ['log', Math.log, 10, 0.8], ['log2', Math.log2, 10, 1.6], ['log2', Math.log2, 3e38, 1.6], ['expm1', Math.expm1, 3, 1.6], ['expm1', Math.expm1, 100, 1.6], ['log1p', Math.log1p, 2, 0.8],
    ['tanh', Math.tanh, 10, 1.3], ['sigmoid', sigmoid, 110, 2.2], ['erf', erf, 4.5, 1.1],
  ])('%s', (name, exact, range, limit) => {
    const x = samples(range)
    const { ulps, at } = worst(compute(op(name), x), (i) => exact(x[i] ?? NaN))
    expect(ulps, `worst at ${x[at]}`).toBeLessThanOrEqual(limit)
  })

  test.each<[UnaryOp, (x: number) => number]>([['sin', Math.sin], ['cos', Math.cos]])('%s', (name, exact) => {
    for (const range of [4, 100, 1e5, 2 ** 28, 2 ** 30, 1e12, 3.4e38]) {
      const x = samples(range, 60_000)
      const { ulps, at } = worst(compute(op(name), x), (i) => exact(x[i] ?? NaN))
      expect(ulps, `worst at ${x[at]}`).toBeLessThanOrEqual(1.5)
    }
  })

  test('sin and cos of every exponent, of numbers next to multiples of π/2, and beside numbers of any size', () => {
    const exponents = Float32Array.from({ length: 254 * 64 }, (_, i) => (i % 2 === 0 ? 1 : -1) * 2 ** ((i >> 6) - 126) * (1 + ((i * 0.7548776662466927) % 1)))
    // The nearest that f32 comes to multiples of π/2, as far as these were sought.
    const close = Float32Array.of(1.7957846e15, 1.6367e38, 16_367_173 * 2 ** 72, 3.4028234663852886e38, 2 ** 28, 2 ** 28 - 16, 268_435_488, 12_390_656 * 2 ** 104)
    const mixed = exponents.map((x, i) => (i % 3 === 0 ? x : i % 7 === 0 ? Infinity : (i % 5) - 2.5))
    for (const x of [exponents, close, mixed, mixed.toReversed()]) {
      for (const [name, exact] of [['sin', Math.sin], ['cos', Math.cos]] as const) {
        const { ulps, at } = worst(compute(op(name), x), (i) => exact(x[i] ?? NaN))
        expect(ulps, `worst at ${x[at]}`).toBeLessThanOrEqual(1.5)
      }
    }
  })

  test('sin and cos do not depend on what lies beside them', () => {
    const x = samples(1e3, 4096)
    const beside = x.map((v, i) => (i % 4 === 1 ? 1e20 : v))
    for (const name of ['sin', 'cos'] as const) {
      const [alone, both] = [compute(op(name), x), compute(op(name), beside)]
      expect(both.findIndex((v, i) => i % 4 !== 1 && !Object.is(v, alone[i]))).toBe(-1)
    }
  })

  test('pow', () => {
    for (const range of [1, 3, 60]) {
      const x = samples(10, 40_000).map(Math.abs)
      const y = new Float32Array(x.length).map((_, i) => (((i * 0.5698402909980532) % 1) * 2 - 1) * range)
      const { ulps, at } = worst(compute(op2('pow'), x, y), (i) => (x[i] ?? 0) ** (y[i] ?? 0))
      expect(ulps, `worst at ${x[at]} ** ${y[at]}`).toBeLessThanOrEqual(0.51)
    }
  })

  test('atan, which is atan2 beside 1', () => {
    for (const range of [1, 10, 1e-30, 3e38]) {
      const x = samples(range, 60_000)
      const { ulps, at } = worst(compute(binary('atan2', load(0, 'f32'), constant(1, 'f32')), x), (i) => Math.atan(x[i] ?? 0))
      expect(ulps, `worst at ${x[at]}`).toBeLessThanOrEqual(2.8)
    }
  })

  test('atan2', () => {
    for (const range of [1, 1e-30, 1e30, 3e38]) {
      const x = samples(range, 40_000)
      const y = new Float32Array(x.length).map((_, i) => (((i * 0.5698402909980532) % 1) * 2 - 1) * range)
      const { ulps, at } = worst(compute(op2('atan2'), y, x), (i) => Math.atan2(y[i] ?? 0, x[i] ?? 0))
      expect(ulps, `worst at ${y[at]}, ${x[at]}`).toBeLessThanOrEqual(2.7)
    }
  })
})

const [left, right] = [new Float32Array(pairs.map(([x]) => x)), new Float32Array(pairs.map(([, y]) => y))]

test('pow of special values is that of C99', () => {
  const got = compute(op2('pow'), left, right)
  pairs.forEach((_, i) => {
    const [x, y] = [left[i] ?? 0, right[i] ?? 0]
    const expected = x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y
    expect(error(got[i] ?? 0, expected), `${x} ** ${y} is ${expected}, not ${got[i]}`).toBeLessThanOrEqual(0.51)
  })
})

test('atan2 of special values is that of C99', () => {
  const got = compute(op2('atan2'), left, right)
  pairs.forEach((_, i) => {
    const [y, x] = [left[i] ?? 0, right[i] ?? 0]
    expect(error(got[i] ?? 0, Math.atan2(y, x)), `atan2(${y}, ${x}) is ${Math.atan2(y, x)}, not ${got[i]}`).toBeLessThanOrEqual(3)
  })
})

test('erf in float64', () => {
  // Abramowitz & Stegun, table 7.1, and mpmath.
  const table: [number, number][] = [[0, 0], [0.1, 0.1124629160182849], [0.5, 0.5204998778130465], [1, 0.8427007929497149], [2, 0.9953222650189527], [3, 0.9999779095030014], [3.1, 0.9999883513426328], [5.5, 0.9999999999999927], [Infinity, 1]]
  for (const [x, y] of table) {
    expect(Math.abs(erf(x) - y)).toBeLessThanOrEqual(1e-15)
    expect(erf(-x)).toBe(-erf(x))
  }
  expect(erf(NaN)).toBeNaN()
})
