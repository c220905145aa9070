/**
 * Half floats as files and devices hold them: IEEE binary16 and bfloat16 to and from binary32, whole arrays at a time. Both sides
 * are bits, so that a NaN keeps its sign and what fits of its payload. Narrowing rounds to nearest, ties to even.
 */
import type { DType } from './dtype.ts'

/** The bits of numbers as binary32: those of a Float32Array itself, of others those of a copy. */
export function bitsOf(values: ArrayLike<number>): Uint32Array {
  const { buffer, byteOffset, length } = values instanceof Float32Array ? values : Float32Array.from(values)
  return new Uint32Array(buffer, byteOffset, length)
}

/** Numbers as the halves of `narrow`, to `to`; a Uint16Array holds such already. */
export function copyHalves(values: ArrayLike<number>, narrow: (bits: Uint32Array, to: Uint16Array) => void, to: Uint16Array): void {
  if (values instanceof Uint16Array) to.set(values)
  else narrow(bitsOf(values), to)
}

/** Halves as the numbers that they are. */
export function widenHalves(halves: Uint16Array, dtype: DType): Float32Array<ArrayBuffer> {
  const values = new Float32Array(halves.length)
  ;(dtype === 'f16' ? fromF16 : fromBf16)(halves, bitsOf(values))
  return values
}

/** Binary16, 5 bits of exponent and 10 of fraction, to the binary32 of the same value. */
export function fromF16(halves: Uint16Array, bits: Uint32Array): void {
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i] ?? 0
    const exponent = half & 0x7c00
    const sign = (half & 0x8000) << 16
    if (exponent === 0) bits[i] = sign | subnormal(half & 0x3ff)
    else bits[i] = sign | (((half & 0x7fff) << 13) + (exponent === 0x7c00 ? 0x70000000 : 0x38000000)) // bias 127 for 15
  }
}

/** The bits of `fraction` · 2⁻²⁴, which binary32 holds as a normal number. */
function subnormal(fraction: number): number {
  if (fraction === 0) return 0
  const shift = Math.clz32(fraction) - 21
  return ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)
}

/** Binary32 to the nearest binary16; from 65520 on that is infinity. */
export function toF16(bits: Uint32Array, to: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i] ?? 0
    const size = b & 0x7fffffff
    const sign = (b >>> 16) & 0x8000
    if (size > 0x7f800000) to[i] = sign | 0x7c00 | ((size >>> 13) & 0x3ff || 0x200)
    else if (size >= 0x47800000) to[i] = sign | 0x7c00
    else if (size >= 0x38800000) to[i] = sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13)
    else if (size < 0x33000000) to[i] = sign // below 2⁻²⁵, half of the smallest
    else {
      const fraction = (size & 0x7fffff) | 0x800000
      const shift = 126 - (size >>> 23) // to units of 2⁻²⁴
      to[i] = sign | ((fraction + (1 << (shift - 1)) - 1 + ((fraction >>> shift) & 1)) >>> shift)
    }
  }
}

/** Bfloat16, the upper half of a binary32, to that binary32. */
export function fromBf16(halves: Uint16Array, bits: Uint32Array): void {
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] ?? 0) << 16
}

/** Binary32 to the nearest bfloat16. */
export function toBf16(bits: Uint32Array, to: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i] ?? 0
    if ((b & 0x7fffffff) > 0x7f800000) to[i] = (b >>> 16) | ((b & 0x7f0000) === 0 ? 0x40 : 0) // a NaN cut short stays one
    else to[i] = (b + 0x7fff + ((b >>> 16) & 1)) >>> 16
  }
}
