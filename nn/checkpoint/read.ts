/** Reading safetensors: a whole file at once, or the header first and then tensors as they are asked for. */
import { CheckpointError } from '../../engine/index.ts'
import type { TypedArray } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { hostArray } from '../../engine/dtype.ts'
import { sizeOf } from '../../engine/shape.ts'
import { readRange } from './bytes.ts'
import type { ByteSource } from './bytes.ts'
import { damage, digest } from './digest.ts'
import { fileDTypes, foreignDTypes, formats, isFileDType } from './format.ts'
import type { Header, HostTensor, TensorInfo } from './format.ts'
import { headerLength, parseHeader, startBytes } from './header.ts'

/** The tensors of one file or of the shards of one model, read as they are asked for. There is nothing to close. */
export interface Checkpoint {
  /** Where it lies, for errors. */
  readonly source: string
  /** What there is, by name; only this has been read. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly metadata: Readonly<Record<string, string>>
  /** One tensor. Throws CheckpointError where it cannot be read, is not what was written, or is of a dtype there is none of here. */
  read(name: string): Promise<HostTensor>
  /**
   * Tensors one after the other, all unless `names` are given, in the order in which they lie; small ones are read together.
   * Those of `undecoded` come as the bytes that they are in the file, u8 [bytes].
   */
  entries(names?: Iterable<string>, undecoded?: ReadonlySet<string>): AsyncGenerator<[string, HostTensor], void>
}

/** A file that was read as a whole. */
export interface Safetensors {
  /** By name, in the order in which their bytes lie. */
  readonly tensors: ReadonlyMap<string, HostTensor>
  readonly metadata: Readonly<Record<string, string>>
  /** Whether the file has digests, and header and tensors are what was written. */
  readonly verified: boolean
}

export interface VerifyOptions {
  /** Default true: a file with digests, as it is written here, has every tensor held to its own when it is read, and the header when it is opened. */
  readonly verify?: boolean
}

/** Bytes read at once: a multiple of every element's, small beside a model and large beside the cost of a request. A tensor that needs no decoding is read as a whole. */
const spanBytes = 2 ** 24

/**
 * Reads a whole file; `source` names it in errors. f16 and bf16 come as f32 arrays, I64 and I8 as i32. Throws
 * CheckpointError, naming the tensor, for anything that is not exactly the format: a file cut short or with bytes left
 * over, offsets that overlap, leave gaps or lie outside, sizes that contradict the shape, a key given twice, a dtype there
 * is none of here, an I64 value outside i32, bytes that are not those that were written. Files of other formats, such as PyTorch's, are named as what they are.
 */
export function decodeSafetensors(file: Uint8Array<ArrayBuffer>, source = 'safetensors', { verify = true, ...others }: VerifyOptions = {}): Safetensors {
  refuseOthers('decodeSafetensors', others)
  const length = headerLength(file.subarray(0, startBytes), file.length, source)
  const { tensors, ...header } = parseHeader(file.subarray(8, 8 + length), file.length, source, verify)
  const decoded = [...tensors].map(([name, info]): [string, HostTensor] => {
    const tensor = allocate(name, info, source)
    const bytes = file.subarray(...info.range)
    check({ name, info, source }, digest(info, bytes), decodeInto(tensor.data, bytes, info))
    return [name, tensor]
  })
  return { tensors: new Map(decoded), ...header }
}

/** One file, of which only the header is read now. */
export async function openSafetensors(source: ByteSource, { verify = true }: VerifyOptions = {}): Promise<Checkpoint> {
  const { name: file, size } = source
  const start = await readRange(source, 0, Math.min(startBytes, size))
  const length = headerLength(start, size, file)
  const { tensors, metadata } = parseHeader(await readRange(source, 8, 8 + length), size, file, verify)
  const entries: Checkpoint['entries'] = (names = tensors.keys(), undecoded = new Set()) =>
    readTensors(source, new Map([...tensors].map(([name, info]) => [name, undecoded.has(name) ? asBytes(info) : info])), names)
  return { source: file, tensors, metadata, entries, read: (name) => onlyOne(entries([name])) }
}

const asBytes = (info: TensorInfo): TensorInfo => ({ ...info, dtype: 'u8', format: 'U8', shape: [info.range[1] - info.range[0]] })

/** The tensor of a generator that gives one. */
export async function onlyOne(entries: AsyncGenerator<[string, HostTensor], void>): Promise<HostTensor> {
  for await (const [, tensor] of entries) return tensor
  throw new RangeError('one tensor')
}

/** A tensor's bytes, or some of them. */
interface Part {
  readonly name: string
  readonly info: TensorInfo
  readonly from: number
  readonly to: number
}

