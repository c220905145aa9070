/**
 * Exponentials, logarithms and what is made of them, for four f32 lanes. Accuracies are the largest
 * errors found in `test/kernels/approximations.test.ts`, in units of the last place of the result.
 * Every function takes a value that is free to repeat. pmin and pmax, unlike min and max, are one
 * instruction; with the variable first they let NaN through.
 */
import { type Code, f32x4, i32x4, v128 } from './assembler.ts'
import { polynomial, signBit, splitExponent, withSignOf } from './floats.ts'
import type { VectorScope } from './scope.ts'

/** Adding 1.5·2²³ to a small float rounds it to an integer, which is then in the low bits. */
const roundingShift = 1.5 * 2 ** 23
const roundingBits = 0x4b400000

/** 2ⁿ for integers −127 < n < 128. */
const powerOfTwo = (scope: VectorScope, n: Code): Code => i32x4.shl(i32x4.add(n, scope.i32(127)), 23)

/** x = n·ln 2 + r with |r| ≤ ½ ln 2 (Cody & Waite's two-part ln 2); gives n and eʳ − 1 (Cephes' expf). */
function reduceExp(scope: VectorScope, x: Code): { n: Code; expm1: Code } {
  const shifted = scope.keep(f32x4.add(f32x4.mul(x, scope.f32(Math.LOG2E)), scope.f32(roundingShift)))
  const n = scope.keep(f32x4.sub(shifted, scope.f32(roundingShift)))
  const r = scope.keep(f32x4.sub(f32x4.sub(x, f32x4.mul(n, scope.f32(0.693359375))), f32x4.mul(n, scope.f32(-2.12194440e-4))))
  const p = polynomial(scope, r, [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1])
  return { n: i32x4.sub(shifted, scope.i32(roundingBits)), expm1: f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r) }
}

/** eˣ within 1 ulp. Gradual underflow: 2ⁿ is applied in two factors. */
export function exp(scope: VectorScope, x: Code): Code {
  const clamped = scope.keep(f32x4.pmax(f32x4.pmin(x, scope.f32(89)), scope.f32(-104)))
  const { n, expm1 } = reduceExp(scope, clamped)
  const whole = scope.keep(n)
  const half = scope.keep(i32x4.shr(whole, 1))
  const scaled = f32x4.mul(f32x4.add(expm1, scope.f32(1)), powerOfTwo(scope, half))
  return f32x4.mul(scaled, powerOfTwo(scope, i32x4.sub(whole, half)))
}

/** eˣ for |x| ≤ 80, or NaN. */
function expSmall(scope: VectorScope, x: Code): Code {
  const { n, expm1 } = reduceExp(scope, x)
  return f32x4.mul(f32x4.add(expm1, scope.f32(1)), powerOfTwo(scope, n))
}

/** eˣ − 1 within 1.6 ulp. 2ⁿ(eʳ − 1) + (2ⁿ − 1), halved until the end lest 2¹²⁸ overflow. */
export function expm1(scope: VectorScope, x: Code): Code {
  const clamped = scope.keep(f32x4.pmax(f32x4.pmin(x, scope.f32(89)), scope.f32(-40)))
  const { n, expm1: p } = reduceExp(scope, clamped)
  const scale = scope.keep(powerOfTwo(scope, i32x4.sub(n, scope.i32(1))))
  const half = scope.keep(f32x4.add(f32x4.mul(scale, p), f32x4.sub(scale, scope.f32(0.5))))
  return v128.select(x, f32x4.add(half, half), f32x4.lt(f32x4.abs(x), scope.f32(2 ** -25)))
}

/** ln(1 + f) + k·ln 2 + correction, as fdlibm's logf. */
function logOf(scope: VectorScope, k: Code, f: Code, correction?: Code): Code {
  const s = scope.keep(f32x4.div(f, f32x4.add(f, scope.f32(2))))
  const z = scope.keep(f32x4.mul(s, s))
  const w = scope.keep(f32x4.mul(z, z))
  const even = f32x4.mul(w, polynomial(scope, w, [0.24279078841, 0.40000972152]))
  const odd = f32x4.mul(z, polynomial(scope, w, [0.28498786688, 0.66666662693]))
  const square = scope.keep(f32x4.mul(scope.f32(0.5), f32x4.mul(f, f)))
  const low = f32x4.mul(k, scope.f32(9.0580006145e-6))
  const tail = f32x4.add(f32x4.mul(s, f32x4.add(square, f32x4.add(odd, even))), correction === undefined ? low : f32x4.add(low, correction))
  return f32x4.add(f32x4.sub(f, f32x4.sub(square, tail)), f32x4.mul(k, scope.f32(6.9313812256e-1)))
}

