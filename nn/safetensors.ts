/**
 * The safetensors file format (huggingface/safetensors): 8 bytes with the length of a JSON header, the header, and the
 * tensors' bytes, little-endian and without gaps. Reading is strict: a file is whole and says the same thing to every
 * reader, or it is refused with the tensor and the reason.
 */
import { CheckpointError } from '../engine/index.ts'
import type { DType, Shape, TypedArray } from '../engine/index.ts'
import { hostArray } from '../engine/dtype.ts'
import { formatShape, sizeOf } from '../engine/shape.ts'
import { fromBf16, fromF16, toBf16, toF16 } from './half.ts'

/** A tensor on the host; f16 and bf16 are held as f32, bool as 0 and 1. */
export interface HostTensor {
  readonly dtype: DType
  readonly shape: Shape
  readonly data: TypedArray
}

export interface Safetensors {
  /** By name, in the order in which their bytes lie. */
  readonly tensors: ReadonlyMap<string, HostTensor>
  readonly metadata: Readonly<Record<string, string>>
}

interface Format {
  readonly dtype: DType
  readonly bytes: number
  readonly get: (view: DataView, at: number) => number
  readonly set: (view: DataView, at: number, value: number) => void
}

const formats: Readonly<Record<string, Format>> = {
  F64: { dtype: 'f64', bytes: 8, get: (v, i) => v.getFloat64(i, true), set: (v, i, x) => v.setFloat64(i, x, true) },
  F32: { dtype: 'f32', bytes: 4, get: (v, i) => v.getFloat32(i, true), set: (v, i, x) => v.setFloat32(i, x, true) },
  F16: { dtype: 'f16', bytes: 2, get: (v, i) => fromF16(v.getUint16(i, true)), set: (v, i, x) => v.setUint16(i, toF16(x), true) },
  BF16: { dtype: 'bf16', bytes: 2, get: (v, i) => fromBf16(v.getUint16(i, true)), set: (v, i, x) => v.setUint16(i, toBf16(x), true) },
  I32: { dtype: 'i32', bytes: 4, get: (v, i) => v.getInt32(i, true), set: (v, i, x) => v.setInt32(i, x, true) },
  U32: { dtype: 'u32', bytes: 4, get: (v, i) => v.getUint32(i, true), set: (v, i, x) => v.setUint32(i, x, true) },
  U8: { dtype: 'u8', bytes: 1, get: (v, i) => v.getUint8(i), set: (v, i, x) => v.setUint8(i, x) },
  BOOL: { dtype: 'bool', bytes: 1, get: (v, i) => v.getUint8(i), set: (v, i, x) => v.setUint8(i, x) },
  // Read only: there is no i64 here, and the values are checked to fit.
  I64: { dtype: 'i32', bytes: 8, get: (v, i) => Number(v.getBigInt64(i, true)), set: (v, i, x) => v.setBigInt64(i, BigInt(x), true) },
}

const names = { f64: 'F64', f32: 'F32', f16: 'F16', bf16: 'BF16', i32: 'I32', u32: 'U32', u8: 'U8', bool: 'BOOL' } as const satisfies Record<DType, string>

function formatOf(name: string): Format | undefined {
  return Object.hasOwn(formats, name) ? formats[name] : undefined
}

/** Copies the elements, all at once where the file's bytes are the host's. */
function decodeElements(format: Format, bytes: Uint8Array<ArrayBuffer>, count: number): TypedArray {
  const { dtype } = format
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const data = hostArray(dtype, count)
  if (data.BYTES_PER_ELEMENT === format.bytes && littleEndian) new Uint8Array(data.buffer).set(bytes)
  else for (let i = 0; i < count; i++) data[i] = format.get(view, i * format.bytes)
  return data
}

const littleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

/**
 * The bytes of a file with these tensors, in the order given but wider types first, which keeps every tensor aligned.
 * Throws CheckpointError for data that does not fill its shape.
 */
