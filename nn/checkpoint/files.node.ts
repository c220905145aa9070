/** Files on disks; the twin of files.browser.ts, chosen by package.json's `imports`. */
import { open, readdir, readlink, realpath, rename, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CheckpointError } from '../../engine/index.ts'
import type { ByteSource } from './bytes.ts'
import type { Folder, Staged, Start } from './files.ts'

/** A string that names a checkpoint: a URL, or a path as the folder it is or the folder and file it names. What ends in a slash is a folder. */
export async function locate(where: string): Promise<URL | { readonly folder: Folder; readonly file?: string }> {
  const url = URL.canParse(where) && /^(?:\w{2,}:\/\/|(?:file|blob|data):)/i.test(where) ? new URL(where) : undefined // C:\ and run:1 are paths
  if (url !== undefined && url.protocol !== 'file:') return url
  const file = url === undefined ? where : fileURLToPath(url)
  const isFolder = file.endsWith('/') || file.endsWith(path.sep) || (await stat(file).then((found) => found.isDirectory(), () => false))
  return isFolder ? { folder: pathFolder(file) } : { folder: pathFolder(path.dirname(file)), file: path.basename(file) }
}

function pathFolder(folder: string): Folder {
  return {
    name: folder,
    list: () => readdir(folder),
    open: (file) => fileSource(path.join(folder, file)),
    stage: (file, chunks, start) => stageFile(path.join(folder, file), chunks, start),
    remove: (file) => rm(path.join(folder, file)),
    exclusive: (name, act) => whileLocked(path.join(folder, `${name}.lock`), act),
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

/** Written beside it and flushed to the disk, to be renamed over it: `file` is always either what it was or all of `chunks`, with `start` over its first bytes. */
async function stageFile(file: string, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, start?: Start): Promise<Staged> {
  const place = await behindLinks(file)
  const folder = path.dirname(place)
  await removeLeftovers(folder)
  // Of each saving its own, so that several at a time do not write into each other's.
  const beside = path.join(folder, `langevin-${hostname()}-${process.pid}-${crypto.randomUUID().slice(0, 8)}.tmp`)
  const discard = (): Promise<void> => rm(beside, { force: true })
  try {
    const handle = await open(beside, 'wx')
    try {
      for await (const chunk of chunks) await writeAll(handle, chunk)
      if (start !== undefined) await writeAll(handle, start(), 0)
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
      await rename(beside, place)
    } catch (error) {
      await discard()
      throw error
    }
    // So that the renaming itself survives a power cut. Windows cannot open folders, and needs no flush.
    if (process.platform !== 'win32') await withFile(folder, (handle) => handle.sync())
  }
  return { commit, discard }
}

/** Where a path leads that may be a symbolic link, also one to nothing: the link is to stay one. */
async function behindLinks(file: string): Promise<string> {
  try {
    return await realpath(file)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
    const link = await readlink(file).catch(() => undefined)
    return link === undefined ? file : behindLinks(path.resolve(await realpath(path.dirname(file)), link))
  }
}

/** Nobody writes to one file for so long without a word. */
const abandonedMs = 24 * 3600 * 1000

/** Removes what savings left behind that were killed: their process is gone or, where that cannot be told, they are old. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const [, host, pid] = /^langevin-(.+)-(\d+)-[\da-f]{8}\.tmp$/.exec(name) ?? []
    if (host === undefined) continue
    const file = path.join(folder, name)
    const gone = host === hostname() && !isRunning(Number(pid))
    if (gone || (await ageMs(file)) > abandonedMs) await rm(file, { force: true })
  }
}

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0) // sends nothing
  } catch (error) {
    return !hasCode(error, 'ESRCH')
  }
}

/** Since it was last written to; 0 where there is no such file. */
function ageMs(file: string): Promise<number> {
  return stat(file).then(({ mtimeMs }) => Date.now() - mtimeMs, () => 0)
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** By far longer than it takes to put files in their places. */
const lockMs = 60_000

/** A file stands for the right to act: of all processes one can create it. One that a crash left is taken away. */
export async function whileLocked<T>(lock: string, act: () => Promise<T>): Promise<T> {
  for (let taken = false; !taken; ) {
    taken = await open(lock, 'wx').then((handle) => handle.close()).then(() => true, (error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error
      return false
    })
    if (!taken && (await ageMs(lock)) > lockMs) await rm(lock, { force: true })
    else if (!taken) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  try {
    return await act()
  } finally {
    await rm(lock, { force: true })
  }
}

/** From `position` on, or where the last writing ended. */
async function writeAll(handle: FileHandle, chunk: Uint8Array, position?: number): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at, chunk.length - at, position === undefined ? null : position + at)).bytesWritten
}

/** Replaces `file` by `content`. */
export async function replaceFile(file: string, content: Uint8Array): Promise<void> {
  const staged = await stageFile(file, [content])
  await staged.commit()
}
