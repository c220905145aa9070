/**
 * Four f32 lanes computed as two pairs of f64, for the few functions whose f32 result needs more
 * digits on the way.
 */
import { type Code, f64x2, i64x2 } from './assembler.ts'
import type { VectorScope } from './scope.ts'

/** A vector of two equal doubles. */
export function double(scope: VectorScope, value: number): Code {
  return scope.bytes([...new Uint8Array(new Float64Array([value, value]).buffer)])
}

/** The lower and the upper two lanes of f32 `x` as doubles. */
export const promote = (scope: VectorScope, x: Code): readonly [Code, Code] => [
  scope.keep(f64x2.promoteLow(x)),
  scope.keep(f64x2.promoteLow(i64x2.splat(i64x2.extract(x, 1)))),
]

/** One vector of the lower halves of two; lanes move as a scalar, as V8's revectorizer gets shuffles wrong. */
export const joinLow = (low: Code, high: Code): Code => i64x2.replace(low, 1, i64x2.extract(high, 0))

/** `polynomial` for f64 lanes, highest power first. */
export function doublePolynomial(scope: VectorScope, x: Code, coefficients: readonly number[]): Code {
  const [highest = 0, ...rest] = coefficients
  return rest.reduce<Code>((sum, c) => f64x2.add(f64x2.mul(sum, x), double(scope, c)), double(scope, highest))
}
