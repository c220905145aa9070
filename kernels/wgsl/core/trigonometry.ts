/**
 * Sine, cosine, the angle of a point and powers as functions in WGSL. Angles are reduced in integers (Payne & Hanek, 1983), which
 * no rounding or rearranging touches; logarithms of powers are sums of two floats, of which the first has its low bits cleared
 * so that its products are exact (as in fdlibm's powf).
 */
import { float, polynomial } from './approximations.ts'

/** 2/π in words of 32 bits, the first after the point. */
const twoOverPi = [0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab]

const lowBitsCleared = (x: number): number => {
  const float32 = new Float32Array([x])
  const bits = new Uint32Array(float32.buffer)
  bits[0] = (bits[0] ?? 0) & 0xfffff000
  return float32[0] ?? 0
}
/** A number as the sum of two floats, the first with 12 bits. */
const twoFloats = (x: number): readonly [string, string] => [float(lowBitsCleared(x)), float(x - lowBitsCleared(x))]

const [halfPiHigh, halfPiLow] = [Math.fround(Math.PI / 2), Math.PI / 2 - Math.fround(Math.PI / 2)]
/** log₂ m = 2/(3 ln 2) · (3·atanh s). */
const [scaleHigh, scaleLow] = twoFloats(2 / (3 * Math.LN2))

