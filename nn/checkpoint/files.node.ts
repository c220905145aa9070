/** Files on disks; the twin of files.browser.ts, chosen by package.json's `imports`. */
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CheckpointError } from '../../engine/index.ts'
import type { ByteSource } from './bytes.ts'
import type { Folder, Staged } from './files.ts'

/** A string that names a checkpoint: a URL, or a path as the folder it is or the folder and file it names. */
export async function locate(where: string): Promise<URL | { readonly folder: Folder; readonly file?: string }> {
  const url = URL.canParse(where) && /^\w{2,}:/.test(where) ? new URL(where) : undefined // C:\ is a path
  if (url !== undefined && url.protocol !== 'file:') return url
  const file = url === undefined ? where : fileURLToPath(url)
  const isFolder = await stat(file).then((found) => found.isDirectory(), () => false)
  return isFolder ? { folder: pathFolder(file) } : { folder: pathFolder(path.dirname(file)), file: path.basename(file) }
}

function pathFolder(folder: string): Folder {
  return {
    name: folder,
    list: () => readdir(folder),
    open: (file) => fileSource(path.join(folder, file)),
    stage: (file, chunks) => stageFile(path.join(folder, file), chunks),
    remove: (file) => rm(path.join(folder, file)),
  }
}

/** Opened anew for each range, so that there is nothing to close; throws where the file is no longer the one it was. */
async function fileSource(file: string): Promise<ByteSource> {
  const { size, version } = await withFile(file, identify)
  const read = (from: number, to: number): Promise<Uint8Array<ArrayBuffer>> =>
    withFile(file, async (handle) => {
      if ((await identify(handle)).version !== version) throw new CheckpointError(`${file} was changed while it was read; open it again`)
      const bytes = new Uint8Array(to - from)
      let at = 0
      for (let got = -1; at < bytes.length && got !== 0; at += got) got = (await handle.read(bytes, at, Math.min(bytes.length - at, 2 ** 30), from + at)).bytesRead
      return bytes.subarray(0, at)
    })
  return { name: file, size, read }
}

async function withFile<T>(file: string, act: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(file)
  try {
    return await act(handle)
  } finally {
    await handle.close()
  }
}

/** Size, and what changes when a file is written or another takes its place. */
async function identify(handle: FileHandle): Promise<{ size: number; version: string }> {
  const { dev, ino, size, mtimeNs } = await handle.stat({ bigint: true })
  return { size: Number(size), version: [dev, ino, size, mtimeNs].join() }
}

/** Written beside it and flushed to the disk, to be renamed over it: `file` is always either what it was or all of `chunks`. */
async function stageFile(file: string, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Staged> {
  const beside = `${file}.tmp` // Always the same, so that what a crash left behind is used up by the next.
  const discard = (): Promise<void> => rm(beside, { force: true })
  try {
    const handle = await open(beside, 'w')
    try {
      for await (const chunk of chunks) await writeAll(handle, chunk)
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    await discard()
    throw error
  }
  const commit = async (): Promise<void> => {
    try {
      await rename(beside, file)
    } catch (error) {
      await discard()
      throw error
    }
    // So that the renaming itself survives a power cut. Windows cannot open folders, and needs no flush.
    if (process.platform !== 'win32') await withFile(path.dirname(file), (handle) => handle.sync())
  }
  return { commit, discard }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten
}

/** Replaces `file` by `content`. */
export async function replaceFile(file: string, content: Uint8Array): Promise<void> {
  const staged = await stageFile(file, [content])
  await staged.commit()
}
