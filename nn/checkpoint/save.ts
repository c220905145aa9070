/** Saving a checkpoint to a file or, beyond a size, to shards with their index. */
import { CheckpointError } from '../../engine/index.ts'
import { locate } from '#files'
import { reasonOf } from './bytes.ts'
import { handleFolder, stageHandle } from './files.ts'
import type { Chunks, Folder, Staged } from './files.ts'
import { encodeIndex, shardName, splitShards } from './shards.ts'
import { itemsOf, streamItems } from './write.ts'
import type { EncodeOptions, Item, Saveable } from './write.ts'

/** A path, of a file or a folder, or what browsers have in its place. A folder gets a file model.safetensors. */
export type SaveLocation = string | URL | FileSystemFileHandle | FileSystemDirectoryHandle

export interface SaveOptions extends EncodeOptions {
  /** Bytes of tensors that a file may have; more are written as shards. Default: one file. */
  readonly maxShardBytes?: number
}

/**
 * Writes tensors as safetensors, reading them one at a time: saving a model takes no second copy of it in memory. A file
 * that was there is replaced when all is written and flushed, never half; if anything fails, it is still what it was. To
 * offer a download in a page, make a Blob of `streamSafetensors`.
 */
export async function saveCheckpoint(where: SaveLocation, tensors: Saveable, { maxShardBytes = Infinity, ...options }: SaveOptions = {}): Promise<void> {
  if (!(maxShardBytes > 0)) throw new CheckpointError(`saveCheckpoint: shards of at most ${maxShardBytes} bytes cannot hold anything; use a positive size`)
  const items = itemsOf(tensors, options)
  const parts = splitShards(items, maxShardBytes)
  const { stage, file, folder } = await target(where)
  if (parts.length <= 1) return placed(file, [() => stage(streamItems(items, options.metadata))])
  if (folder === undefined) throw new CheckpointError(`${file} is one file, which cannot take ${parts.length} shards; pass a path or a folder`)
  const shards = parts.map((part, i): [string, Item[]] => [shardName(file, i, parts.length), part])
  const index = `${file.replace(/\.safetensors$/, '')}.safetensors.index.json`
  const writes = shards.map(([name, part]) => () => folder.stage(name, streamItems(part, options.metadata)))
  // The index that is there goes first and the new one comes last: shards of two savings cannot be taken for a checkpoint.
  const retire = async (): Promise<void> => {
    if ((await folder.list()).includes(index)) await folder.remove(index)
  }
  await placed(file, writes, retire)
  await placed(file, [() => folder.stage(index, [encodeIndex(shards)])])
}

interface Target {
  readonly file: string
  /** Missing where only one file may be written. */
  readonly folder?: Folder
  readonly stage: (chunks: Chunks) => Promise<Staged>
}

async function target(where: SaveLocation): Promise<Target> {
  if (typeof where !== 'string' && !(where instanceof URL)) {
    if (where.kind === 'file') return { file: where.name, stage: (chunks) => stageHandle(where, chunks) }
    return inFolder(handleFolder(where))
  }
  const place = await locate(String(where))
  if (place instanceof URL) throw new CheckpointError(`${place.href} is a URL, which cannot be written to; pass a path or, in browsers, a file or folder handle`)
  return inFolder(place.folder, place.file)
}

function inFolder(folder: Folder, file = 'model.safetensors'): Target {
  return { file, folder, stage: (chunks) => folder.stage(file, chunks) }
}

/** Writes all, then puts all in their places; where writing fails, none. */
async function placed(file: string, writes: readonly (() => Promise<Staged>)[], before?: () => Promise<void>): Promise<void> {
  const staged: Staged[] = []
  try {
    for (const write of writes) staged.push(await write())
    await before?.()
    while (staged.length > 0) await staged.shift()?.commit()
  } catch (error) {
    for (const one of staged) await one.discard()
    throw error instanceof Error && 'code' in error ? new CheckpointError(`${file} could not be saved: ${reasonOf(error)}`, { cause: error }) : error
  }
}
