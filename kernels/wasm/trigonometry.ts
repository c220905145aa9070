/** Sine, cosine and the angle of a point for four f32 lanes. Polynomials of Cephes' sinf, cosf and atanf. */
import { type Code, f32x4, f64x2, i32, i32x4, v128 } from './assembler.ts'
import { double, joinLow, promote } from './doubles.ts'
import { polynomial, withSignOf } from './floats.ts'
import type { VectorScope } from './scope.ts'

/** π/2 to 25 bits, so that its products with integers below 2²⁸ are exact in f64, and the rest (fdlibm's rem_pio2f). */
const halfPiHigh = 1.5707963109016418
const halfPiLow = 1.5893254773528196e-8
const roundingShift = 1.5 * 2 ** 52

/** x = q·π/2 + r with |r| ≤ π/4: r as f32, q modulo 2³² as i32. */
function reduceAngle(scope: VectorScope, x: Code): { q: Code; r: Code } {
  const halves = promote(scope, x).map((half) => {
    const shifted = f64x2.add(f64x2.mul(half, double(scope, 2 / Math.PI)), double(scope, roundingShift))
    const n = scope.keep(f64x2.sub(shifted, double(scope, roundingShift)))
    const r = f64x2.sub(f64x2.sub(half, f64x2.mul(n, double(scope, halfPiHigh))), f64x2.mul(n, double(scope, halfPiLow)))
    return { n: f64x2.truncSatI32(n), r: f64x2.demote(r) }
  })
  const [low, high] = halves
  if (low === undefined || high === undefined) throw new Error('a vector has two halves')
  // Past 2²⁸ r is wrong, but must not leave the range where the polynomials are below 1.
  const r = f32x4.pmax(f32x4.pmin(joinLow(low.r, high.r), scope.f32(Math.PI / 4)), scope.f32(-Math.PI / 4))
  return { q: scope.keep(joinLow(low.n, high.n)), r: scope.keep(r) }
}

/** Sine (turns = 0) or cosine (turns = 1): sine after a quarter turn. */
function sine(scope: VectorScope, x: Code, turns: 0 | 1): Code {
  const { q, r } = reduceAngle(scope, x)
  const z = scope.keep(f32x4.mul(r, r))
  const p = polynomial(scope, z, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1])
  // The sign is put back for the sake of −0.
  const s = scope.keep(withSignOf(scope, f32x4.add(f32x4.mul(f32x4.mul(p, z), r), r), r))
  const c = polynomial(scope, z, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2])
  const cosine = f32x4.add(f32x4.sub(f32x4.mul(f32x4.mul(c, z), z), f32x4.mul(scope.f32(0.5), z)), scope.f32(1))
  const turned = scope.keep(turns === 0 ? q : i32x4.add(q, scope.i32(1)))
  const odd = i32x4.ne(v128.and(turned, scope.i32(1)), scope.i32(0))
  return v128.xor(v128.select(cosine, s, odd), i32x4.shl(v128.and(turned, scope.i32(2)), i32.const(30)))
}

/** sin x within 1.5 ulp for |x| < 2²⁸; beyond, some number between −1 and 1. NaN at ±∞. */
export const sin = (scope: VectorScope, x: Code): Code => sine(scope, x, 0)

/** cos x within 1.5 ulp for |x| < 2²⁸; beyond, some number between −1 and 1. NaN at ±∞. */
export const cos = (scope: VectorScope, x: Code): Code => sine(scope, x, 1)

/** The angle of the point (x, y), −π to π, within 2.8 ulp. Signed zeros and infinities as in C99. */
export function atan2(scope: VectorScope, y: Code, x: Code): Code {
  const [ax, ay] = [scope.keep(f32x4.abs(x)), scope.keep(f32x4.abs(y))]
  const steep = scope.keep(f32x4.gt(ay, ax))
  // Scaled down where the sum of the two could overflow.
  const larger = scope.keep(f32x4.pmax(ax, ay))
  const scale = scope.keep(v128.select(scope.f32(0.25), scope.f32(1), f32x4.gt(larger, scope.f32(2 ** 126))))
  const big = scope.keep(f32x4.mul(larger, scale))
  const small = scope.keep(f32x4.mul(f32x4.pmin(ax, ay), scale))
  // Above tan π/8, atan(s/b) = π/4 + atan((s − b)/(s + b)).
  const infinite = scope.keep(f32x4.eq(small, scope.f32(Infinity)))
  const far = scope.keep(v128.or(infinite, f32x4.gt(small, f32x4.mul(big, scope.f32(Math.SQRT2 - 1)))))
  const quotient = f32x4.div(v128.select(f32x4.sub(small, big), small, far), v128.select(f32x4.add(small, big), big, far))
  // 0/0 and ∞/∞ count as 0 and 1.
  const t = scope.keep(v128.and(quotient, v128.andnot(f32x4.gt(larger, scope.f32(0)), infinite)))
  const z = scope.keep(f32x4.mul(t, t))
  const p = polynomial(scope, z, [8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1])
  const eighth = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(p, z), t), t), v128.and(far, scope.f32(Math.PI / 4)))
  const first = scope.keep(eighth)
  const quarter = scope.keep(v128.select(f32x4.sub(scope.f32(Math.PI / 2), first), first, steep))
  const half = v128.select(f32x4.sub(scope.f32(Math.PI), quarter), quarter, i32x4.shr(x, i32.const(31)))
  const unordered = v128.or(f32x4.ne(x, x), f32x4.ne(y, y))
  return v128.or(withSignOf(scope, half, y), unordered)
}
