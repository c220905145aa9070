/** Host arrays as the words they are on the device: 32 bits an element, f16 half of that. */
import { hostArray } from '../../dtype.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import { DTypeError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import { sizeOf } from '../../shape.ts'
import { bitsOf, copyHalves, fromBf16, fromF16, toF16 } from '../../halves.ts'

/** Bytes of an element. Threads of a kernel then never share a word that they write. */
export const elementBytes = (dtype: DType): number => (dtype === 'f16' ? 2 : 4)

/** Bytes of a buffer: copies and bindings count in words. */
export const bufferBytes = (dtype: DType, elements: number): number => Math.ceil((elements * elementBytes(dtype)) / 4) * 4

/** Writes `values` to `to` as elements of `dtype`. */
export function pack(values: ArrayLike<number>, dtype: DType, to: Uint8Array<ArrayBuffer>): void {
  const { buffer, byteOffset } = to
  switch (dtype) {
    case 'bf16': // Kept as the f32 of the same value, here as on the host.
      return values instanceof Uint16Array ? fromBf16(values, new Uint32Array(buffer, byteOffset, values.length)) : pack(values, 'f32', to)
    case 'f32':
      return new Float32Array(buffer, byteOffset, values.length).set(values)
    case 'i32':
      return new Int32Array(buffer, byteOffset, values.length).set(values)
    case 'u32':
    case 'u8':
    case 'bool':
      return new Uint32Array(buffer, byteOffset, values.length).set(values)
    case 'f16':
      return copyHalves(values, toF16, new Uint16Array(buffer, byteOffset, values.length))
    case 'f64':
      throw new DTypeError('webgpu: f64 is not a type of this device; use f32')
    default:
      return dtype satisfies never
  }
}

/** The elements that `bytes` hold, as the host holds them. */
export function unpack(bytes: ArrayBuffer, { shape, dtype }: Spec): TypedArray {
  const length = sizeOf(shape)
  const out = hostArray(dtype, length)
  switch (dtype) {
    case 'f32':
    case 'bf16':
      out.set(new Float32Array(bytes, 0, length))
      return out
    case 'i32':
      out.set(new Int32Array(bytes, 0, length))
      return out
    case 'u32':
    case 'u8':
    case 'bool':
      out.set(new Uint32Array(bytes, 0, length))
      return out
    case 'f16':
      fromF16(new Uint16Array(bytes, 0, length), bitsOf(out))
      return out
    case 'f64':
      throw new DTypeError('webgpu: f64 is not a type of this device; use f32')
    default:
      return dtype satisfies never
  }
}
