/** PNG files (ISO/IEC 15948) from 8-bit grey or RGB pixels, and images of [-1, 1] values laid out in a grid. */
import { crc32, deflateSync } from 'node:zlib'
import { at } from '../engine/shape.ts'

export interface Pixels {
  readonly width: number
  readonly height: number
  /** 1: grey, 3: RGB. */
  readonly channels: 1 | 3
  /** Row by row from the top, `channels` bytes a pixel. */
  readonly data: Uint8Array
}

const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  const sum = Buffer.alloc(4)
  sum.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, sum])
}

/** A PNG file of the pixels. */
export function encodePng({ width, height, channels, data }: Pixels): Uint8Array {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, channels === 1 ? 0 : 2, 0, 0, 0], 8) // bit depth, colour type; the rest have one choice
  const row = width * channels
  const lines = new Uint8Array(height * (row + 1)) // each line starts with its filter: 0, none
  for (let y = 0; y < height; y++) lines.set(data.subarray(y * row, (y + 1) * row), y * (row + 1) + 1)
  return Buffer.concat([Buffer.from(signature), chunk('IHDR', header), chunk('IDAT', deflateSync(lines, { level: 9 })), chunk('IEND', new Uint8Array())])
}

export interface GridOptions {
  readonly columns: number
  /** Every value becomes a square of that many pixels. Default 4. */
  readonly scale?: number
  /** Pixels between images and around them. Default 4. */
  readonly gap?: number
}

/** Images [N, C, H, W] of values in [-1, 1] (C is 1 or 3; what lies outside is clipped), row by row on mid-grey. */
export function gridOf(values: ArrayLike<number>, shape: readonly number[], { columns, scale = 4, gap = 4 }: GridOptions): Pixels {
  const [count, depth, high, wide] = [at(shape, 0), at(shape, 1), at(shape, 2), at(shape, 3)]
  const channels = depth === 3 ? 3 : 1
  const rows = Math.ceil(count / columns)
  const [stepX, stepY] = [wide * scale + gap, high * scale + gap]
  const [width, height] = [columns * stepX + gap, rows * stepY + gap]
  const data = new Uint8Array(width * height * channels).fill(128)
  for (let n = 0; n < count; n++) {
    const [left, top] = [gap + (n % columns) * stepX, gap + Math.floor(n / columns) * stepY]
    for (let y = 0; y < high * scale; y++) {
      for (let x = 0; x < wide * scale; x++) {
        for (let c = 0; c < channels; c++) {
          const value = values[((n * depth + c) * high + Math.floor(y / scale)) * wide + Math.floor(x / scale)] ?? 0
          data[((top + y) * width + left + x) * channels + c] = Math.round((Math.min(1, Math.max(-1, value)) + 1) * 127.5)
        }
      }
    }
  }
  return { width, height, channels, data }
}
