/** Sine, cosine and the angle of a point for four f32 lanes. Polynomials of Cephes' sinf, cosf and atanf. */
import { type Code, f32, f32x4, f64, f64x2, i32, i32x4, i64, i64x2, type Local, loopRange, select, set, v128, when } from './assembler.ts'
import { double, joinLow, promote } from './doubles.ts'
import { polynomial, withSignOf } from './floats.ts'
import type { VectorScope } from './scope.ts'

/** π/2 to 25 bits, so that its products with integers below 2²⁸ are exact in f64, and the rest (fdlibm's rem_pio2f). */
const halfPiHigh = 1.5707963109016418
const halfPiLow = 1.5893254773528196e-8
const roundingShift = 1.5 * 2 ** 52

/** 2/π as a binary fraction, in words of 64 bits. */
const twoOverPi = [[0xa2f9836e, 0x4e441529], [0xfc2757d1, 0xf534ddc0], [0xdb629599, 0x3c439041], [0xfe5163ab, 0xdebbc561]] as const

const wide = (n: number): Code => i64.extendU(i32.const(n | 0))
const i64Of = (high: number, low: number): Code => i64.or(i64.shl(wide(high), wide(32)), wide(low))

/** Halves of a vector, of which the lower two lanes count: the angle, and its quadrant. */
interface Reduced {
  readonly n: Local
  readonly r: Local
}

/** x = q·π/2 + r with |r| ≤ π/4: r as f32, q modulo 2³² as i32, for |x| < 2²⁸. */
function reduceSmall(scope: VectorScope, x: Code): Reduced[] {
  return promote(scope, x).map((half) => {
    const shifted = f64x2.add(f64x2.mul(half, double(scope, 2 / Math.PI)), double(scope, roundingShift))
    const n = scope.keep(f64x2.sub(shifted, double(scope, roundingShift)))
    const r = f64x2.sub(f64x2.sub(half, f64x2.mul(n, double(scope, halfPiHigh))), f64x2.mul(n, double(scope, halfPiLow)))
    const reduced = { n: scope.temporary(), r: scope.temporary() }
    scope.emit(set(reduced.n, f64x2.truncSatI32(n)), set(reduced.r, f64x2.demote(r)))
    return reduced
  })
}

/**
 * Makes up for lanes from 2²⁸ on, one after another (Payne and Hanek 1983): of x = m·2ᵏ the product m·(2ᵏ·2/π) is of interest modulo 4
 * alone, so the bits of 2/π that would only add to the rest of it are left out. Each pair of words is a queue of four lanes.
 */
