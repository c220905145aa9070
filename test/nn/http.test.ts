/** Checkpoints behind URLs: parts are asked for, and an answer that is anything else is refused. */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterAll, describe, expect, test } from 'vitest'
import { CheckpointError } from '../../engine/index.ts'
import { openCheckpoint } from '../../nn/checkpoint/open.ts'
import { encodeIndex } from '../../nn/checkpoint/shards.ts'
import { encodeSafetensors } from '../../nn/checkpoint/write.ts'
import { bitsOf, entriesOf, host } from './files.ts'

const large = host(Array.from({ length: 30_000 }, (_, i) => i))
const model = new Map([['a', host([1, 2])], ['large', large], ['z', host([3])]])
const file = Buffer.from(encodeSafetensors(model))

/** How the server answers the request of that number for bytes `from` to `to`, which lie within the file. */
type Answer = (response: ServerResponse, from: number, to: number, count: number) => void

const good: Answer = (response, from, to) => {
  response.writeHead(206, { 'Content-Range': `bytes ${from}-${to - 1}/${file.length}`, ETag: '"1"' })
  response.end(file.subarray(from, to))
}

const answers = new Map<string, Answer>()
const requests: IncomingMessage[] = []
const server = createServer((request, response) => {
  requests.push(request)
  const { pathname } = new URL(request.url ?? '', 'http://localhost')
  const [, from = '', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
  const answer = answers.get(decodeURIComponent(pathname))
  if (answer === undefined) response.writeHead(404).end('<html>')
  else answer(response, Number(from), Math.min(Number(last) + 1, file.length), requests.length)
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const address = server.address()
const base = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
afterAll(() => new Promise((resolve) => server.close(resolve)))

/** The URL of a file that is answered so. */
function served(answer: Answer, path = '/model.safetensors'): string {
  answers.set(path, answer)
  requests.length = 0
  return base + path
}

test('a tensor is read by ranges', async () => {
  const { tensors, read, source } = await openCheckpoint(new URL(`${served(good)}?token=secret`), { request: { headers: { Authorization: 'Bearer x' } } })
  expect([source, tensors.size]).toEqual([`${base}/model.safetensors`, 3])
  expect((await read('z')).data).toEqual(Float32Array.of(3))
  expect(requests.map(({ headers, url }) => [headers.range, headers.authorization, url])).toEqual([
    ['bytes=0-65535', 'Bearer x', '/model.safetensors?token=secret'],
    [`bytes=${file.length - 4}-${file.length - 1}`, 'Bearer x', '/model.safetensors?token=secret'],
  ])
})

test('damage on the way is noticed', async () => {
  const bad = served((response, from, to) => {
    response.writeHead(206, { 'Content-Range': `bytes ${from}-${to - 1}/${file.length}` })
    response.end(file.subarray(from, to).map((byte, i) => (from + i === file.length - 2 ? byte ^ 1 : byte)))
  })
  expect((await (await openCheckpoint(bad)).read('a')).data).toEqual(Float32Array.of(1, 2))
  await expect((await openCheckpoint(bad)).read('z')).rejects.toThrow('model.safetensors: tensor z: its bytes have the CRC-32')
  expect((await (await openCheckpoint(bad, { verify: false })).read('z')).data).toHaveLength(1)
})

test('all tensors, as a string or in a list', async () => {
  for (const where of [served(good), [served(good)]]) expect(bitsOf(await entriesOf(await openCheckpoint(where)))).toEqual(bitsOf(model))
})

test('shards beside their index', async () => {
  const whole = (bytes: Uint8Array): Answer => (response, from) => response.writeHead(206, { 'Content-Range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }).end(bytes.subarray(from))
  const [one, two] = ['m-00001-of-00002.safetensors', 'm-00002-of-00002.safetensors']
  served(whole(encodeSafetensors(new Map([['a', host([1, 2])]]))), `/x/${one}`)
  served(whole(encodeSafetensors(new Map([['z', host([3])]]))), `/x/${two}`)
  const entry = (name: string, size: number) => ({ name, shape: [size], format: 'F32' }) as const
  const index = served(whole(encodeIndex([[one, [entry('a', 2)]], [two, [entry('z', 1)]]])), '/x/m.safetensors.index.json')
  expect([...(await entriesOf(await openCheckpoint(index))).values()]).toEqual([host([1, 2]), host([3])])
  answers.delete(`/x/${two}`)
  await expect(openCheckpoint(index)).rejects.toThrow(`m.safetensors.index.json needs the shard ${two}: ${base}/x/${two}: the server answered 404 Not Found`)
})

describe('refused', () => {
  const part = (range: string, body: Uint8Array = file): Answer => (response) => response.writeHead(206, { 'Content-Range': range }).end(body)
  const size = file.length
  test.each<[string, Answer, string]>([
    ['a server that ignores ranges', (response) => response.writeHead(200).end(file), 'the server sends the whole file where a part was asked for; download it and pass the Blob instead'],
    ['a file that is not there', (response) => response.writeHead(404).end(), 'the server answered 404 Not Found'],
    ['an empty file', (response) => response.writeHead(416, { 'Content-Range': 'bytes */0' }).end(), 'the server answered 416 Range Not Satisfiable'],
    ['an answer that does not say which part it is', (response) => response.writeHead(206).end(file.subarray(0, 100)), 'the answer does not say which part it is'],
    ['a size that is not known', part('bytes 0-65535/*'), 'the server sent "bytes 0-65535/*" where bytes 0-65535 were asked for'],
    ['another part', part(`bytes 8-65543/${size}`), `the server sent "bytes 8-65543/${size}" where bytes 0-65535 were asked for`],
    ['another beginning', part(`bytes 8-65535/${size}`, file.subarray(8, 65536)), `the server sent "bytes 8-65535/${size}" where bytes 0-65535 were asked for`],
    ['less of it than there is', part(`bytes 0-99/${size}`), `the server sent "bytes 0-99/${size}" where bytes 0-65535 were asked for`],
    ['more bytes than it says', part(`bytes 0-65535/${size}`), 'the server sent another number of bytes than the 65536 it announced; try again'],
    ['fewer bytes than it says', part(`bytes 0-65535/${size}`, file.subarray(0, 99)), 'the server sent another number of bytes than the 65536 it announced; try again'],
    ['a connection that breaks', (response) => response.writeHead(206, { 'Content-Range': `bytes 0-65535/${size}`, 'Content-Length': 65536 }).write(file.subarray(0, 99), () => response.destroy()), 'the download broke off'],
    ['a connection that is not made', (response) => response.destroy(), 'the request failed'],
    ['a page', part(`bytes 0-15/16`, new TextEncoder().encode('<!DOCTYPE html>\n')), 'is a web page, not the file'],
  ])('%s', async (_, answer, message) => {
    const url = served(answer)
    await expect(openCheckpoint(url)).rejects.toThrow(CheckpointError)
    await expect(openCheckpoint(url)).rejects.toThrow(message)
    await expect(openCheckpoint(url)).rejects.toThrow(`${base}/model.safetensors`)
  })

  test('a file that changes on the server', async () => {
    let version = 1
    const { read } = await openCheckpoint(served((response, from, to) => response.writeHead(206, { 'Content-Range': `bytes ${from}-${to - 1}/${size}`, ETag: `"${version}"` }).end(file.subarray(from, to))))
    expect((await read('z')).data).toEqual(Float32Array.of(3))
    version = 2
    await expect(read('z')).rejects.toThrow(`${base}/model.safetensors changed on the server while it was read; start again`)
  })

  test('a later answer without ranges, and one that was called off', async () => {
    let whole = false
    const controller = new AbortController()
    const { read } = await openCheckpoint(served((response, from, to, count) => (whole ? response.writeHead(200).end(file) : good(response, from, to, count))), { request: { signal: controller.signal } })
    whole = true
    await expect(read('z')).rejects.toThrow('the server sends the whole file')
    controller.abort()
    await expect(read('z')).rejects.toThrow(CheckpointError)
    await expect(read('z')).rejects.toThrow('the request failed (This operation was aborted)')
  })
})
