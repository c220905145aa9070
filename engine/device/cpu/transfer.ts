/** Copies between host arrays and the device's memory, narrowing and widening the types that differ. */
import { hostArray } from '../../dtype.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import { DTypeError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import { bitsOf, copyHalves, fromBf16, toBf16 } from '../../halves.ts'
import { sizeOf } from '../../shape.ts'

/** A view of device memory in which elements of `dtype` lie as the host has them. */
function memoryView({ buffer }: WebAssembly.Memory, address: number, length: number, dtype: Exclude<DType, 'bf16'>): TypedArray {
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
    case 'f16':
    case 'f64':
      throw new DTypeError(`cpu: ${dtype} is not a type of this device; use f32`)
    default:
      return dtype satisfies never
  }
}

export function copyIn(memory: WebAssembly.Memory, address: number, values: ArrayLike<number>, dtype: DType): void {
  if (dtype === 'bf16') copyHalves(values, toBf16, new Uint16Array(memory.buffer, address, values.length))
  else memoryView(memory, address, values.length, dtype).set(values)
}

export function copyOut(memory: WebAssembly.Memory, address: number, { shape, dtype }: Spec): TypedArray {
  const length = sizeOf(shape)
  const out = hostArray(dtype, length)
  if (dtype === 'bf16') fromBf16(new Uint16Array(memory.buffer, address, length), bitsOf(out))
  else out.set(memoryView(memory, address, length, dtype))
  return out
}