/** ln x within 0.8 ulp: −∞ at 0, NaN below. */
export function log(scope: VectorScope, x: Code): Code {
  const { k, m } = splitExponent(scope, x)
  return logarithm(scope, logOf(scope, k, scope.keep(f32x4.sub(m, scope.f32(1)))), x)
}

/** log₂ x within 1.6 ulp, and exact for powers of two. */
export function log2(scope: VectorScope, x: Code): Code {
  const { k, m } = splitExponent(scope, x)
  const fraction = logOf(scope, scope.f32(0), scope.keep(f32x4.sub(m, scope.f32(1))))
  return logarithm(scope, f32x4.add(f32x4.mul(fraction, scope.f32(Math.LOG2E)), k), x)
}

/** `result` where 0 < x < ∞, else what any logarithm of x is. */
function logarithm(scope: VectorScope, result: Code, x: Code): Code {
  const ordinary = v128.and(f32x4.gt(x, scope.f32(0)), f32x4.lt(x, scope.f32(Infinity)))
  // All ones are a NaN; ∞ and NaN stand for themselves.
  const special = v128.or(x, f32x4.lt(x, scope.f32(0)))
  return v128.select(result, v128.select(scope.f32(-Infinity), special, f32x4.eq(x, scope.f32(0))), ordinary)
}

/** ln(1 + x) within 0.8 ulp, with what 1 + x loses put back, as fdlibm's log1p. */
export function log1p(scope: VectorScope, x: Code): Code {
  const u = scope.keep(f32x4.add(x, scope.f32(1)))
  const lost = f32x4.sub(x, f32x4.sub(u, scope.f32(1)))
  const { k, m } = splitExponent(scope, u)
  const result = logOf(scope, k, scope.keep(f32x4.sub(m, scope.f32(1))), f32x4.div(lost, u))
  const ordinary = v128.and(f32x4.gt(x, scope.f32(-1)), f32x4.lt(x, scope.f32(Infinity)))
  const special = v128.or(x, f32x4.lt(x, scope.f32(-1)))
  const unusual = v128.select(scope.f32(-Infinity), special, f32x4.eq(x, scope.f32(-1)))
  return v128.select(x, v128.select(result, unusual, ordinary), f32x4.lt(f32x4.abs(x), scope.f32(2 ** -25)))
}

/** tanh x within 1.3 ulp: Cephes' tanhf below 0.625, 1 − 2/(e²ˣ + 1) above. */
export function tanh(scope: VectorScope, x: Code): Code {
  const a = scope.keep(f32x4.abs(x))
  const square = scope.keep(f32x4.mul(x, x))
  const p = polynomial(scope, square, [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1])
  const small = scope.keep(f32x4.add(f32x4.mul(f32x4.mul(p, square), a), a))
  const e = expSmall(scope, scope.keep(f32x4.mul(f32x4.pmin(a, scope.f32(10)), scope.f32(2))))
  const large = f32x4.sub(scope.f32(1), f32x4.div(scope.f32(2), f32x4.add(e, scope.f32(1))))
  return withSignOf(scope, v128.select(small, large, f32x4.lt(a, scope.f32(0.625))), x)
}

/** 1/(1 + e⁻ˣ) within 2.2 ulp, as e⁻|ˣ| cannot overflow. */
export function sigmoid(scope: VectorScope, x: Code): Code {
  const e = scope.keep(exp(scope, scope.keep(v128.or(x, scope.i32(signBit)))))
  const right = scope.keep(f32x4.div(scope.f32(1), f32x4.add(e, scope.f32(1))))
  return v128.select(f32x4.mul(e, right), right, f32x4.lt(x, scope.f32(0)))
}

/** erf x within 1.1 ulp: x + x·p(x²) below 15/16 and 1 − e^q(|x|) above, p and q fitted to the largest relative error of erf. */
export function erf(scope: VectorScope, x: Code): Code {
  const square = scope.keep(f32x4.mul(x, x))
  const p = polynomial(scope, square, [8.00027192e-5, -8.05038377e-4, 5.19243814e-3, -2.6855737e-2, 1.12836257e-1, -3.76126289e-1, 1.28379166e-1])
  const small = scope.keep(f32x4.add(f32x4.mul(p, x), x))
  const a = scope.keep(f32x4.pmin(f32x4.abs(x), scope.f32(4)))
  const q = polynomial(scope, a, [1.92957887e-4, -3.01400037e-3, 2.21105237e-2, -1.03690326e-1, -6.37456894e-1, -1.12751269, -2.3506998e-4])
  const large = f32x4.sub(scope.f32(1), expSmall(scope, scope.keep(q)))
  return v128.select(small, withSignOf(scope, large, x), f32x4.lt(a, scope.f32(0.9375)))
}