export function encodeSafetensors(tensors: ReadonlyMap<string, HostTensor>, metadata: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> {
  const placed = [...tensors].map(([name, tensor]) => {
    const format = names[tensor.dtype]
    const bytes = sizeOf(tensor.shape) * (formatOf(format)?.bytes ?? 0)
    if (tensor.data.length !== sizeOf(tensor.shape)) throw new CheckpointError(`safetensors: tensor ${name} has shape ${formatShape(tensor.shape)} but ${tensor.data.length} values; pass as many as the shape holds`)
    if (name === '__metadata__') throw new CheckpointError('safetensors: no tensor can be called __metadata__; rename it')
    return { name, tensor, format, bytes }
  })
  placed.sort((a, b) => (formatOf(b.format)?.bytes ?? 0) - (formatOf(a.format)?.bytes ?? 0))
  let end = 0
  const entries = placed.map(({ name, tensor, format, bytes }): [string, object] => {
    end += bytes
    return [name, { dtype: format, shape: tensor.shape, data_offsets: [end - bytes, end] }]
  })
  const described = Object.keys(metadata).length === 0 ? [] : [['__metadata__', metadata] as const]
  const text = new TextEncoder().encode(jsonOf([...described, ...entries]))
  const header = Math.ceil(text.length / 8) * 8
  const file = new Uint8Array(8 + header + end)
  new DataView(file.buffer).setBigUint64(0, BigInt(header), true)
  file.fill(0x20, 8, 8 + header)
  file.set(text, 8)
  let at = 8 + header
  for (const { tensor, format, bytes } of placed) {
    encodeElements(formatOf(format), tensor.data, new DataView(file.buffer, at, bytes))
    at += bytes
  }
  return file
}

/** Not by way of an object, which would move keys that look like numbers to the front. */
function jsonOf(entries: readonly (readonly [string, object])[]): string {
  return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
}

function encodeElements(format: Format | undefined, data: TypedArray, view: DataView<ArrayBuffer>): void {
  if (format === undefined) return
  if (data.BYTES_PER_ELEMENT === format.bytes && littleEndian) {
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  } else data.forEach((value, i) => format.set(view, i * format.bytes, value))
}

/**
 * Reads a whole file; `source` names it in errors. f16 and bf16 come as f32 arrays, i64 as i32.
 * Throws CheckpointError, naming the tensor, for anything that is not exactly the format: a file cut short or with bytes
 * left over, offsets that overlap, leave gaps or lie outside, sizes that contradict the shape, a key given twice, a
 * dtype there is none of here, an i64 value outside i32.
 */
export function decodeSafetensors(file: Uint8Array<ArrayBuffer>, source = 'safetensors'): Safetensors {
  const fail = (why: string): never => {
    throw new CheckpointError(`${source}: ${why}; the file is damaged or not a safetensors file`)
  }
  if (file.length < 8) return fail(`it has ${file.length} bytes, fewer than the 8 that a header takes`)
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true))
  if (length > file.length - 8) return fail(`its header should have ${length} bytes but only ${file.length - 8} follow`)
  const { metadata, entries } = parseHeader(file.subarray(8, 8 + length), fail)
  const body = file.subarray(8 + length)
  const tensors = new Map<string, HostTensor>()
  let end = 0
  for (const { name, format, shape, offsets: [from, to] } of entries.sort((a, b) => a.offsets[0] - b.offsets[0] || a.offsets[1] - b.offsets[1])) {
    if (to - from !== sizeOf(shape) * format.bytes) fail(`tensor ${name} of shape ${formatShape(shape)} takes ${sizeOf(shape) * format.bytes} bytes but its offsets span ${to - from}`)
    if (from !== end) fail(`tensor ${name} starts at byte ${from}, which ${from < end ? 'overlaps the tensor before it' : 'leaves a gap after the tensor before it'}, ending at ${end}`)
    if (to > body.length) fail(`tensor ${name} ends at byte ${to} but the file holds only ${body.length} bytes of tensors`)
    const data = decodeElements(format, body.subarray(from, to), sizeOf(shape))
    checkValues(name, format, body.subarray(from, to), data, fail)
    tensors.set(name, { dtype: format.dtype, shape, data })
    end = to
  }
  if (end !== body.length) fail(`${body.length - end} bytes follow the last tensor`)
  return { tensors, metadata }
}

