/**
 * Checkpoints in several files, as Hugging Face's libraries lay them out: model-00001-of-00003.safetensors and so on, and
 * model.safetensors.index.json, whose weight_map says which tensor is in which.
 */
import { CheckpointError } from '../../engine/index.ts'
import { readRange } from './bytes.ts'
import type { ByteSource } from './bytes.ts'
import type { HostTensor, TensorInfo } from './format.ts'
import { bytesOf } from './header.ts'
import type { Entry } from './header.ts'
import { isRecord, isTexts, parseJson, show } from './json.ts'
import { onlyOne } from './read.ts'
import type { Checkpoint } from './read.ts'

/** File names of shards by the names of tensors. */
export type WeightMap = ReadonlyMap<string, string>

const maxIndexBytes = 100_000_000

export async function readIndex(index: ByteSource): Promise<WeightMap> {
  const fail = (why: string): never => {
    throw new CheckpointError(`${index.name}: ${why}; it is not the index of a sharded checkpoint`)
  }
  if (index.size > maxIndexBytes) return fail(`it has ${index.size} bytes`)
  const { weight_map: map } = parseJson(await readRange(index, 0, index.size), 'its content', fail)
  if (!isRecord(map) || !isTexts(map)) return fail('it has no weight_map from tensors to files')
  const stray = Object.values(map).find((file) => !/^[^/\\:]+\.safetensors$/.test(file))
  if (stray !== undefined) return fail(`its weight_map names ${show(stray)}, which is no file beside it`)
  return new Map(Object.entries(map))
}

/** Several files as one checkpoint; with an index, they must hold exactly what it says. */
export function joinShards(shards: ReadonlyMap<string, Checkpoint>, source: string, index?: WeightMap): Checkpoint {
  const homes = new Map<string, Checkpoint>()
  for (const [file, shard] of shards) {
    for (const name of shard.tensors.keys()) {
      const other = homes.get(name)
      if (other !== undefined) throw new CheckpointError(`${source}: tensor ${name} is both in ${other.source} and in ${shard.source}; which of them is meant is not known`)
      if (index !== undefined && index.get(name) !== file) throw new CheckpointError(`${source}: tensor ${name} is in ${shard.source} but the index ${index.has(name) ? `says it is in ${index.get(name)}` : 'does not list it'}; the files do not belong together`)
      homes.set(name, shard)
    }
  }
  for (const [name, file] of index ?? []) {
    if (!homes.has(name)) throw new CheckpointError(`${source}: tensor ${name} should be in ${shards.get(file)?.source ?? file} but is not; the files do not belong together`)
  }
  const tensors = new Map<string, TensorInfo>([...shards.values()].flatMap((shard) => [...shard.tensors]))
  async function* entries(names: Iterable<string> = tensors.keys(), undecoded?: ReadonlySet<string>): AsyncGenerator<[string, HostTensor], void> {
    const wanted = new Set(names)
    for (const name of wanted) if (!tensors.has(name)) throw new CheckpointError(`${source} has no tensor ${name}; its tensors property lists those it has`)
    for (const shard of shards.values()) {
      const here = [...shard.tensors.keys()].filter((name) => wanted.has(name))
      if (here.length > 0) yield* shard.entries(here, undecoded)
    }
  }
  // Where shards differ in their metadata, the first one's stands.
  const metadata = Object.assign({}, ...[...shards.values()].toReversed().map((shard) => shard.metadata)) as Record<string, string>
  return { source, tensors, metadata, entries, read: (name) => onlyOne(entries([name])) }
}

/** Which tensors go together in files of at most `maxBytes` of tensors; a larger one has a file to itself. */
export function splitShards<T extends Entry>(entries: readonly T[], maxBytes: number): T[][] {
  const shards: T[][] = []
  let bytes = 0
  for (const entry of entries) {
    const shard = shards.at(-1)
    bytes += bytesOf(entry)
    if (shard !== undefined && bytes <= maxBytes) shard.push(entry)
    else {
      shards.push([entry])
      bytes = bytesOf(entry)
    }
  }
  return shards
}

/** model.safetensors becomes model-00002-of-00003.safetensors. */
export function shardName(file: string, i: number, count: number): string {
  const number = (n: number): string => String(n).padStart(5, '0')
  return `${stemOf(file)}-${number(i + 1)}-of-${number(count)}.safetensors`
}

/** model.safetensors becomes model.safetensors.index.json. */
export function indexName(file: string): string {
  return `${stemOf(file)}.safetensors.index.json`
}

/** Whether a file may be a shard of `of`, in however many. */
export function isShardOf(file: string, of: string): boolean {
  const stem = stemOf(of)
  return file.startsWith(stem) && /^-\d{5}-of-\d{5}\.safetensors$/.test(file.slice(stem.length))
}

function stemOf(file: string): string {
  return file.replace(/\.safetensors$/, '')
}

export function isShardName(file: string): boolean {
  return /-\d{5}-of-\d{5}\.safetensors$/.test(file)
}

/** The index of shards, written as Hugging Face's libraries do. */
export function encodeIndex(shards: readonly (readonly [file: string, entries: readonly Entry[]])[]): Uint8Array<ArrayBuffer> {
  const total = shards.reduce((sum, [, entries]) => entries.reduce((bytes, entry) => bytes + bytesOf(entry), sum), 0)
  const map = shards.flatMap(([file, entries]) => entries.map(({ name }): [string, string] => [name, file]))
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(map.toSorted(([x], [y]) => (x < y ? -1 : 1))) }
  return new TextEncoder().encode(`${JSON.stringify(index, null, 2)}\n`)
}
