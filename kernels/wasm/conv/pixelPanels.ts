/**
 * Panels of an image's channels: position after position, the channels of one tile side by side, so that a tile walks
 * through memory that nothing else shares, whatever the number of channels.
 */
import { advance, type Code, f32, type FunctionBuilder, i32, type Local, loopRange, set, when } from '../core/assembler.ts'
import type { Odometer } from '../core/odometer.ts'
import { copyWidth, zeroWidth } from '../matmul/pack.ts'

/** Fields of a panel's record, in bytes: its first channel, how many it has, and where in the image the first lies. */
export const panelFields = { first: 0, count: 4, offset: 8 } as const
export const panelRecordBytes = 12

/** Cuts `channels`, which lie `step` bytes apart: panel i begins with channel `first(i)`. */
export function panelRecords(panels: number, channels: number, step: number, first: (panel: number) => number): number[] {
  return Array.from({ length: panels }, (_, i) => [first(i), Math.min(channels, first(i + 1)) - first(i), first(i) * step]).flat()
}

/** Where panels lie, and which channels they have. */
export interface PixelPanels {
  readonly area: Local
  /** From one panel to the next, and from one position to the next. */
  readonly panelBytes: Local
  readonly pixelBytes: number
  /** How many a panel has; those that have one less get the next one too. */
  readonly channels: number
  /** Address of the first panel's record. */
  readonly records: Local
  /** The last panel lacks channels: it is filled up with zeros. */
  readonly ragged: boolean
}

export interface PixelSource {
  /** Address of the first channel at position 0 of the walk. */
  readonly base: Local
  /** Its first function is what a position adds to the address. */
  readonly walk: Odometer
  readonly from: Code
  readonly count: Local
  readonly channelStep: Local
  readonly channelsAdjacent: boolean
  /** Whether the position at hand exists; if not, its channels are zeros. Default: all do. */
  readonly exists?: Code | undefined
}

/** Packs panels `first` … `last − 1`. */
export function packPixels(f: FunctionBuilder, source: PixelSource, panels: PixelPanels, first: Local, last: Local): Code {
  const { walk, channelStep } = source
  const { channels } = panels
  const local = (): Local => f.local('i32')
  const [i, panel, record, start, pixel, from, to, lane] = [local(), local(), local(), local(), local(), local(), local(), local()]
  const copy: Code = source.channelsAdjacent
    ? copyWidth(channels, to, from)
    : Array.from({ length: channels }, (_, c) => [f32.store(to, f32.load(from), 4 * c), advance(from, channelStep)])
  const count = i32.load(record, panelFields.count)
  const copyCount = [
    zeroWidth(channels, to),
    loopRange(lane, 0, count, 1, [
      f32.store(i32.add(to, i32.shl(lane, 2)), f32.load(from)),
      advance(from, channelStep),
    ]),
  ]
  const position = [
    set(pixel, i32.add(source.base, walk.values[0] ?? pixel)),
    set(record, i32.add(panels.records, i32.mul(first, panelRecordBytes))),
    loopRange(panel, first, last, 1, [
      set(from, i32.add(pixel, i32.load(record, panelFields.offset))),
      panels.ragged ? when(i32.lt(count, channels), copyCount, copy) : copy,
      advance(to, panels.panelBytes),
      advance(record, panelRecordBytes),
    ]),
  ]
  return [
    walk.seek(source.from),
    set(start, i32.add(panels.area, i32.mul(first, panels.panelBytes))),
    loopRange(i, 0, source.count, 1, [
      set(to, start),
      source.exists === undefined ? position : when(source.exists, position, zeroWidth(channels, to)),
      advance(start, panels.pixelBytes),
      walk.advance(),
    ]),
  ]
}
