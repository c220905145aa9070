/** Writing safetensors, but for digests byte for byte as the Python package does: a whole file at once, or piece by piece. */
import { CheckpointError, Variable, realize } from '../../engine/index.ts'
import type { DType, TensorLike, TypedArray } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { crc32 } from '#crc32'
import { hostArray, isFloat } from '../../engine/dtype.ts'
import { readData } from '../../engine/realize.ts'
import { formatShape, sizeOf } from '../../engine/shape.ts'
import { digestsKey } from './digest.ts'
import { converts, fileDTypes, formats } from './format.ts'
import type { FileDType, HostTensor } from './format.ts'
import { bytesOf, encodeHeader, inFileOrder } from './header.ts'
import type { Entry } from './header.ts'
import { isTexts } from './json.ts'

/** What can be written, by name: values on the host, and variables and tensors, which are read one at a time. */
export type Saveable = Readonly<Record<string, HostTensor | TensorLike>> | ReadonlyMap<string, HostTensor | TensorLike>

export interface DigestOptions {
  /** Default true: metadata get a CRC-32 of each tensor, by which reading notices damage. Without them the bytes are those of the Python package. */
  readonly digests?: boolean
}

export interface EncodeOptions extends DigestOptions {
  readonly metadata?: Readonly<Record<string, string>>
  /**
   * What to store a tensor as: any float for floats, I64 or I8 for i32. Default: its own dtype. For half the size:
   * `format: (name, dtype) => (dtype === 'f32' ? 'F16' : undefined)`.
   */
  readonly format?: (name: string, dtype: DType) => FileDType | undefined
}

/** A tensor to be written, and how to get its values. */
export interface Item extends Entry {
  readonly read: () => TypedArray | Promise<TypedArray>
}

/** Elements converted at once. */
const pieceElements = 2 ** 21

/**
 * The bytes of a file with these tensors. Equal tensors give equal bytes, whatever their order. Throws CheckpointError
 * for data that does not fill its shape, and for values or names that the file cannot hold.
 */
export function encodeSafetensors(tensors: ReadonlyMap<string, HostTensor>, metadata: Readonly<Record<string, string>> = {}, { digests = true, ...others }: DigestOptions = {}): Uint8Array<ArrayBuffer> {
  refuseOthers('encodeSafetensors', others)
  checkMetadata(metadata)
  const items = inFileOrder([...tensors].map(([name, tensor]) => ({ ...hostItem(name, tensor), data: tensor.data })))
  const crcs = digests ? items.map(() => 0) : undefined
  const start = encodeHeader(items, metadata, crcs).length
  const file = new Uint8Array(items.reduce((bytes, entry) => bytes + bytesOf(entry), start))
  let at = start
  for (const [i, entry] of items.entries()) {
    for (const piece of encodeData(entry, entry.data)) {
      file.set(piece, at)
      at += piece.length
      if (crcs !== undefined) crcs[i] = crc32(piece, crcs[i])
    }
  }
  file.set(encodeHeader(items, metadata, crcs))
  return file
}

/**
 * The same file in pieces of a few megabytes, for which tensors are read one by one: no second copy of the model is made.
 * The values are those at the call; a variable that is moved before it was read rejects with StaleReadError. Digests, which
 * come first in the file, take reading everything twice.
 */
export function streamSafetensors(tensors: Saveable, options: EncodeOptions = {}): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  checkOptions('streamSafetensors', options)
  const { chunks, header } = writing(itemsOf(tensors, options), options)
  return header === undefined ? chunks() : afterwards(chunks)
}

/** The chunks of the second time. */
async function* afterwards(chunks: () => AsyncGenerator<Uint8Array<ArrayBuffer>, void>): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  for await (const _ of chunks());
  yield* chunks()
}

/** Throws ConfigError if there are options that files have not. */
export function checkOptions(op: string, { metadata: _, digests: __, format: ___, ...others }: EncodeOptions): void {
  refuseOthers(op, others)
}

