/** Reading and writing files, and saying why it failed. */
import { accessSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { hasCode, replaceFile } from '../nn/checkpoint/files.node.ts'

/** A file or folder that could not be read or written; the message says which, why, and what to do. */
export class FileError extends Error {
  override readonly name = 'FileError'
}

const causes: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; free some space',
  EDQUOT: 'your disk quota is used up; free some space',
  EROFS: 'the file system is read-only; choose another folder with --out',
  EACCES: 'permission is denied; change its permissions, or choose another folder with --out',
  EPERM: 'permission is denied; change its permissions, or choose another folder with --out',
  ENOENT: 'it, or the folder it is in, does not exist; check the path',
  'create ENOENT': 'its file system takes no new folders there; choose another folder with --out',
  ENOTDIR: 'part of the path is a file, not a folder; choose another folder with --out',
  EEXIST: 'a file is in the way; choose another folder with --out',
  EISDIR: 'it is a folder, not a file; check the path',
  EFBIG: 'the file would be larger than the system allows; raise the limit (ulimit -f)',
  EMFILE: 'too many files are open; close some, or raise the limit (ulimit -n)',
}

/** What the system said, as one line for people. */
export function fileError(action: string, file: string, error: unknown): FileError {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  const cause = causes[`${action} ${code}`] ?? causes[code]
  const reason = cause === undefined ? (error instanceof Error ? error.message : String(error)) : `${cause} (${code})`
  return new FileError(`cannot ${action} ${file}: ${reason}`, { cause: error })
}

/** Runs `act`; an error of the system becomes a FileError about `file`. */
function about<T>(action: string, file: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw fileError(action, file, error)
  }
}

/** Creates a folder and those above it. (Node's own way takes a read-only disk for a path that does not exist, and never ends in /proc.) */
export function makeFolder(folder: string): void {
  const make = (place: string): void => {
    try {
      mkdirSync(place)
    } catch (error) {
      if (statSync(place, { throwIfNoEntry: false })?.isDirectory() === true) return
      const parent = path.dirname(place)
      if (!hasCode(error, 'ENOENT') || parent === place || statSync(parent, { throwIfNoEntry: false }) !== undefined) throw error
      make(parent)
      mkdirSync(place)
    }
  }
  about('create', folder, () => make(path.resolve(folder)))
}

export function readFile(file: string): Uint8Array<ArrayBuffer> {
  return about('read', file, () => new Uint8Array(readFileSync(file)))
}

/** Throws now if `file` could not be written later, because there is no folder for it or one that is closed. */
export function expectWritable(file: string): void {
  about('write', file, () => accessSync(path.dirname(path.resolve(file)), constants.W_OK))
}

/** Replaces `file` by `content`. Whatever happens, `file` is either what it was or all of `content`; into a device or a pipe it is written. */
export async function writeFile(file: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  const there = statSync(file, { throwIfNoEntry: false })
  const written = there === undefined || there.isFile() || there.isDirectory() ? replaceFile(file, bytes) : fs.writeFile(file, bytes)
  await written.catch((error: unknown) => {
    throw fileError('write', file, error)
  })
}
