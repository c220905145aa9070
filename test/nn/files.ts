/** Safetensors files for tests: random tensors of every dtype, and files written by hand. */
import * as fc from 'fast-check'
import { formats } from '../../nn/checkpoint/format.ts'
import type { FileDType, HostTensor } from '../../nn/checkpoint/format.ts'
import type { Checkpoint } from '../../nn/checkpoint/read.ts'

/** A file with this header and body, which need not be valid. */
export function fileOf(header: string | Uint8Array, body: readonly number[] = []): Uint8Array<ArrayBuffer> {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const file = new Uint8Array(8 + text.length + body.length)
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true)
  file.set(text, 8)
  file.set(body, 8 + text.length)
  return file
}

/** Names that a file can have, some of which objects treat in their own way. */
export const names: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }).filter((text) => text.isWellFormed() && text !== '__metadata__') },
  fc.constantFrom('', '__proto__', 'constructor', 'toString', '0', '10', '9', '-0', 'a.b', 'ﬀ', '\u{1f600}', '\u{ffff}', '"\\\n', ' '),
)

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 })

/** A tensor as a file of any bytes would give it. */
const decoded = (format: FileDType, shape: readonly number[], bytes: Uint8Array<ArrayBuffer>): HostTensor => {
  const { dtype, decode } = formats[format]
  const size = shape.reduce((n, d) => n * d, 1)
  const data = dtype === 'f64' ? new Float64Array(size) : dtype === 'i32' ? new Int32Array(size) : dtype === 'u32' ? new Uint32Array(size) : dtype === 'u8' || dtype === 'bool' ? new Uint8Array(size) : new Float32Array(size)
  decode(bytes, data)
  return format === 'I64' || format === 'I8' ? { dtype, shape, data, format } : { dtype, shape, data }
}

/** Tensors of every dtype, of shapes with and without elements, from random bits. */
export const hostTensors: fc.Arbitrary<HostTensor> = fc.tuple(fc.constantFrom(...(Object.keys(formats) as FileDType[])), shapes).chain(([format, shape]) => {
  const size = shape.reduce((n, d) => n * d, 1)
  const list = <T>(element: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(element, { minLength: size, maxLength: size })
  if (format === 'BOOL') return list(fc.nat(1)).map((x) => decoded(format, shape, Uint8Array.from(x)))
  if (format === 'I64') return list(fc.integer()).map((x) => decoded(format, shape, new Uint8Array(BigInt64Array.from(x, BigInt).buffer)))
  const bytes = size * formats[format].bytes
  return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((x) => decoded(format, shape, Uint8Array.from(x)))
})

export const host = (values: readonly number[], shape: readonly number[] = [values.length]): HostTensor => ({ dtype: 'f32', shape, data: Float32Array.from(values) })

/** All tensors of a checkpoint. */
export async function entriesOf(checkpoint: Checkpoint): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>()
  for await (const [name, tensor] of checkpoint.entries()) tensors.set(name, tensor)
  return tensors
}

/** What tensors are, bit for bit: NaNs differ by their bits only. */
export function bitsOf(tensors: Iterable<readonly [string, HostTensor]>): [name: string, dtype: string, shape: string, bits: string][] {
  return [...tensors].map(([name, { dtype, shape, data, format }]): [string, string, string, string] => [name, format ?? dtype, shape.join(), [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)].join()]).sort(([x], [y]) => (x < y ? -1 : 1))
}

/** A stream's chunks as one. */
export async function collect(chunks: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  const list: Uint8Array<ArrayBuffer>[] = []
  for await (const chunk of chunks) list.push(chunk)
  return new Uint8Array(await new Blob(list).arrayBuffer())
}
