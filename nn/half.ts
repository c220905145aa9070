/** Half floats as files hold them: IEEE binary16 and bfloat16 to and from f32, rounding to nearest, ties to even. */

const word = new DataView(new ArrayBuffer(4))

function bitsOf(value: number): number {
  word.setFloat32(0, value)
  return word.getUint32(0)
}

function fromBits(bits: number): number {
  word.setUint32(0, bits)
  return word.getFloat32(0)
}

/** The value of a bfloat16: the upper half of an f32. */
export function fromBf16(half: number): number {
  return fromBits(half << 16)
}

/** The bfloat16 nearest to `value`. */
export function toBf16(value: number): number {
  const bits = bitsOf(value)
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40 // stays a NaN when its lower half is cut off
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

/** The value of a binary16: 5 bits of exponent, 10 of fraction. */
export function fromF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >>> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The binary16 nearest to `value`, which is taken as an f32; beyond 65504 it is infinite. */
export function toF16(value: number): number {
  const single = Math.fround(value)
  const sign = (bitsOf(single) >>> 16) & 0x8000
  const size = Math.abs(single)
  if (Number.isNaN(single)) return 0x7e00
  if (size >= 65520) return sign | 0x7c00
  // Scaled so that one unit in the last place is 1: below 2⁻¹⁴ the spacing stays 2⁻²⁴.
  const exponent = Math.max(-14, (bitsOf(size) >>> 23) - 127)
  const units = roundToEven(size * 2 ** (10 - exponent))
  return sign | (units < 1024 ? units : ((exponent + 15) << 10) + units - 1024)
}

function roundToEven(x: number): number {
  const low = Math.floor(x)
  const rest = x - low
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low
}
