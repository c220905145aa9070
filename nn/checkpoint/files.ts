/** Files and folders as files.node.ts and files.browser.ts give them, and those of browsers' handles. */
import { blobSource } from './bytes.ts'
import type { ByteSource } from './bytes.ts'

/** A file that is written but not yet in its place. */
export interface Staged {
  readonly commit: () => Promise<void>
  /** Forgets what was written. */
  readonly discard: () => Promise<void>
}

export interface Folder {
  readonly name: string
  list(): Promise<string[]>
  open(file: string): Promise<ByteSource>
  /** Writes a file beside the one of that name, which stays what it is until `commit`. What `start` gives after the last chunk is put over the first bytes. */
  stage(file: string, chunks: Chunks, start?: Start): Promise<Staged>
  remove(file: string): Promise<void>
  /** Does something while nobody else does under that name, in whatever process or tab. */
  exclusive(name: string, act: () => Promise<void>): Promise<void>
}

export type Start = () => Uint8Array<ArrayBuffer>
export type Chunks = AsyncIterable<Uint8Array<ArrayBuffer>> | Iterable<Uint8Array<ArrayBuffer>>

/** Of the origin private file system, or one that the user chose. Browsers keep a file's old content until its stream is closed. */
export async function stageHandle(handle: FileSystemFileHandle, chunks: Chunks, start?: Start): Promise<Staged> {
  const stream = await handle.createWritable()
  try {
    for await (const chunk of chunks) await stream.write(chunk)
    if (start !== undefined) await stream.write({ type: 'write', position: 0, data: start() })
  } catch (error) {
    await stream.abort()
    throw error
  }
  return { commit: () => stream.close(), discard: () => stream.abort() }
}

export function handleFolder(handle: FileSystemDirectoryHandle): Folder {
  return {
    name: handle.name,
    async list() {
      const names: string[] = []
      for await (const name of handle.keys()) names.push(name)
      return names
    },
    open: async (file) => blobSource(await (await handle.getFileHandle(file)).getFile(), file),
    async stage(file, chunks, start) {
      const before = await handle.getFileHandle(file).catch(() => undefined)
      // Getting a handle creates an empty file, which is not to outlive what it was made for, unless others filled it.
      const clear = async (): Promise<void> => {
        const left = before === undefined ? await handle.getFileHandle(file).then((now) => now.getFile()) : undefined
        if (left?.size === 0) await handle.removeEntry(file)
      }
      try {
        const { commit, discard } = await stageHandle(before ?? (await handle.getFileHandle(file, { create: true })), chunks, start)
        return { commit, discard: () => discard().then(clear) }
      } catch (error) {
        await clear()
        throw error
      }
    },
    remove: (file) => handle.removeEntry(file),
    exclusive: (name, act) => navigator.locks.request(`langevin ${handle.name}/${name}`, act),
  }
}
