/**
 * Exponentials, logarithms and what is made of them as functions in WGSL, whose own are too rough; the polynomials are those of
 * `kernels/wasm/core/approximations.ts`, in units of the last place as accurate as there but where a device flushes denormals.
 * Compilers rearrange sums: what adding and then subtracting a number loses is there only if something in between hides it.
 */

/** c₀xⁿ + c₁xⁿ⁻¹ + … by Horner's rule. */
export function polynomial(x: string, [highest = 0, ...rest]: readonly number[]): string {
  return rest.reduce((sum, c) => `(${sum} * ${x} + ${float(c)})`, float(highest))
}

/** A number as an f32 literal. */
export function float(x: number): string {
  return `${Object.is(x, -0) ? '-0' : Math.fround(x)}f`
}

export const exponentials: readonly string[] = [
  // 2ⁿ for integers −127 < n < 128.
  `fn powerOfTwo(n: i32) -> f32 { return bitcast<f32>((n + 127) << 23u); }`,

  // Of x = n·ln 2 + r with |r| ≤ ½ ln 2 (Cody & Waite's two-part ln 2): n and eʳ − 1 (Cephes' expf).
  `fn splitExp(x: f32) -> vec2<f32> {
  let n = round(x * ${float(Math.LOG2E)});
  let r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  let p = ${polynomial('r', [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1])};
  return vec2(n, p * (r * r) + r);
}`,

  // 2ⁿ is applied in two factors for the sake of gradual underflow.
  `fn expF32(x: f32) -> f32 {
  let split = splitExp(clamp(x, -104.0, 89.0));
  let n = i32(split.x);
  let half = n >> 1u;
  let result = (split.y + 1.0) * powerOfTwo(half) * powerOfTwo(n - half);
  return select(result, x, isNan(x));
}`,

  // eˣ for |x| ≤ 80.
  `fn expSmall(x: f32) -> f32 {
  let split = splitExp(x);
  return (split.y + 1.0) * powerOfTwo(i32(split.x));
}`,

  // 2ⁿ(eʳ − 1) + (2ⁿ − 1), halved until the end lest 2¹²⁸ overflow.
  `fn expm1F32(x: f32) -> f32 {
  let split = splitExp(clamp(x, -40.0, 89.0));
  let scale = powerOfTwo(i32(split.x) - 1);
  let half = scale * split.y + (scale - 0.5);
  return select(half + half, x, (abs(x) < ${float(2 ** -25)}) | isNan(x));
}`,

  // x = 2ᵏ·m with √½ ≤ m < √2, as (k, m), for positive finite x; the bits of a denormal count units of 2⁻¹⁴⁹.
  `fn splitExponent(x: f32) -> vec2<f32> {
  let bits = bitcast<u32>(x);
  let tiny = bits < 0x00800000u;
  let shifted = select(bits, bitcast<u32>(f32(bits)), tiny) - 0x3f3504f3u;
  let k = f32(bitcast<i32>(shifted) >> 23u);
  return vec2(select(k, k - 149.0, tiny), bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u));
}`,

  // ln(1 + f) + k·ln 2 + correction, as fdlibm's logf.
  `fn logOf(k: f32, f: f32, correction: f32) -> f32 {
  let s = f / (f + 2.0);
  let z = s * s;
  let w = z * z;
  let even = w * ${polynomial('w', [0.24279078841, 0.40000972152])};
  let odd = z * ${polynomial('w', [0.28498786688, 0.66666662693])};
  let square = 0.5 * (f * f);
  let tail = s * (square + (odd + even)) + (k * 9.0580006145e-6f + correction);
  return (f - (square - tail)) + k * 6.9313812256e-1f;
}`,

  `fn logF32(x: f32) -> f32 {
  let split = splitExponent(x);
  return logarithm(logOf(split.x, split.y - 1.0, 0.0), x);
}`,

  // Exact for powers of two.
  `fn log2F32(x: f32) -> f32 {
  let split = splitExponent(x);
  return logarithm(logOf(0.0, split.y - 1.0, 0.0) * ${float(Math.LOG2E)} + split.x, x);
}`,

  // `result` where 0 < x < ∞, else what any logarithm of x is.
  `fn logarithm(result: f32, x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if (bits - 1u < 0x7f7fffffu) { return result; }
  if ((bits & 0x7fffffffu) == 0u) { return floatOfBits(0xff800000u); }
  return select(floatOfBits(0x7fc00000u), x, bits == 0x7f800000u);
}`,

  // A sum that a compiler cannot cancel.
  `fn withoutLastBit(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffffffeu); }`,

  // What 1 + x loses is put back, as in fdlibm's log1p.
  `fn log1pF32(x: f32) -> f32 {
  let u = withoutLastBit(x + 1.0);
  let split = splitExponent(u);
  let lost = x - (u - 1.0);
  let result = logarithm(logOf(split.x, split.y - 1.0, lost / u), u);
  return select(result, x, abs(x) < ${float(2 ** -25)});
}`,

  // Cephes' tanhf below 0.625, 1 − 2/(e²ˣ + 1) above.
  `fn tanhF32(x: f32) -> f32 {
  let a = abs(x);
  let square = x * x;
  let small = ${polynomial('square', [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1])} * square * a + a;
  let large = 1.0 - 2.0 / (expSmall(2.0 * min(a, 10.0)) + 1.0);
  return select(withSignOf(select(large, small, a < 0.625), x), x, isNan(x));
}`,

  // As e⁻|ˣ| cannot overflow.
  `fn sigmoidF32(x: f32) -> f32 {
  let e = expF32(-abs(x));
  let right = 1.0 / (e + 1.0);
  return select(right, e * right, x < 0.0);
}`,

  // x + x·p(x²) below 15/16 and 1 − e^q(|x|) above, p and q fitted to the largest relative error of erf.
  `fn erfF32(x: f32) -> f32 {
  let square = x * x;
  let small = ${polynomial('square', [8.00027192e-5, -8.05038377e-4, 5.19243814e-3, -2.6855737e-2, 1.12836257e-1, -3.76126289e-1, 1.28379166e-1])} * x + x;
  let a = min(abs(x), 4.0);
  let q = ${polynomial('a', [1.92957887e-4, -3.01400037e-3, 2.21105237e-2, -1.03690326e-1, -6.37456894e-1, -1.12751269, -2.3506998e-4])};
  let large = withSignOf(1.0 - expSmall(q), x);
  return select(select(large, small, a < 0.9375), x, isNan(x));
}`,
]
