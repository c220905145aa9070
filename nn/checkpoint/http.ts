/** Files behind URLs, read by HTTP range requests (RFC 9110, section 14). */
import { CheckpointError } from '../../engine/index.ts'
import { reasonOf } from './bytes.ts'
import type { ByteSource } from './bytes.ts'

/** What the first request asks for: most headers whole. */
const firstBytes = 2 ** 16

/**
 * A file behind a URL, read by HTTP range requests; `init` is given to every `fetch`, for headers and an abort signal.
 * Throws CheckpointError for a server that does not answer ranges, rather than load all of the file.
 */
export async function httpSource(url: URL, init: RequestInit = {}): Promise<ByteSource> {
  const name = `${url.origin === 'null' ? `${url.protocol}//` : url.origin}${url.pathname}` // without what may be secret
  const first = await request(url, name, init, 0, firstBytes)
  const { size, tag } = first
  return {
    name,
    size,
    async read(from, to) {
      if (to <= first.bytes.length) return first.bytes.slice(from, to)
      const next = await request(url, name, init, from, to)
      if (next.size !== size || next.tag !== tag) throw new CheckpointError(`${name} changed on the server while it was read; start again`)
      return next.bytes
    },
  }
}

interface Answer {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Of the whole file. */
  readonly size: number
  /** Names the version of the file, where the server does. */
  readonly tag: string
}

/** One range; fewer bytes only where the file ends. */
async function request(url: URL, name: string, init: RequestInit, from: number, to: number): Promise<Answer> {
  const fail = (why: string, options?: ErrorOptions): never => {
    throw new CheckpointError(`${name}: ${why}`, options)
  }
  const headers = new Headers(init.headers)
  headers.set('Range', `bytes=${from}-${to - 1}`)
  const response = await fetch(url, { ...init, headers }).catch((error: unknown) => fail(`the request failed (${reasonOf(error)}); check the address and the network`, { cause: error }))
  const part = partOf(response, from, to)
  if (typeof part === 'string') {
    await response.body?.cancel()
    return fail(part)
  }
  const bytes = await bodyOf(response, part.length).catch((error: unknown) => fail(`the download broke off (${reasonOf(error)}); try again`, { cause: error }))
  if (bytes === undefined) return fail(`the server sent another number of bytes than the ${part.length} it announced; try again`)
  return { bytes, size: part.size, tag: response.headers.get('ETag') ?? response.headers.get('Last-Modified') ?? '' }
}

/** What of the file an answer holds, or why it is not what was asked for. */
function partOf({ status, statusText, headers }: Response, from: number, to: number): { readonly length: number; readonly size: number } | string {
  if (status === 200) return 'the server sends the whole file where a part was asked for; download it and pass the Blob instead'
  if (status !== 206) return `the server answered ${status} ${statusText}`.trimEnd()
  const range = headers.get('Content-Range')
  if (range === null) return 'the answer does not say which part it is; let the server send Content-Range, and for other origins expose it (Access-Control-Expose-Headers)'
  const [start, end, size] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(range) ?? []).slice(1).map(Number)
  if (start !== from || end === undefined || size === undefined || end + 1 !== Math.min(to, size)) return `the server sent "${range}" where bytes ${from}-${to - 1} were asked for`
  return { length: end + 1 - start, size }
}

/** The body if it has that many bytes, else undefined; never reads on past them. */
async function bodyOf({ body }: Response, length: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = new Uint8Array(length)
  const reader = body?.getReader()
  let at = 0
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    if (at + part.value.length > length) {
      await reader?.cancel()
      return undefined
    }
    bytes.set(part.value, at)
    at += part.value.length
  }
  return at === length ? bytes : undefined
}
