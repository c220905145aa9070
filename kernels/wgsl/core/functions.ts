/**
 * The functions in WGSL that generated code calls, and the declarations that a piece of code needs of them. Names end in the
 * type they are for, so that none hides a builtin. NaN is told by its bits: a compiler may take comparisons to have none.
 * Conditions are joined by `|` and `&`, which do not branch.
 */
import { exponentials } from './approximations.ts'
import { trigonometry } from './trigonometry.ts'

const basics = [
  // A constant expression may not be infinite or NaN, but a call is none.
  `fn floatOfBits(bits: u32) -> f32 { return bitcast<f32>(bits); }`,
  `fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }`,
  // Builtins that lose a NaN on some drivers.
  `fn expOrNan(x: f32) -> f32 { return select(exp(x), x, isNan(x)); }`,
  ...['exp', 'log'].map((name) => `fn ${name}OrNan4(x: vec4<f32>) -> vec4<f32> { return select(${name}(x), x, (bitcast<vec4<u32>>(x) & vec4(0x7fffffffu)) > vec4(0x7f800000u)); }`),
  `fn withSignOf(x: f32, sign: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) | (bitcast<u32>(sign) & 0x80000000u)); }`,
  // x − x: zero, or NaN where x is not finite.
  `fn minusItselfF32(x: f32) -> f32 { return select(0.0, floatOfBits(0x7fc00000u), (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u); }`,
  // x / 0: infinite, or NaN where x is zero or NaN.
  `fn overZeroF32(x: f32) -> f32 {
  let magnitude = bitcast<u32>(x) & 0x7fffffffu;
  let none = (magnitude == 0u) | (magnitude > 0x7f800000u);
  return floatOfBits(select(0x7f800000u | (bitcast<u32>(x) & 0x80000000u), 0x7fc00000u, none));
}`,
  // A sum has what is NaN of either.
  `fn minF32(x: f32, y: f32) -> f32 { return select(min(x, y), x + y, isNan(x) | isNan(y)); }`,
  `fn maxF32(x: f32, y: f32) -> f32 { return select(max(x, y), x + y, isNan(x) | isNan(y)); }`,
  // Zeros and NaN are their own sign.
  `fn signF32(x: f32) -> f32 { return select(x, select(-1.0, 1.0, x > 0.0), (abs(x) > 0.0) & !isNan(x)); }`,
  // The conversions of WGSL stop at the last float that fits.
  `fn i32OfF32(x: f32) -> i32 {
  let inside = select(i32(clamp(x, -2147483648.0, 2147483520.0)), 2147483647, x >= 2147483648.0);
  return select(inside, 0, isNan(x));
}`,
  `fn u32OfF32(x: f32) -> u32 {
  let inside = select(u32(clamp(x, 0.0, 4294967040.0)), 4294967295u, x >= 4294967296.0);
  return select(inside, 0u, isNan(x));
}`,
  `fn divideI32(x: i32, y: i32) -> i32 { return select(x / y, 0, y == 0); }`,
  `fn divideU32(x: u32, y: u32) -> u32 { return select(x / y, 0u, y == 0u); }`,
  `fn remainderI32(x: i32, y: i32) -> i32 { return select(x % y, 0, y == 0); }`,
  `fn remainderU32(x: u32, y: u32) -> u32 { return select(x % y, 0u, y == 0u); }`,
  // To nearest, ties to even.
  `fn roundBf16(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
  return select(bitcast<f32>(rounded), x, isNan(x));
}`,
  // By bits, as compilers leave out conversions to f16 and back. From 0.5 to 1 floats are multiples of 2⁻²⁴, as denormal halves are.
  `fn roundF16(x: f32) -> f32 {
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let rounded = (bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u;
  let normal = bitcast<f32>(select(rounded, 0x7f800000u, rounded > 0x477fe000u));
  let denormal = f32(bitcast<u32>(abs(x) + 0.5) - 0x3f000000u) * 0x1p-24;
  return select(withSignOf(select(normal, denormal, bits < 0x38800000u), x), x, isNan(x));
}`,
]

const library: ReadonlyMap<string, string> = new Map([...basics, ...exponentials, ...trigonometry].map((source) => [/^fn (\w+)/.exec(source)?.[1] ?? '', source]))

/** The declarations of what `code` calls, and of what they call. */
export function functionsOf(code: string): string {
  const found = new Set<string>()
  const visit = (text: string): void => {
    for (const [, name = ''] of text.matchAll(/\b(\w+)\(/g)) {
      const source = library.get(name)
      if (source === undefined || found.has(source)) continue
      found.add(source)
      visit(source)
    }
  }
  visit(code)
  return [...found].join('\n')
}
