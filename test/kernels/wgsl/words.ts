/** Elements in bytes, as the tests' operands have them, and in words of 32 bits, as kernels of this device have them. */
import type { StorageType } from '../../../kernels/ir/expression.ts'
import { elementBytes, readElement, writeElement } from '../naive.ts'

export type Words = Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>

const types = { f32: Float32Array, f16: Float16Array, bf16: Float32Array, i32: Int32Array, u32: Uint32Array, u8: Uint32Array, bool: Uint32Array } as const

/** The elements of `bytes`. Tiny floats become zero: a device may take denormals for that, and here even differences have none. */
export function wordsOf(bytes: Uint8Array, dtype: StorageType): Words {
  const words = new types[dtype](bytes.length / elementBytes[dtype])
  for (let i = 0; i < words.length; i++) words[i] = withoutTiny(readElement(bytes, dtype, i))
  return words
}

export const withoutTiny = (x: number): number => (Math.abs(x) < 2 ** -100 ? 0 : x)

/** For comparisons: devices need not keep the sign of zero. */
export const numbers = (values: Iterable<number>): number[] => Array.from(values, (x) => x + 0)

/** The opposite of `wordsOf`. */
export function bytesOfWords(words: Words, dtype: StorageType): Uint8Array {
  const bytes = new Uint8Array(words.length * elementBytes[dtype])
  words.forEach((x, i) => writeElement(bytes, dtype, i, x))
  return bytes
}
