/** Bytes that are read by ranges, wherever they lie: here in memory and in blobs, in http.ts behind URLs, in files.node.ts on disks. */
import { CheckpointError } from '../../engine/index.ts'

/** Something with a length that can be read in parts. Implement it to read checkpoints from anywhere else. */
export interface ByteSource {
  /** For errors: a path, a URL. */
  readonly name: string
  /** Bytes in all. */
  readonly size: number
  /** The bytes from `from` up to but without `to`, within `size`, for the caller to keep. Rejects rather than give other or fewer. */
  read(from: number, to: number): Promise<Uint8Array<ArrayBuffer>>
}

/** A range of a source, whose every failure is a CheckpointError. */
export async function readRange(source: ByteSource, from: number, to: number): Promise<Uint8Array<ArrayBuffer>> {
  const range = `bytes ${from} to ${to} of ${source.name}`
  if (!(from >= 0 && from <= to && to <= source.size)) throw new CheckpointError(`${range} lie outside its ${source.size} bytes`)
  const bytes = await source.read(from, to).catch((error: unknown) => {
    throw error instanceof CheckpointError ? error : new CheckpointError(`${range} could not be read: ${reasonOf(error)}`, { cause: error })
  })
  if (bytes.length !== to - from) throw new CheckpointError(`${range} could not be read: only ${bytes.length} came; it was cut short meanwhile`)
  return bytes
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Bytes in memory. */
export function bytesSource(bytes: Uint8Array<ArrayBuffer>, name: string): ByteSource {
  return { name, size: bytes.length, read: async (from, to) => bytes.slice(from, to) }
}

/** A Blob, or a File that was chosen or dropped: only what is asked for is read into memory. */
export function blobSource(blob: Blob, name: string = blob instanceof File ? blob.name : 'blob'): ByteSource {
  return { name, size: blob.size, read: async (from, to) => new Uint8Array(await blob.slice(from, to).arrayBuffer()) }
}
