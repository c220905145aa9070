/** The nearest numbers that narrow float types hold, ties to even: by their definition rather than by bits. */

/** The nearest value of IEEE binary16. */
export function roundToF16(x: number): number {
  return roundTo(x, 10, -14, 65504)
}

/** The nearest value of bfloat16. */
export function roundToBf16(x: number): number {
  return roundTo(x, 7, -126, (2 - 2 ** -7) * 2 ** 127)
}

/** Nearest, ties to even, among ±1.m·2^e with `bits` bits of m and e ≥ `least`; what exceeds `largest` is infinite. */
function roundTo(x: number, bits: number, least: number, largest: number): number {
  if (x === 0 || !Number.isFinite(x)) return x
  const spacing = 2 ** (Math.max(exponentOf(x), least) - bits)
  const rounded = roundHalfEven(x / spacing) * spacing // Powers of two: neither operation rounds.
  return Math.abs(rounded) > largest ? Math.sign(x) * Infinity : rounded
}

const bitsOf = new DataView(new ArrayBuffer(8))

/** ⌊log₂|x|⌋, exactly; float64's subnormal numbers count as 2^−1023. */
function exponentOf(x: number): number {
  bitsOf.setFloat64(0, x)
  return ((bitsOf.getUint16(0) >> 4) & 0x7ff) - 1023
}

function roundHalfEven(x: number): number {
  const low = Math.floor(x)
  const rest = x - low
  const up = rest > 0.5 || (rest === 0.5 && low % 2 !== 0)
  const rounded = up ? low + 1 : low
  return rounded === 0 && x < 0 ? -0 : rounded
}
