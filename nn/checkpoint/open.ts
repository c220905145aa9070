/** Opening a checkpoint, whatever it is given as: a path, a URL, a blob, bytes, a browser's file handle, or shards of it. */
import { CheckpointError } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { locate } from '#files'
import { blobSource, bytesSource, reasonOf } from './bytes.ts'
import type { ByteSource } from './bytes.ts'
import { handleFolder } from './files.ts'
import type { Folder } from './files.ts'
import { httpSource } from './http.ts'
import { openSafetensors } from './read.ts'
import type { Checkpoint, VerifyOptions } from './read.ts'
import { indexName, isShardName, joinShards, readIndex } from './shards.ts'
import type { WeightMap } from './shards.ts'

/** One file, or the folder of one checkpoint. A string is a path in Node and a URL in browsers, where it is not both. */
export type FileLocation = string | URL | Blob | Uint8Array<ArrayBuffer> | ByteSource | FileSystemFileHandle | FileSystemDirectoryHandle

/** A file or folder; or the shards of one model, with or without their index. */
export type CheckpointLocation = FileLocation | readonly FileLocation[]

export interface OpenOptions extends VerifyOptions {
  /** Given to each `fetch`: headers (a token), a signal. */
  readonly request?: RequestInit
}

/**
 * Opens a checkpoint and reads only what says which tensors it has: headers, and the index of a sharded one. Tensors are read as
 * they are asked for, by ranges, so a file may be larger than memory. Of a folder the one index in it is opened, or the
 * one safetensors file; in place of a path to a file that is not there, its index. Throws CheckpointError for what cannot be read, is damaged, or is of another format.
 */
export async function openCheckpoint(where: CheckpointLocation, { request = {}, verify = true, ...others }: OpenOptions = {}): Promise<Checkpoint> {
  refuseOthers('openCheckpoint', others)
  if (isList(where)) return openList(await Promise.all(where.map((one) => find(one, request))), verify)
  const { source, sibling } = await find(where, request)
  if (!isIndex(source)) return openSafetensors(source, { verify })
  const index = await readIndex(source)
  return openSharded(source, index, verify, (file) => {
    if (sibling === undefined) throw new CheckpointError(`${source.name} is the index of a sharded checkpoint; pass a list of it and its shards`)
    return sibling(file)
  })
}

interface Found {
  readonly source: ByteSource
  /** A file beside it. */
  readonly sibling?: (file: string) => Promise<ByteSource>
}

const isList = (where: CheckpointLocation): where is readonly FileLocation[] => Array.isArray(where)
const isIndex = ({ name }: ByteSource): boolean => name.endsWith('.json')
const baseName = (name: string): string => name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1)

async function find(where: FileLocation, request: RequestInit): Promise<Found> {
  if (where instanceof Blob) return { source: blobSource(where) }
  if (where instanceof Uint8Array) return { source: bytesSource(where, 'bytes') }
  if (where instanceof URL && where.protocol !== 'file:') return findUrl(where, request)
  if (typeof where === 'string' || where instanceof URL) {
    const place = await locate(String(where))
    return place instanceof URL ? findUrl(place, request) : findIn(place.folder, place.file)
  }
  if ('read' in where) return { source: where }
  if (where.kind === 'directory') return findIn(handleFolder(where))
  return { source: blobSource(await where.getFile().catch((error: unknown) => unreadable(where.name, error)), where.name) }
}

function unreadable(name: string, error: unknown): never {
  throw error instanceof CheckpointError ? error : new CheckpointError(`${name} cannot be read: ${reasonOf(error)}`, { cause: error })
}

async function findUrl(url: URL, request: RequestInit): Promise<Found> {
  return { source: await httpSource(url, request), sibling: (file) => httpSource(new URL(encodeURIComponent(file), url), request) }
}

async function findIn(folder: Folder, file?: string): Promise<Found> {
  const sibling = (name: string): Promise<ByteSource> => folder.open(name).catch((error: unknown) => unreadable(name, error))
  if (file === undefined) return { source: await sibling(await onlyCheckpoint(folder)), sibling }
  const source = await sibling(file).catch(async (error: unknown) => {
    const files = new Set(await folder.list().catch((): string[] => []))
    if (files.has(file) || !files.has(indexName(file))) throw error
    return sibling(indexName(file)) // It was saved as shards.
  })
  return { source, sibling }
}

/** The file of a folder that stands for the checkpoint in it. */
async function onlyCheckpoint(folder: Folder): Promise<string> {
  const files = await folder.list().catch((error: unknown) => unreadable(folder.name, error))
  const [first, ...rest] = files.filter((file) => file.endsWith('.safetensors.index.json') || (file.endsWith('.safetensors') && !isShardName(file)))
  if (first === undefined) throw new CheckpointError(`${folder.name} holds no checkpoint: there is neither a .safetensors file nor the .safetensors.index.json of a sharded one in it`)
  if (rest.length > 0) throw new CheckpointError(`${folder.name} holds several checkpoints: ${[first, ...rest].toSorted().join(', ')}; pass the path of one of them`)
  return first
}

async function openList(found: readonly Found[], verify: boolean): Promise<Checkpoint> {
  const sources = found.map(({ source }) => source)
  const indices = sources.filter(isIndex)
  const shards = sources.filter((source) => !isIndex(source))
  const [index] = indices
  if (indices.length > 1) throw new CheckpointError(`the list has several indices: ${indices.map(({ name }) => name).join(', ')}; pass the one of this checkpoint`)
  if (index === undefined) return joinShards(new Map(await Promise.all(shards.map(async (shard, i) => [`${i}`, await openSafetensors(shard, { verify })] as const))), 'the list of files')
  return openSharded(index, await readIndex(index), verify, async (file) => {
    const shard = shards.find(({ name }) => baseName(name) === file)
    return shard ?? unreadable(file, new Error('it is not in the list'))
  })
}

async function openSharded(source: ByteSource, index: WeightMap, verify: boolean, open: (file: string) => Promise<ByteSource>): Promise<Checkpoint> {
  const files = [...new Set(index.values())].toSorted()
  const shards = await Promise.all(files.map(async (file) => {
    const shard = await open(file).catch((error: unknown) => {
      throw new CheckpointError(`${source.name} needs the shard ${file}: ${reasonOf(error)}`, { cause: error })
    })
    return [file, await openSafetensors(shard, { verify })] as const
  }))
  return joinShards(new Map(shards), source.name, index)
}
