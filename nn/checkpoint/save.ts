/** Saving a checkpoint to a file or, beyond a size, to shards with their index. */
import { CheckpointError } from '../../engine/index.ts'
import { locate } from '#files'
import { reasonOf } from './bytes.ts'
import { handleFolder, stageHandle } from './files.ts'
import type { Folder, Staged } from './files.ts'
import { encodeIndex, indexName, isShardOf, readIndex, shardName, splitShards } from './shards.ts'
import { checkOptions, itemsOf, writing } from './write.ts'
import type { EncodeOptions, Item, Saveable, Writing } from './write.ts'

/** A path, of a file or a folder that is there, or what browsers have in its place. A folder gets a file model.safetensors. */
export type SaveLocation = string | URL | FileSystemFileHandle | FileSystemDirectoryHandle

export interface SaveOptions extends EncodeOptions {
  /** Bytes of tensors that a file may have; more are written as shards. Default: one file. */
  readonly maxShardBytes?: number
}

/**
 * Writes tensors as safetensors, reading them one at a time: saving a model takes no second copy of it in memory. A file
 * that was there is replaced when all is written and flushed, never half; if anything fails, it is still what it was. So
 * are shards that were there under the same name, by a file, and a file by shards. Of several savings at once one stays.
 * To offer a download in a page, make a Blob of `streamSafetensors`. Throws CheckpointError for what cannot be written.
 */
export async function saveCheckpoint(where: SaveLocation, tensors: Saveable, { maxShardBytes = Infinity, ...options }: SaveOptions = {}): Promise<void> {
  checkOptions('saveCheckpoint', options)
  if (!(maxShardBytes > 0)) throw new CheckpointError(`saveCheckpoint: shards of at most ${maxShardBytes} bytes cannot hold anything; use a positive size`)
  const items = itemsOf(tensors, options)
  const parts = splitShards(items, maxShardBytes)
  const { stage, file, folder } = await target(where)
  const whole = (): Promise<Staged> => stage(writing(items, options))
  if (folder === undefined) {
    if (parts.length > 1) throw new CheckpointError(`${file} is one file, which cannot take ${parts.length} shards; pass a path or a folder`)
    return placed(file, [whole])
  }
  const index = indexName(file)
  const replace = (written: readonly string[], write: () => Promise<void>): Promise<void> => folder.exclusive(index, () => supersede(folder, file, new Set(written), write))
  if (parts.length <= 1) return placed(file, [whole], (commit) => replace([file], commit))
  const shards = parts.map((part, i): [string, Item[]] => [shardName(file, i, parts.length), part])
  const writes = shards.map(([name, part]) => () => stageIn(folder, name, writing(part, options)))
  await placed(file, writes, (commit) => replace([...shards.map(([name]) => name), index], async () => {
    await commit()
    const staged = await folder.stage(index, [encodeIndex(shards)])
    await staged.commit()
  }))
}

/** Writes files that are a checkpoint, an index last, and removes others that were saved as `file` before. */
async function supersede(folder: Folder, file: string, written: ReadonlySet<string>, write: () => Promise<void>): Promise<void> {
  const index = indexName(file)
  const before = new Set(await folder.list())
  const listed = before.has(index) ? await folder.open(index).then(readIndex).then((map) => [...map.values()], () => []) : []
  // Shards of two savings must not be taken for a checkpoint: where some are replaced, the index that is there goes first.
  if (listed.some((name) => written.has(name))) {
    await folder.remove(index)
    before.delete(index)
  }
  await write()
  const old = new Set([file, index, ...listed.filter((name) => isShardOf(name, file))])
  for (const name of old.intersection(before).difference(written)) await folder.remove(name)
}

interface Target {
  readonly file: string
  /** Missing where only one file may be written. */
  readonly folder?: Folder
  readonly stage: (content: Writing) => Promise<Staged>
}

async function target(where: SaveLocation): Promise<Target> {
  if (typeof where !== 'string' && !(where instanceof URL)) {
    if (where.kind === 'file') return { file: where.name, stage: ({ chunks, header }) => stageHandle(where, chunks(), header) }
    return inFolder(handleFolder(where))
  }
  const place = await locate(String(where))
  if (place instanceof URL) throw new CheckpointError(`${place.href} is a URL, which cannot be written to; pass a path or, in browsers, a file or folder handle`)
  return inFolder(place.folder, place.file)
}

function inFolder(folder: Folder, file = 'model.safetensors'): Target {
  return { file, folder, stage: (content) => stageIn(folder, file, content) }
}

function stageIn(folder: Folder, file: string, { chunks, header }: Writing): Promise<Staged> {
  return folder.stage(file, chunks(), header)
}

/** Writes all, then puts all in their places; where writing fails, none. */
async function placed(file: string, writes: readonly (() => Promise<Staged>)[], around = (commit: () => Promise<void>): Promise<void> => commit()): Promise<void> {
  const staged: Staged[] = []
  try {
    for (const write of writes) staged.push(await write())
    await around(async () => {
      while (staged.length > 0) await staged.shift()?.commit()
    })
  } catch (error) {
    for (const one of staged) await one.discard()
    if (!(error instanceof Error && 'code' in error)) throw error
    throw new CheckpointError(`${file} could not be saved: ${reasonOf(error)}${error.code === 'ENOENT' ? '; create its folder first' : ''}`, { cause: error })
  }
}