function reduceLarge(scope: VectorScope, x: Code, [low, high]: readonly Reduced[]): Code {
  if (low === undefined || high === undefined) return []
  const [xs, rs, ns] = [[0, 1], [0, 1], [0, 1]].map((pair) => pair.map(() => scope.variable('i64'))) as [Local[], Local[], Local[]]
  const queues = [xs, rs, ns]
  const [lane, bits, exponent, r, n, shift] = [scope.variable('i32'), scope.variable('i32'), scope.variable('i32'), scope.variable('i32'), scope.variable('i32'), scope.variable('i64')]
  const words = [0, 1, 2].map(() => scope.variable('i64'))
  const turn = scope.variable('i64')
  const [first = lane, second = lane, third = lane] = words
  const window = (a: Local, b: Local): Code => i64.or(i64.shl(a, shift), i64.shru(i64.shru(b, wide(1)), i64.xor(shift, wide(63))))
  const word = (i: number): Code => i64Of(twoOverPi[i]?.[0] ?? 0, twoOverPi[i]?.[1] ?? 0)
  const beyond = i32.ge(exponent, 152 + 64)
  const mantissa = i64.extendU(i32.or(i32.and(bits, 0x7fffff), 0x800000))
  const sign = i32.shr(bits, 31)
  const reduce = [
    // Bits of 2/π from 2⁻¹ⁿ on, n = exponent − 152, so that the product counts turns.
    set(shift, i64.and(i64.extendU(i32.sub(exponent, 152)), wide(63))),
    words.map((local, i) => set(local, select(word(i + 1), word(i), beyond))),
    set(third, window(second, third)), set(first, window(first, second)),
    set(turn, i64.add(i64.mul(mantissa, first), i64.shru(i64.mul(mantissa, i64.shru(third, wide(32))), wide(32)))),
    set(turn, i64.add(turn, i64Of(0x20000000, 0))), // to the nearest quadrant
    set(n, i32.wrapI64(i64.shru(turn, wide(62)))),
    set(r, i32.reinterpretF32(f32.demoteF64(f64.mul(f64.convertI64(i64.add(i64.and(turn, i64Of(0x3fffffff, -1)), i64Of(0xe0000000, 0))), f64.const(Math.PI * 2 ** -63))))),
    set(r, i32.xor(r, i32.and(bits, -0x80000000))), set(n, i32.sub(i32.xor(n, sign), sign)),
  ]
  const pass = ([front = lane, back = lane]: readonly Local[], next: Code): Code =>
    [set(front, i64.or(i64.shru(front, wide(32)), i64.shl(back, wide(32)))), set(back, i64.or(i64.shru(back, wide(32)), i64.shl(next, wide(32))))]
  return [
    queues.map((queue, i) => queue.map((local, k) => set(local, i === 0 ? i64x2.extract(x, k) : i64x2.extract((k === 0 ? low : high)[i === 1 ? 'r' : 'n'], 0)))),
    loopRange(lane, 0, 4, 1, [
      set(bits, i32.wrapI64(xs[0] ?? lane)), set(r, i32.wrapI64(rs[0] ?? lane)), set(n, i32.wrapI64(ns[0] ?? lane)),
      set(exponent, i32.and(i32.shru(bits, 23), 255)),
      when(i32.ltu(i32.sub(exponent, 127 + 28), 100), reduce), // neither infinite nor NaN
      pass(xs, wide(0)), pass(rs, i64.extendU(r)), pass(ns, i64.extendU(n)),
    ]),
    [low, high].map((half, k) => [set(half.r, i64x2.splat(rs[k] ?? lane)), set(half.n, i64x2.splat(ns[k] ?? lane))]),
  ]
}

/**
 * Sines (turns = 0) or cosines (turns = 1), sines after a quarter turn, of a bundle, within 1.5 ulp; NaN at ±∞. The vectors part from
 * each other in one branch, lest what follows cannot be joined.
 */
export function sines(scope: VectorScope, given: readonly Code[], turns: 0 | 1): Code[] {
  return scope.compute(given.length, () => {
    const xs = given.map((x) => scope.keep(x))
    const reduced = xs.map((x) => reduceSmall(scope, x))
    const large = xs.map((x) => f32x4.ge(f32x4.abs(x), scope.f32(2 ** 28))).reduce((a, b) => v128.or(a, b))
    scope.emit(when(v128.anyTrue(large), xs.map((x, i) => reduceLarge(scope, x, reduced[i] ?? []))))
    return reduced.map((halves) => sine(scope, halves, turns))
  })
}

function sine(scope: VectorScope, [low, high]: readonly Reduced[], turns: 0 | 1): Code {
  if (low === undefined || high === undefined) throw new Error('a vector has two halves')
  const [q, r] = [scope.keep(joinLow(low.n, high.n)), scope.keep(joinLow(low.r, high.r))]
  const z = scope.keep(f32x4.mul(r, r))
  const p = polynomial(scope, z, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1])
  // The sign is put back for the sake of −0.
  const s = scope.keep(withSignOf(scope, f32x4.add(f32x4.mul(f32x4.mul(p, z), r), r), r))
  const c = polynomial(scope, z, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2])
  const cosine = f32x4.add(f32x4.sub(f32x4.mul(f32x4.mul(c, z), z), f32x4.mul(scope.f32(0.5), z)), scope.f32(1))
  const turned = scope.keep(turns === 0 ? q : i32x4.add(q, scope.i32(1)))
  const odd = i32x4.ne(v128.and(turned, scope.i32(1)), scope.i32(0))
  return v128.xor(v128.select(cosine, s, odd), i32x4.shl(v128.and(turned, scope.i32(2)), 30))
}

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
  const half = v128.select(f32x4.sub(scope.f32(Math.PI), quarter), quarter, i32x4.shr(x, 31))
  const unordered = v128.or(f32x4.ne(x, x), f32x4.ne(y, y))
  return v128.or(withSignOf(scope, half, y), unordered)
}
