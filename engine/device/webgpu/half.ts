/** IEEE 754 binary16 from and to numbers that f32 holds, by bits; not every host has Float16Array. */

const scratch = new Float32Array(1)
const bits = new Uint32Array(scratch.buffer)

/** Rounded to nearest, ties to even; NaN stays NaN, what is too large becomes infinite. */
function halfOf(x: number): number {
  scratch[0] = x
  const word = bits[0] ?? 0
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // From 65520 up.
  if (magnitude < 0x38800000) return sign | roundHalf(Math.abs(x) * 2 ** 24) // Denormal: multiples of 2⁻²⁴.
  return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13)
}

function roundHalf(x: number): number {
  const below = Math.floor(x)
  const rest = x - below
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below
}

export function toF16(values: ArrayLike<number>, to: Uint16Array<ArrayBuffer>): void {
  for (let i = 0; i < values.length; i++) to[i] = halfOf(values[i] ?? 0)
}

export function fromF16(halves: Uint16Array<ArrayBuffer>, to: { [index: number]: number }): void {
  halves.forEach((half, i) => {
    const sign = half & 0x8000 ? -1 : 1
    const exponent = (half >>> 10) & 31
    const fraction = half & 1023
    to[i] = exponent === 31 ? (fraction === 0 ? sign * Infinity : NaN) : exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
  })
}
