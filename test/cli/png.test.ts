/** PNG files say what they were given, by the format's own rules. */
import { crc32, inflateSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { encodePng, gridOf } from '../../cli/png.ts'

function read(file: Uint8Array): { chunks: [string, Buffer][] } {
  const bytes = Buffer.from(file)
  expect([...bytes.subarray(0, 8)]).toEqual([137, 80, 78, 71, 13, 10, 26, 10])
  const chunks: [string, Buffer][] = []
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    const body = bytes.subarray(at + 4, at + 8 + length)
    expect(bytes.readUInt32BE(at + 8 + length)).toBe(crc32(body))
    chunks.push([body.subarray(0, 4).toString('latin1'), body.subarray(4)])
    at += 12 + length
  }
  return { chunks }
}

test.each([1, 3] as const)('%s channels', (channels) => {
  const data = Uint8Array.from({ length: 5 * 2 * channels }, (_, i) => i * 7)
  const { chunks } = read(encodePng({ width: 5, height: 2, channels, data }))
  expect(chunks.map(([type]) => type)).toEqual(['IHDR', 'IDAT', 'IEND'])
  expect([...(chunks[0]?.[1] ?? [])]).toEqual([0, 0, 0, 5, 0, 0, 0, 2, 8, channels === 1 ? 0 : 2, 0, 0, 0])
  const row = 5 * channels
  const lines = inflateSync(chunks[1]?.[1] ?? new Uint8Array())
  expect([...lines]).toEqual([0, ...data.subarray(0, row), 0, ...data.subarray(row)])
})

test('a grid: three images in two columns, enlarged, clipped, apart', () => {
  const grid = gridOf([-1, 1, 0, 5, -9, 0.5], [3, 1, 1, 2], { columns: 2, scale: 2, gap: 1 })
  expect([grid.width, grid.height, grid.channels]).toEqual([11, 7, 1])
  const rows = Array.from({ length: 7 }, (_, y) => [...grid.data.subarray(11 * y, 11 * (y + 1))])
  const g = 128
  const empty = new Array<number>(11).fill(g)
  const first = [g, 0, 0, 255, 255, g, g, g, 255, 255, g].map((v, i) => (i === 6 || i === 7 ? 128 : v))
  const second = [g, 0, 0, 191, 191, g, g, g, g, g, g]
  expect(rows).toEqual([empty, first, first, empty, second, second, empty])
})

test('colour', () => {
  const { data } = gridOf([1, -1, 0], [1, 3, 1, 1], { columns: 1, scale: 1, gap: 0 })
  expect([...data]).toEqual([255, 0, 128])
})
