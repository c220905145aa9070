/** A run's folder belongs to one process at a time: a file in it says to which, until the process ends. */
import { readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { isRunning, whileLocked } from '../nn/checkpoint/files.node.ts'
import { FileError, fileError } from './files.ts'

/** The folder is another process's. */
export class ClaimedError extends FileError {}

/** Names of the files that claims are made with. */
export const isOfClaims = (file: string): boolean => file === 'running' || file === 'running.lock'

/** Milliseconds between signs of life, and those after which a process of another machine is taken for dead; of this machine's one can ask. */
const [every, abandoned] = [60_000, 600_000]

/**
 * Makes the folder this process's until it ends, or until the returned function is called. Throws ClaimedError while it is
 * another's; what a process left that was killed is taken over.
 */
export async function claim(folder: string): Promise<() => void> {
  const file = path.join(folder, 'running')
  // One at a time: of several that find what a dead process left, the first takes it over and the others find that.
  const owner = await whileLocked(`${file}.lock`, async () => {
    const found = ownerOf(file)
    if (found === undefined) writeFileSync(file, `${process.pid} ${hostname()}\n`)
    return found
  }).catch((error: unknown) => {
    throw fileError('write', file, error)
  })
  if (owner !== undefined) throw new ClaimedError(`${folder} is in use: process ${owner} trains there; let it end first, or choose another folder. If there is no such process any more, remove ${file}`)
  const alive = setInterval(() => attempt(() => utimesSync(file, new Date(), new Date())), every).unref()
  const release = (): void => {
    clearInterval(alive)
    process.off('exit', release)
    attempt(() => rmSync(file, { force: true }))
  }
  process.on('exit', release)
  return release
}

/** Whose a claim is, unless there is none or its process is gone. */
function ownerOf(file: string): string | undefined {
  const written = statSync(file, { throwIfNoEntry: false })
  if (written === undefined) return undefined
  const [pid = '', host = ''] = readFileSync(file, 'utf8').trim().split(' ')
  if (host === hostname()) return Number(pid) !== process.pid && isRunning(Number(pid)) ? pid : undefined // A number may come again, in a container most of all.
  return host !== '' && Date.now() - written.mtimeMs < abandoned ? `${pid} of ${host}` : undefined
}

function attempt(act: () => void): void {
  try {
    act()
  } catch {
    // Saving says what is wrong with the disk.
  }
}
