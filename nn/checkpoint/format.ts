/**
 * The dtypes of safetensors files and how their bytes become host arrays and back. Files are little-endian, as is every
 * host with WebAssembly. Half floats are held as f32, I8 and I64 as i32.
 */
import type { DType, Shape, TypedArray } from '../../engine/index.ts'
import { isFloat } from '../../engine/dtype.ts'
import { fromBf16, fromF16, toBf16, toF16 } from '../../engine/halves.ts'

/** A dtype as files name it. */
export type FileDType = 'I64' | 'F64' | 'F32' | 'U32' | 'I32' | 'BF16' | 'F16' | 'I8' | 'U8' | 'BOOL'

/** A tensor on the host; f16 and bf16 are held as f32, bool as 0 and 1. */
export interface HostTensor {
  readonly dtype: DType
  readonly shape: Shape
  readonly data: TypedArray
  /** What a file holds it as where several come as one dtype: I64 or I8 for i32. */
  readonly format?: FileDType
}

/** What a file says of a tensor. */
export interface TensorInfo {
  /** What it becomes when it is read; undefined where there is no such dtype here. */
  readonly dtype: DType | undefined
  readonly shape: Shape
  /** The dtype as the file names it, such as BF16. */
  readonly format: string
  /** Where its bytes begin and end in the file. */
  readonly range: readonly [from: number, to: number]
  /** The CRC-32 that its bytes had when they were written, which reading holds them to. Undefined where the file has none, or is not verified. */
  readonly crc32?: number
}

export interface Header {
  /** By name, in the order in which their bytes lie. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly metadata: Readonly<Record<string, string>>
  /** Whether it has digests, and is what they were made of. */
  readonly verified: boolean
}

type Bytes = Uint8Array<ArrayBuffer>

/** Elements one by one; both return what a value is that the other side cannot hold. Bytes start at a multiple of 8. */
interface Format {
  /** What it is here. */
  readonly dtype: DType
  /** Of an element in the file. */
  readonly bytes: number
  readonly decode: (bytes: Bytes, to: TypedArray) => string | undefined
  readonly encode: (data: TypedArray, to: Bytes) => string | undefined
  /** The host array that bytes of the file are, where they need no decoding. */
  readonly view?: (bytes: Bytes) => TypedArray
}

type Constructor<T> = new (buffer: ArrayBuffer, offset: number, length: number) => T

/** The same memory as elements of another type. */
function viewed<T>(type: Constructor<T> & { readonly BYTES_PER_ELEMENT: number }, { buffer, byteOffset, byteLength }: Bytes | TypedArray): T {
  return new type(buffer, byteOffset, byteLength / type.BYTES_PER_ELEMENT)
}

function copy(from: TypedArray | Int8Array, to: TypedArray): undefined {
  to.set(from)
  return undefined
}

/** A type whose bytes in the file are those of a host array. */
function plain(dtype: DType, type: Constructor<TypedArray> & { readonly BYTES_PER_ELEMENT: number }): Format {
  return {
    dtype,
    bytes: type.BYTES_PER_ELEMENT,
    decode: (bytes, to) => copy(viewed(type, bytes), to),
    encode: (data, to) => copy(data, viewed(type, to)),
    view: (bytes) => viewed(type, bytes),
  }
}

function half(dtype: DType, from: (halves: Uint16Array, bits: Uint32Array) => void, to: (bits: Uint32Array, halves: Uint16Array) => void): Format {
  return {
    dtype,
    bytes: 2,
    decode(bytes, data) {
      from(viewed(Uint16Array, bytes), viewed(Uint32Array, data))
      return undefined
    },
    encode(data, bytes) {
      to(viewed(Uint32Array, data instanceof Float64Array ? Float32Array.from(data) : data), viewed(Uint16Array, bytes))
      return undefined
    },
  }
}

const u8 = plain('u8', Uint8Array)

/** The first element above 1. */
function notBool(values: TypedArray): string | undefined {
  const wrong = values.find((x) => x > 1)
  return wrong === undefined ? undefined : `${wrong}, which is neither 0 nor 1`
}

function fromI64(bytes: Bytes, to: TypedArray): string | undefined {
  const words = viewed(Int32Array, bytes) // the lower word of each, then the upper
  for (let i = 0; i < to.length; i++) {
    const low = words[2 * i] ?? 0
    if (words[2 * i + 1] !== low >> 31) return `${viewed(BigInt64Array, bytes)[i]}, which i32 cannot hold`
    to[i] = low
  }
  return undefined
}

function toI64(data: TypedArray, to: Bytes): undefined {
  const words = viewed(Int32Array, to)
  data.forEach((x, i) => {
    words[2 * i] = x
    words[2 * i + 1] = x >> 31
  })
}

function toI8(data: TypedArray, to: Bytes): string | undefined {
  const wide = data.find((x) => x < -128 || x > 127)
  viewed(Int8Array, to).set(data)
  return wide === undefined ? undefined : `${wide}, which I8 cannot hold`
}

/** In the order in which the Python package lays tensors in a file: wide ones first, which keeps every one aligned. */
export const formats: Readonly<Record<FileDType, Format>> = {
  I64: { dtype: 'i32', bytes: 8, decode: fromI64, encode: toI64 },
  F64: plain('f64', Float64Array),
  F32: plain('f32', Float32Array),
  U32: plain('u32', Uint32Array),
  I32: plain('i32', Int32Array),
  BF16: half('bf16', fromBf16, toBf16),
  F16: half('f16', fromF16, toF16),
  I8: { dtype: 'i32', bytes: 1, decode: (bytes, to) => copy(viewed(Int8Array, bytes), to), encode: toI8 },
  U8: u8,
  BOOL: { dtype: 'bool', bytes: 1, decode: (bytes, to) => u8.decode(bytes, to) ?? notBool(to), encode: (data, to) => u8.encode(data, to) ?? notBool(data) },
}

export function isFileDType(name: string): name is FileDType {
  return Object.hasOwn(formats, name)
}

/** What files hold a dtype as. */
export const fileDTypes: Readonly<Record<DType, FileDType>> = { f64: 'F64', f32: 'F32', f16: 'F16', bf16: 'BF16', i32: 'I32', u32: 'U32', u8: 'U8', bool: 'BOOL' }

/** Whether values of one dtype can go where the other is asked for: floats may change their width. */
export function converts(from: DType, to: DType): boolean {
  return from === to || (isFloat(from) && isFloat(to))
}

const narrow = 'there are no floats of fewer than 16 bits here; convert it to BF16 or F32'
const integer = 'there is no such integer type here; convert it to I32, or to I64 with values that fit i32'

/** Dtypes that a file may have and a tensor here cannot: the bits of an element, and why not. */
export const foreignDTypes: ReadonlyMap<string, { readonly bits: number; readonly why: string }> = new Map([
  ...['F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'].map((name) => [name, { bits: 8, why: narrow }] as const),
  ...['F6_E2M3', 'F6_E3M2'].map((name) => [name, { bits: 6, why: narrow }] as const),
  ['F4', { bits: 4, why: narrow }],
  ['C64', { bits: 64, why: 'there are no complex numbers here; store real and imaginary parts as two F32 tensors' }],
  ['U64', { bits: 64, why: integer }],
  ['U16', { bits: 16, why: integer }],
  ['I16', { bits: 16, why: integer }],
])