export const trigonometry: readonly string[] = [
  // The upper half of a product, x < 2²⁴.
  `fn upperProduct(x: u32, y: u32) -> u32 {
  let low = (x & 0xffffu) * (y & 0xffffu);
  let middle = (x & 0xffffu) * (y >> 16u) + (low >> 16u);
  let other = (x >> 16u) * (y & 0xffffu) + (middle & 0xffffu);
  return (x >> 16u) * (y >> 16u) + (middle >> 16u) + (other >> 16u);
}`,

  `fn wordOfTwoOverPi(i: u32) -> u32 {
  switch i {
${twoOverPi.map((word, i) => `    case ${i + 1}u: { return ${word}u; }`).join('\n')}
    default: { return 0u; }
  }
}`,

  `fn bitsFrom(high: u32, low: u32, shift: u32) -> u32 { return select((high << shift) | (low >> (32u - shift)), high, shift == 0u); }`,

  // |x| = q·π/2 + r with |r| ≤ π/4, as (r, q modulo 4): the mantissa times those 96 bits of 2/π from the last that count whole turns.
  `fn reduceAngle(x: f32) -> vec2<f32> {
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let exponent = bits >> 23u;
  if (bits <= 0x3f490fdau) { return vec2(abs(x), 0.0); }
  let mantissa = (bits & 0x007fffffu) | 0x00800000u;
  let place = exponent - 120u;
  let word = place >> 5u;
  let shift = place & 31u;
  let first = wordOfTwoOverPi(word);
  let second = wordOfTwoOverPi(word + 1u);
  let third = wordOfTwoOverPi(word + 2u);
  let middle = bitsFrom(second, third, shift);
  let low = mantissa * middle;
  let rest = upperProduct(mantissa, bitsFrom(third, wordOfTwoOverPi(word + 3u), shift));
  let sum = low + rest;
  let high = mantissa * bitsFrom(first, second, shift) + upperProduct(mantissa, middle) + select(0u, 1u, sum < low);
  // Quarter turns in the upper two bits, rounded to nearest.
  let quarters = (high + 0x20000000u) >> 30u;
  let fraction = high - (quarters << 30u);
  // As a magnitude, lest a small negative fraction lose its digits.
  let flip = select(0u, 0xffffffffu, fraction >= 0x80000000u);
  let magnitude = fraction ^ flip;
  let turns = f32(magnitude & 0xffffff00u) + (f32(magnitude & 255u) + f32(sum ^ flip) * ${float(2 ** -32)});
  let angle = (turns * ${float(halfPiHigh)} + turns * ${float(halfPiLow)}) * ${float(2 ** -30)};
  return vec2(select(angle, -angle, flip != 0u), f32(quarters));
}`,

  // The sine of x after so many quarter turns; polynomials of Cephes' sinf and cosf.
  `fn sineAfter(x: f32, turns: u32) -> f32 {
  let reduced = reduceAngle(x);
  let negative = bitcast<u32>(x) & 0x80000000u;
  let r = reduced.x;
  let quarters = u32(reduced.y) + turns;
  let z = r * r;
  let sine = ${polynomial('z', [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1])} * z * r + r;
  let cosine = (${polynomial('z', [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2])} * z * z - 0.5 * z) + 1.0;
  let value = bitcast<u32>(select(sine, cosine, (quarters & 1u) == 1u));
  // The sine is odd, the cosine even.
  let sign = ((quarters & 2u) << 30u) ^ select(0u, negative, turns == 0u);
  return select(bitcast<f32>(value ^ sign), floatOfBits(0x7fc00000u), (bitcast<u32>(x) & 0x7fffffffu) >= 0x7f800000u);
}`,
  `fn sinF32(x: f32) -> f32 { return sineAfter(x, 0u); }`,
  `fn cosF32(x: f32) -> f32 { return sineAfter(x, 1u); }`,

  // Signed zeros and infinities as in C99; polynomial of Cephes' atanf.
  `fn atan2F32(y: f32, x: f32) -> f32 {
  let ax = abs(x);
  let ay = abs(y);
  let larger = max(ax, ay);
  let smaller = min(ax, ay);
  // Scaled, as the reciprocal may not leave the range either.
  let scale = select(select(1.0, ${float(2 ** 64)}, larger < ${float(2 ** -62)}), ${float(2 ** -64)}, larger > ${float(2 ** 62)});
  let quotient = (smaller * scale) / (larger * scale);
  // 0/0 and ∞/∞ count as 0 and 1; a finite number is nothing to infinity.
  let infinite = bitcast<u32>(larger) == 0x7f800000u;
  let ratio = select(quotient, select(0.0, 1.0, infinite && bitcast<u32>(smaller) == 0x7f800000u), infinite || bitcast<u32>(larger) == 0u);
  // Above tan π/8, atan q = π/4 + atan((q − 1)/(q + 1)).
  let far = ratio > ${float(Math.SQRT2 - 1)};
  let t = select(ratio, (ratio - 1.0) / (ratio + 1.0), far);
  let z = t * t;
  let p = ${polynomial('z', [8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1])};
  let first = (p * z * t + t) + select(0.0, ${float(Math.PI / 4)}, far);
  let quarter = select(first, ${float(Math.PI / 2)} - first, ay > ax);
  let half = select(quarter, ${float(Math.PI)} - quarter, (bitcast<u32>(x) >> 31u) == 1u);
  return select(withSignOf(half, y), x + y, isNan(x) | isNan(y));
}`,

  `fn upperBits(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }`,

  // log₂ (2ᵏ·m) as the sum of two floats, by 3·atanh s = s·(3 + s² + …) with s = (m − 1)/(m + 1).
  `fn log2InTwo(k: f32, m: f32) -> vec2<f32> {
  let f = m - 1.0;
  let sum = upperBits(m + 1.0);
  let rest = m - (sum - 1.0);
  let s = f / (m + 1.0);
  let high = upperBits(s);
  let low = ((f - high * sum) - high * rest) / (m + 1.0);
  let square = high * high;
  let z = s * s;
  let tail = z * z * ${polynomial('z', [3 / 13, 3 / 11, 3 / 9, 3 / 7, 3 / 5])} + low * (high + s);
  let series = upperBits(3.0 + square + tail);
  let seriesRest = tail - ((series - 3.0) - square);
  let product = high * series;
  let productRest = low * series + s * seriesRest;
  let both = upperBits(product + productRest);
  let bothRest = productRest - (both - product);
  let log = both * ${scaleHigh};
  let logRest = both * ${scaleLow} + bothRest * ${float(2 / (3 * Math.LN2))};
  let result = upperBits((log + logRest) + k);
  return vec2(result, logRest - ((result - k) - log));
}`,

  // Special cases as in C99: x⁰ = 1ʸ = 1; negative x takes integer y alone.
  `fn powF32(x: f32, y: f32) -> f32 {
  let one = bitcast<u32>(1.0f);
  let a = bitcast<u32>(x) & 0x7fffffffu;
  let b = bitcast<u32>(y) & 0x7fffffffu;
  if (b == 0u || bitcast<u32>(x) == one || (a == one && b == 0x7f800000u)) { return 1.0; }
  if (isNan(x) || isNan(y)) { return x + y; }
  let negative = (bitcast<u32>(x) >> 31u) == 1u;
  let integer = y == trunc(y);
  let odd = integer && 0.5 * y != trunc(0.5 * y);
  if (negative && a != 0u && a != 0x7f800000u && !integer) { return floatOfBits(0x7fc00000u); }
  let sign = select(0u, 0x80000000u, negative && odd);
  // By its bits, as a denormal y may compare as zero.
  let rises = (bitcast<i32>(y) > 0) == (a > one);
  if (a == 0u || a == 0x7f800000u || b == 0x7f800000u) { return floatOfBits(select(0u, 0x7f800000u, rises) | sign); }
  let split = splitExponent(abs(x));
  let log2 = log2InTwo(split.x, split.y);
  // Past 2³³, any power of what is not 1 is 0 or infinite.
  let power = clamp(y, ${float(-(2 ** 33))}, ${float(2 ** 33)});
  let high = upperBits(power);
  let product = high * log2.x;
  let rest = (power - high) * log2.x + power * log2.y;
  let n = round(clamp(product + rest, -160.0, 160.0));
  let r = (product - n) + rest;
  let near = clamp(r, -1.0, 1.0);
  let p = ${polynomial('near', [8, 7, 6, 5, 4, 3, 2, 1].map((n) => Math.LN2 ** n / factorial(n)))} * near + 1.0;
  let whole = i32(n);
  let half = whole >> 1u;
  return bitcast<f32>(bitcast<u32>(p * powerOfTwo(half) * powerOfTwo(whole - half)) | sign);
}`,
]

function factorial(n: number): number {
  return n === 0 ? 1 : n * factorial(n - 1)
}
