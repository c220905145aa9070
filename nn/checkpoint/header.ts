/**
 * The header of a safetensors file (huggingface/safetensors): 8 bytes with its length, then JSON that gives each tensor's
 * dtype, shape and place. Reading is strict: a header says the same thing to every reader and accounts for every byte of
 * the file, or it is refused with the tensor and the reason.
 */
import { CheckpointError } from '../../engine/index.ts'
import type { Shape } from '../../engine/index.ts'
import { formatShape, sizeOf } from '../../engine/shape.ts'
import { withDigests, withoutDigests } from './digest.ts'
import { foreignDTypes, formats, isFileDType } from './format.ts'
import type { FileDType, Header, TensorInfo } from './format.ts'
import { foreignFile } from './foreign.ts'
import { isRecord, isTexts, parseJson, show } from './json.ts'

/** As in the Rust package. */
const maxBytes = 100_000_000

/** The first bytes that tell what a file is. */
export const startBytes = 16

/** The length of the header, from the first bytes of a file of `size`. */
export function headerLength(start: Uint8Array<ArrayBuffer>, size: number, source: string): number {
  const foreign = foreignFile(start)
  if (foreign !== undefined) throw new CheckpointError(`${source} is ${foreign}`)
  if (size < 8) return damaged(source, `it has ${size} bytes, fewer than the 8 that a header takes`)
  const length = Number(new DataView(start.buffer, start.byteOffset).getBigUint64(0, true))
  if (length > size - 8) return damaged(source, `its header should have ${length} bytes but only ${size - 8} follow`)
  if (length > maxBytes) return damaged(source, `its header has ${length} bytes, more than the ${maxBytes} that are allowed`)
  return length
}

function damaged(source: string, why: string): never {
  throw new CheckpointError(`${source}: ${why}; the file is damaged or not a safetensors file`)
}

/** The tensors and metadata of a header, in a file of `size` bytes; with their digests, if `verify` asks for them. */
export function parseHeader(bytes: Uint8Array<ArrayBuffer>, size: number, source: string, verify: boolean): Header {
  const fail = (why: string): never => damaged(source, why)
  const { __metadata__: metadata = {}, ...rest } = parseJson(bytes, 'its header', fail)
  if (!isRecord(metadata) || !isTexts(metadata)) return fail('its metadata is not a map from text to text')
  const start = 8 + bytes.length
  const tensors = Object.entries(rest)
    .map(([name, entry]): [string, TensorInfo] => [name, parseEntry(name, entry, start, fail)])
    .sort(([, x], [, y]) => x.range[0] - y.range[0] || x.range[1] - y.range[1])
  let end = start
  for (const [name, { range: [from, to] }] of tensors) {
    if (from !== end) fail(`tensor ${name} starts at byte ${from - start}, which ${from < end ? 'overlaps the tensor before it' : 'leaves a gap after the tensor before it'}, ending at ${end - start}`)
    if (to > size) fail(`tensor ${name} ends at byte ${to - start} but the file holds only ${size - start} bytes of tensors`)
    end = to
  }
  if (end !== size) fail(`${size - end} bytes follow the last tensor`)
  return withoutDigests({ tensors, metadata }, verify, fail)
}

function parseEntry(name: string, entry: unknown, start: number, fail: (why: string) => never): TensorInfo {
  if (!isRecord(entry)) return fail(`tensor ${name} has no description`)
  if (!name.isWellFormed()) return fail(`the name of tensor ${name} is not Unicode`)
  const { dtype: format, shape, data_offsets: offsets } = entry
  const bits = typeof format !== 'string' ? undefined : isFileDType(format) ? 8 * formats[format].bytes : foreignDTypes.get(format)?.bits
  if (typeof format !== 'string' || bits === undefined) return fail(`tensor ${name} has dtype ${show(format)}, which is none of ${Object.keys(formats).join(', ')}`)
  if (!isSizes(shape) || !Number.isSafeInteger(sizeOf(shape) * bits)) return fail(`tensor ${name} has shape ${show(shape)}, which is not a list of sizes`)
  if (!isSizes(offsets) || offsets.length !== 2) return fail(`tensor ${name} has offsets ${show(offsets)}, which are not two positions`)
  const [from = 0, to = 0] = offsets
  if (from > to) return fail(`tensor ${name} starts at byte ${from} but ends at ${to}`)
  const bytes = (sizeOf(shape) * bits) / 8
  if (to - from !== bytes) fail(`tensor ${name} of shape ${formatShape(shape)} takes ${bytes} bytes but its offsets span ${to - from}`)
  return { dtype: isFileDType(format) ? formats[format].dtype : undefined, shape, format, range: [start + from, start + to] }
}

function isSizes(x: unknown): x is readonly number[] {
  return Array.isArray(x) && x.every((d) => Number.isSafeInteger(d) && d >= 0 && !Object.is(d, -0))
}

/** A tensor that is to be written. */
export interface Entry {
  readonly name: string
  readonly shape: Shape
  readonly format: FileDType
}

export function bytesOf({ shape, format }: Entry): number {
  return sizeOf(shape) * formats[format].bytes
}

/** The order of tensors in a file, that of the Python package: wide types first, which aligns them all, then by name. */
export function inFileOrder<T extends Entry>(entries: Iterable<T>): T[] {
  const ranks = Object.keys(formats)
  return [...entries].sort((x, y) => ranks.indexOf(x.format) - ranks.indexOf(y.format) || compareText(x.name, y.name))
}

/** By code points, as UTF-8 sorts: `<` puts what is written as a surrogate pair before U+E000. */
function compareText(x: string, y: string): number {
  const value = (c: number): number => (c >= 0xd800 && c < 0xe000 ? c + 0x10000 : c)
  for (let i = 0; i < Math.min(x.length, y.length); i++) if (x[i] !== y[i]) return value(x.charCodeAt(i)) - value(y.charCodeAt(i))
  return x.length - y.length
}

/** Length and header of a file with these tensors, in that order, padded with spaces to a multiple of 8. Whatever the digests are, it is as long. */
export function encodeHeader(entries: readonly Entry[], own: Readonly<Record<string, string>>, crcs: readonly number[] | undefined): Uint8Array<ArrayBuffer> {
  const metadata = crcs === undefined ? own : withDigests(entries, own, crcs)
  let end = 0
  const described = entries.map((entry): [string, object] => {
    const from = end
    end += bytesOf(entry)
    return [entry.name, { dtype: entry.format, shape: entry.shape, data_offsets: [from, end] }]
  })
  const known = Object.keys(metadata).length === 0 ? [] : [['__metadata__', metadata] as const]
  // Not by way of an object, which would move keys that look like numbers to the front.
  const json = `{${[...known, ...described].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
  const text = new TextEncoder().encode(json)
  const bytes = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20)
  if (bytes.length > maxBytes) throw new CheckpointError(`a header of ${bytes.length} bytes is more than the ${maxBytes} that safetensors allows; use shorter names or less metadata`)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true)
  bytes.set(text, 8)
  return bytes
}