async function* readTensors(source: ByteSource, tensors: Header['tensors'], names: Iterable<string>): AsyncGenerator<[string, HostTensor], void> {
  const wanted = new Set(names)
  for (const name of wanted) if (!tensors.has(name)) throw new CheckpointError(`${source.name} has no tensor ${name}; its tensors property lists those it has`)
  const spans = spansOf([...tensors].filter(([name]) => wanted.has(name)))
  const load = (span: readonly Part[] = []): Promise<Uint8Array<ArrayBuffer>> => readRange(source, span[0]?.from ?? 0, span.at(-1)?.to ?? 0)
  let ahead = load(spans[0])
  let tensor: HostTensor | undefined
  let [crc, wrong]: [number | undefined, string | undefined] = [0, undefined]
  for (const [i, span] of spans.entries()) {
    const bytes = await ahead
    ahead = load(spans[i + 1])
    ahead.catch(() => undefined) // Reported when its turn comes.
    for (const { name, info, from, to } of span) {
      const [begin, end] = info.range
      const start = from - (span[0]?.from ?? 0)
      const part = bytes.subarray(start, start + to - from)
      if (from === begin) [crc, wrong] = [0, undefined]
      if (tensor === undefined || from === begin) tensor = (span.length === 1 && to === end ? adopt(info, bytes) : undefined) ?? allocate(name, info, source.name)
      if (tensor.data.buffer !== bytes.buffer) {
        const elements = tensor.data.length / Math.max(1, end - begin)
        wrong ??= decodeInto(tensor.data.subarray((from - begin) * elements, (to - begin) * elements), part, info)
      }
      crc = digest(info, part, crc)
      if (to < end) continue
      check({ name, info, source: source.name }, crc, wrong)
      yield [name, tensor]
    }
  }
}

/** Groups of parts that follow each other without a gap, each of `spanBytes` at most. */
function spansOf(tensors: readonly (readonly [string, TensorInfo])[]): Part[][] {
  const spans: Part[][] = []
  for (const [name, info] of tensors) {
    const [begin, end] = info.range
    const most = viewOf(info) === undefined ? spanBytes : Math.max(spanBytes, end - begin)
    for (let from = begin; from < end || from === begin; from += most) {
      const part = { name, info, from, to: Math.min(end, from + most) }
      const span = spans.at(-1)
      if (span !== undefined && span.at(-1)?.to === from && part.to - (span[0]?.from ?? 0) <= spanBytes) span.push(part)
      else spans.push([part])
    }
  }
  return spans
}

function viewOf({ format }: TensorInfo): ((bytes: Uint8Array<ArrayBuffer>) => TypedArray) | undefined {
  return isFileDType(format) ? formats[format].view : undefined
}

/** The tensor whose values the bytes are as they stand, if they are. */
function adopt(info: TensorInfo, bytes: Uint8Array<ArrayBuffer>): HostTensor | undefined {
  const view = viewOf(info)
  return view === undefined || info.dtype === undefined || bytes.byteOffset % 8 !== 0 ? undefined : { dtype: info.dtype, shape: info.shape, data: view(bytes) }
}

/** The tensor without its values. */
function allocate(name: string, { dtype, shape, format }: TensorInfo, source: string): HostTensor {
  if (dtype === undefined) throw new CheckpointError(`${source}: tensor ${name} is ${format}: ${foreignDTypes.get(format)?.why}`)
  try {
    const tensor = { dtype, shape, data: hostArray(dtype, sizeOf(shape)) }
    return isFileDType(format) && fileDTypes[dtype] !== format ? { ...tensor, format } : tensor
  } catch (error) {
    throw new CheckpointError(`${source}: tensor ${name} has ${sizeOf(shape)} elements, for which there is no memory here`, { cause: error })
  }
}

interface Place {
  readonly name: string
  readonly info: TensorInfo
  readonly source: string
}

/** Returns what the bytes hold that cannot be decoded. */
function decodeInto(data: TypedArray, bytes: Uint8Array<ArrayBuffer>, { format }: TensorInfo): string | undefined {
  return isFileDType(format) ? formats[format].decode(bytes.byteOffset % 8 === 0 ? bytes : bytes.slice(), data) : undefined
}

/** Throws where a tensor's bytes are not those that were written or, if they are, could not be decoded. */
function check({ name, info, source }: Place, crc: number | undefined, wrong: string | undefined): void {
  const problem = damage(info, crc)
  if (problem !== undefined) throw new CheckpointError(`${source}: tensor ${name}: ${problem}`)
  if (wrong !== undefined) throw new CheckpointError(`${source}: tensor ${name} is ${info.format} and holds ${wrong}; convert it before it is loaded`)
}