/** Checks everything that can be checked before values are read, and fixes which values are meant. */
export function itemsOf(tensors: Saveable, { metadata = {}, format }: EncodeOptions): Item[] {
  checkMetadata(metadata)
  const entries = isMap(tensors) ? [...tensors] : Object.entries(tensors)
  const variables = entries.flatMap(([, tensor]) => (tensor instanceof Variable ? [tensor] : []))
  const computed = variables.length === 0 ? undefined : realize(...variables)
  computed?.catch(() => undefined) // Reported with the first item.
  return entries.map(([name, tensor]) => {
    const wanted = format?.(name, tensor.dtype)
    if (isHost(tensor)) return hostItem(name, wanted === undefined ? tensor : { ...tensor, format: wanted })
    const fixed = tensor.read()
    return item(name, tensor, wanted, async () => {
      await computed
      return readData(fixed)
    })
  })
}

/** A file as it is written. */
export interface Writing {
  /** The first is the header, whose digests are those of the chunks that were given before. */
  readonly chunks: () => AsyncGenerator<Uint8Array<ArrayBuffer>, void>
  /** The header with the digests of the chunks that were given, to be put over it; undefined where there are none. */
  readonly header: (() => Uint8Array<ArrayBuffer>) | undefined
}

export function writing(items: readonly Item[], { metadata = {}, digests = true }: EncodeOptions): Writing {
  const ordered = inFileOrder(items)
  const crcs = digests ? ordered.map(() => 0) : undefined
  const header = (): Uint8Array<ArrayBuffer> => encodeHeader(ordered, metadata, crcs)
  async function* chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    yield header()
    for (const [i, item] of ordered.entries()) {
      let crc = 0
      for (const piece of encodeData(item, await item.read())) {
        if (crcs !== undefined) crcs[i] = crc = crc32(piece, crc)
        yield piece
      }
    }
  }
  return { chunks, header: digests ? header : undefined }
}

function isMap(tensors: Saveable): tensors is ReadonlyMap<string, HostTensor | TensorLike> {
  return tensors instanceof Map
}

function isHost(tensor: HostTensor | TensorLike): tensor is HostTensor {
  return 'data' in tensor && ArrayBuffer.isView(tensor.data)
}

function hostItem(name: string, { dtype, shape, data, format }: HostTensor): Item {
  const array = hostArray(dtype, 0).constructor
  const rounds = isFloat(dtype) && data instanceof Float64Array // what the reference device computes in
  if (data.constructor !== array && !rounds) throw new CheckpointError(`tensor ${name} is ${dtype} but its data is a ${data.constructor.name}; pass a ${array.name}`)
  if (data.length !== sizeOf(shape)) throw new CheckpointError(`tensor ${name} has shape ${formatShape(shape)} but ${data.length} values; pass as many as the shape holds`)
  return item(name, { dtype, shape }, format, () => data)
}

function item(name: string, { dtype, shape }: Pick<HostTensor, 'dtype' | 'shape'>, format: FileDType = fileDTypes[dtype], read: Item['read']): Item {
  if (name === '__metadata__' || !name.isWellFormed()) throw new CheckpointError(`no tensor in a safetensors file can be called ${name}; rename it`)
  if (!converts(dtype, formats[format].dtype)) throw new CheckpointError(`tensor ${name} is ${dtype}, which cannot be stored as ${format}; cast it first`)
  return { name, shape, format, read }
}

function checkMetadata(metadata: Readonly<Record<string, string>>): void {
  if (Object.hasOwn(metadata, digestsKey)) throw new CheckpointError(`${digestsKey} is where metadata has the digests of tensors; leave it out, or choose another key`)
  if (!isTexts(metadata)) throw new CheckpointError('metadata of a safetensors file maps text to text; turn other values into text, such as JSON')
}

/** The values as the file's bytes, in pieces. */
function* encodeData({ name, format }: Entry, data: TypedArray): Generator<Uint8Array<ArrayBuffer>, void> {
  const { bytes, encode } = formats[format]
  for (let at = 0; at < data.length; at += pieceElements) {
    const part = data.subarray(at, at + pieceElements)
    const piece = new Uint8Array(part.length * bytes)
    const wrong = encode(part, piece)
    if (wrong !== undefined) throw new CheckpointError(`tensor ${name} is to be stored as ${format} but holds ${wrong}`)
    yield piece
  }
}
