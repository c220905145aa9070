/** Element types, their storage, and the one promotion table. */
import { roundToF16 } from '../kernels/ir/rounding.ts'
import { DTypeError } from './error.ts'

/**
 * `f32` is the working type. `f16`, `bf16` and `u8` are for storage; `f16` exists where the device has it,
 * `f64` on the reference device only. There is no i64: files that hold it are read as i32 with a range check.
 */
export type DType = 'f32' | 'f16' | 'bf16' | 'f64' | 'i32' | 'u32' | 'u8' | 'bool'

export type TypedArray =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>

const sizes = { f32: 4, f16: 2, bf16: 2, f64: 8, i32: 4, u32: 4, u8: 1, bool: 1 } as const satisfies Record<DType, number>

/** Bytes of one element as a device stores it. */
export function byteSize(dtype: DType): number {
  return sizes[dtype]
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16' || dtype === 'f64'
}

/** A host array that holds `length` elements of `dtype` exactly; f16 and bf16 are held as f32, bool as 0 and 1. */
export function hostArray(dtype: DType, length: number): TypedArray {
  switch (dtype) {
    case 'f32':
    case 'f16':
    case 'bf16':
      return new Float32Array(length)
    case 'f64':
      return new Float64Array(length)
    case 'i32':
      return new Int32Array(length)
    case 'u32':
      return new Uint32Array(length)
    case 'u8':
    case 'bool':
      return new Uint8Array(length)
    default:
      return dtype satisfies never
  }
}

const bits = new DataView(new ArrayBuffer(4))

/** What a device holds of a number in `dtype`: the nearest of f16; of bf16 the upper half of the f32, ties to even. */
export function narrowed(x: number, dtype: DType): number {
  if (dtype === 'f16') return roundToF16(x)
  if (dtype !== 'bf16' || Number.isNaN(x)) return x
  bits.setFloat32(0, x)
  const b = bits.getUint32(0)
  bits.setUint32(0, ((b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000) >>> 0)
  return bits.getFloat32(0)
}

const rank = { bool: 0, u8: 1, i32: 2, u32: 2, bf16: 3, f16: 3, f32: 4, f64: 5 } as const satisfies Record<DType, number>

/**
 * The type two operands meet in: bool < u8 < i32, u32 < f16, bf16 < f32 < f64, and of two different types of one
 * level the common one above (f16 with bf16 is f32; i32 with u32 has none and is an error).
 */
export function promote(op: string, x: DType, y: DType): DType {
  if (x === y) return x
  if (rank[x] === rank[y]) {
    if (isFloat(x)) return 'f32'
    throw new DTypeError(`${op}: ${x} and ${y} have no common type that holds both; cast one of them first`)
  }
  return rank[x] > rank[y] ? x : y
}