type Fail = (why: string) => never

/** What an array cannot hold as it was: i64 beyond i32, and bools that are neither 0 nor 1. */
function checkValues(name: string, format: Format, bytes: Uint8Array<ArrayBuffer>, data: TypedArray, fail: Fail): void {
  if (format.dtype === 'bool' && data.some((x) => x > 1)) fail(`tensor ${name} is BOOL but holds values that are neither 0 nor 1`)
  if (format.bytes === data.BYTES_PER_ELEMENT || format.dtype !== 'i32') return
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const wide = data.findIndex((x, i) => x !== format.get(view, i * format.bytes))
  if (wide >= 0) fail(`tensor ${name} is I64 and holds ${view.getBigInt64(wide * 8, true)}, which i32 cannot`)
}

interface Entry {
  readonly name: string
  readonly format: Format
  readonly shape: Shape
  readonly offsets: readonly [number, number]
}

function parseHeader(bytes: Uint8Array, fail: Fail): { metadata: Record<string, string>; entries: Entry[] } {
  let header: unknown
  let text = ''
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    header = JSON.parse(text)
  } catch {
    return fail('its header is not JSON')
  }
  if (!isRecord(header) || text[0] !== '{') return fail('its header is not a JSON object')
  const seen = new Set<string>()
  for (const key of topLevelKeys(text)) {
    if (seen.has(key)) fail(`key ${key} is in the header twice`)
    seen.add(key)
  }
  const { __metadata__: metadata = {}, ...rest } = header
  if (!isRecord(metadata) || !isTexts(metadata)) return fail('its metadata is not a map from text to text')
  return { metadata, entries: Object.entries(rest).map(([name, entry]) => parseEntry(name, entry, fail)) }
}

function parseEntry(name: string, entry: unknown, fail: Fail): Entry {
  if (!isRecord(entry)) return fail(`tensor ${name} has no description`)
  const { dtype, shape, data_offsets: offsets } = entry
  const format = typeof dtype === 'string' ? formatOf(dtype) : undefined
  if (format === undefined) return fail(`tensor ${name} has dtype ${JSON.stringify(dtype)}, which is none of ${Object.keys(formats).join(', ')}`)
  if (!isSizes(shape) || !Number.isSafeInteger(sizeOf(shape) * format.bytes)) return fail(`tensor ${name} has shape ${JSON.stringify(shape)}, which is not a list of sizes`)
  if (!isSizes(offsets) || offsets.length !== 2) return fail(`tensor ${name} has offsets ${JSON.stringify(offsets)}, which are not two positions`)
  const [from = 0, to = 0] = offsets
  if (from > to) return fail(`tensor ${name} starts at byte ${from} but ends at ${to}`)
  return { name, format, shape, offsets: [from, to] }
}

function isRecord(x: unknown): x is Record<string, unknown> {
  return typeof x === 'object' && x !== null && !Array.isArray(x)
}

function isTexts(x: Record<string, unknown>): x is Record<string, string> {
  return Object.values(x).every((v) => typeof v === 'string')
}

function isSizes(x: unknown): x is readonly number[] {
  return Array.isArray(x) && x.every((d) => typeof d === 'number' && Number.isSafeInteger(d) && d >= 0)
}

/** The keys of a JSON object as written; `JSON.parse` keeps only the last of equal ones. */
function topLevelKeys(json: string): string[] {
  const keys: string[] = []
  let depth = 0
  for (const [token, text, colon] of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth++
    else if (token === '}' || token === ']') depth--
    else if (depth === 1 && text !== undefined && colon !== undefined) keys.push(String(JSON.parse(text)))
  }
  return keys
}
