/**
 * Convolutions whose images lie channel after channel, each a plane of lines: which of them have kernels that read and
 * write such images as they are, and how these share out the vector registers.
 */
import type { ConvDescriptor, Strided } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import { leastCopied, lineHead } from './planeLines.ts'

/** Most channels on the side that has fewer, and on the other: beyond, channels-last kernels gain more than copies cost. */
const most = { fewer: 16, more: 64, width: 2048 } as const
/** A tile of any target is at most as wide. */
const leastWidth = 16
/** Tiles of that width overlap at the end of a line; at most so much more than there is may be computed. */
const mostOverlap = 1.3

/** Strides in bytes. */
export interface Planes {
  readonly offset: number
  readonly image: number
  readonly channel: number
  readonly line: number
  readonly channels: number
  readonly height: number
  readonly width: number
}

/** An image of one or two dimensions as planes. */
export function planesOf({ strides, offset }: Strided, channels: number, extent: readonly number[]): Planes {
  const [image = 0, channel = 0, ...spatial] = strides
  const line = spatial.length > 1 ? (spatial[0] ?? 0) : 0
  return { offset: 4 * offset, image: 4 * image, channel: 4 * channel, line: 4 * line, channels, height: extent.length > 1 ? (extent[0] ?? 1) : 1, width: extent.at(-1) ?? 1 }
}

/** A value for lines and one for columns, of what has one value a dimension. */
export const linesAndColumns = (values: readonly number[], alone: number): readonly [number, number] => [values.length > 1 ? (values[0] ?? alone) : alone, values.at(-1) ?? alone]

/** Whether the kernels over planes take a convolution of these sizes, whose images' strides are given. */
export function takesPlanes(d: ConvDescriptor): boolean {
  const [fewer, more] = [Math.min(d.inChannels, d.outChannels), Math.max(d.inChannels, d.outChannels)]
  const [input, output, padding, taps, dilation] = [d.input, d.output, d.padding, d.kernel, d.dilation].map((values) => values.at(-1) ?? 1)
  if (input === undefined || output === undefined || padding === undefined || taps === undefined || dilation === undefined) return false
  const reach = (taps - 1) * dilation
  return d.groups === 1 && d.kernel.length <= 2 && d.stride.every((s) => s === 1) && d.padding.every((p) => p >= 0)
    && fewer > 0 && fewer <= most.fewer && more <= most.more && d.batch * product(d.output) * product(d.kernel) > 0
    && [input, output].every((width) => width >= leastWidth && Math.ceil(width / leastWidth) * leastWidth <= mostOverlap * width)
    && Math.max(input, output) <= most.width
    && output - Math.max(0, padding - reach) >= leastCopied && Math.max(padding, reach) < lineHead
    && d.x.strides.at(-1) === 1 && d.y.strides.at(-1) === 1
}

/** Registers that V8 leaves to a kernel, and sums that must be under way to hide the latency of a multiply-add. */
const registers = { all: 15, busy: 8 } as const

/** Rows share vectors: a tile has rows × columns sums. */
export interface RegisterTile {
  readonly rows: number
  readonly columns: number
}

/** Cuts `rows` into as few tiles as `limit` allows: all have `size` rows, but for `short` ones, the last, that have one less. */
export function cutRows(rows: number, limit: number): { readonly size: number; readonly whole: number; readonly short: number } {
  const tiles = Math.ceil(rows / limit)
  const size = Math.ceil(rows / tiles)
  return { size, whole: rows - tiles * (size - 1), short: tiles * size - rows }
}

/** Of the tiles that fit the registers, `each` of which holds a sum's part, the one that takes least time; `loads` are those of a tile. */
export function chooseTile(rows: number, columns: number, each: number, loads: (tile: RegisterTile) => number): RegisterTile {
  const sizes = [1, 2, 3, 4, 5, 6, 7, 8]
  const tiles = sizes.slice(0, 6).flatMap((r) => sizes.map((c): RegisterTile => ({ rows: r, columns: c })))
    .filter((t) => t.rows <= rows && t.columns <= columns && each * (t.rows * t.columns + Math.min(t.rows, t.columns) + 1) <= registers.all)
  const time = (tile: RegisterTile): number => {
    const { size, whole, short } = cutRows(rows, tile.rows)
    // Where arithmetic takes as long, fewer loads leave it more room.
    const one = (r: number): number => Math.max(each * r * tile.columns, registers.busy, each * loads({ ...tile, rows: r })) + each * loads({ ...tile, rows: r }) / 16
    return Math.ceil(columns / tile.columns) * (whole * one(size) + short * one(size - 1))
  }
  const best = tiles.reduce((a, b) => (time(b) < time(a) || (time(b) === time(a) && b.rows * b.columns > a.rows * a.columns) ? b : a), { rows: 1, columns: 1 })
  return { rows: cutRows(rows, best.rows).size, columns: best.columns }
}
