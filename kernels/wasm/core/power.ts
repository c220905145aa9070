/** xʸ for four f32 lanes. */
import { type Code, f32x4, f64x2, i64x2, v128 } from './assembler.ts'
import { double, doublePolynomial, joinLow, promote } from './doubles.ts'
import { splitExponent } from './floats.ts'
import type { VectorScope } from './scope.ts'

const roundingShift = 1.5 * 2 ** 52
const one64 = [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]

/** log₂ m = 2/ln 2 · atanh((m − 1)/(m + 1)); seven terms of the series give 2⁻³⁹ on [√½, √2]. */
const atanhTerms = [13, 11, 9, 7, 5, 3, 1].map((n) => 2 / (n * Math.LN2))

/** 2ʳ by nine terms of the exponential series, 2⁻³² on |r| ≤ ½. */
const powerTerms = [8, 7, 6, 5, 4, 3, 2, 1, 0].map((n) => Math.LN2 ** n / factorial(n))

function factorial(n: number): number {
  return n === 0 ? 1 : n * factorial(n - 1)
}

/** 2^(y·(k + log₂ m)) for two lanes, in f64: y·log₂ x needs eight more digits than f32 has. */
function powerOfHalf(scope: VectorScope, k: Code, m: Code, y: Code): Code {
  const s = scope.keep(f64x2.div(f64x2.sub(m, double(scope, 1)), f64x2.add(m, double(scope, 1))))
  const z = scope.keep(f64x2.mul(s, s))
  const log2 = f64x2.add(f64x2.mul(doublePolynomial(scope, z, atanhTerms), s), k)
  const t = scope.keep(f64x2.pmax(f64x2.pmin(f64x2.mul(log2, y), double(scope, 200)), double(scope, -200)))
  const shifted = scope.keep(f64x2.add(t, double(scope, roundingShift)))
  const r = scope.keep(f64x2.sub(t, f64x2.sub(shifted, double(scope, roundingShift))))
  const scale = i64x2.add(i64x2.shl(shifted, 52), scope.bytes([...one64, ...one64]))
  return scope.keep(f64x2.demote(f64x2.mul(doublePolynomial(scope, r, powerTerms), scale)))
}

/** xʸ within 0.51 ulp, special cases as in C99: x⁰ = 1ʸ = 1; negative x takes integer y alone. */
export function pow(scope: VectorScope, x: Code, y: Code): Code {
  const a = scope.keep(f32x4.abs(x))
  const { k: exponent, m } = splitExponent(scope, a)
  // log₂ of ∞ and NaN is themselves, of zero −∞.
  const finite = f32x4.lt(a, scope.f32(Infinity))
  const k = scope.keep(v128.select(scope.f32(-Infinity), v128.select(exponent, a, finite), f32x4.eq(a, scope.f32(0))))
  const [ks, ms, ys] = [promote(scope, k), promote(scope, m), promote(scope, y)]
  const size = joinLow(powerOfHalf(scope, ks[0], ms[0], ys[0]), powerOfHalf(scope, ks[1], ms[1], ys[1]))

  const integer = scope.keep(f32x4.eq(y, f32x4.nearest(y)))
  const half = scope.keep(f32x4.mul(y, scope.f32(0.5)))
  const odd = v128.and(integer, f32x4.ne(half, f32x4.nearest(half)))
  const signed = v128.or(size, v128.and(v128.and(x, odd), scope.i32(0x80000000)))
  const complex = v128.andnot(v128.and(f32x4.lt(x, scope.f32(0)), finite), integer)
  const still = v128.and(f32x4.eq(a, scope.f32(1)), f32x4.eq(f32x4.abs(y), scope.f32(Infinity)))
  const one = v128.or(v128.or(f32x4.eq(y, scope.f32(0)), f32x4.eq(x, scope.f32(1))), still)
  return v128.select(scope.f32(1), v128.or(signed, complex), one)
}
