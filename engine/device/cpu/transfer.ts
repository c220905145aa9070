/** Copies between host arrays and the device's memory, narrowing and widening the types that differ. */
import { hostArray } from '../../dtype.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import { DTypeError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import { sizeOf } from '../../shape.ts'

/** A view of device memory in which elements of `dtype` lie; bf16 as its 16 bits. */
function memoryView({ buffer }: WebAssembly.Memory, address: number, length: number, dtype: DType): { set(values: ArrayLike<number>): void; [Symbol.iterator](): Iterator<number> } & ArrayLike<number> {
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer, address, length)
    case 'i32':
      return new Int32Array(buffer, address, length)
    case 'u32':
      return new Uint32Array(buffer, address, length)
    case 'u8':
    case 'bool':
      return new Uint8Array(buffer, address, length)
    case 'bf16':
      return new Uint16Array(buffer, address, length)
    case 'f16':
    case 'f64':
      throw new DTypeError(`cpu: ${dtype} is not a type of this device; use f32`)
    default:
      return dtype satisfies never
  }
}

/** The upper 16 bits of the f32, rounded to nearest even; NaN stays NaN. */
function toBf16(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(Float32Array.from(values).buffer)
  return Uint16Array.from(bits, (b) => ((b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16))
}

export function copyIn(memory: WebAssembly.Memory, address: number, values: ArrayLike<number>, dtype: DType): void {
  memoryView(memory, address, values.length, dtype).set(dtype === 'bf16' ? toBf16(values) : values)
}

export function copyOut(memory: WebAssembly.Memory, address: number, { shape, dtype }: Spec): TypedArray {
  const length = sizeOf(shape)
  const view = memoryView(memory, address, length, dtype)
  if (dtype === 'bf16') return new Float32Array(Uint32Array.from(view, (b) => b << 16).buffer)
  const out = hostArray(dtype, length)
  out.set(view)
  return out
}
