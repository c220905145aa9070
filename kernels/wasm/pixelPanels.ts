/**
 * Panels of an image's channels: position after position, the channels of one tile side by side, so that a tile walks
 * through memory that nothing else shares, whatever the number of channels.
 */
import { type Code, f32, type FunctionBuilder, get, i32, type Local, loopRange, set, when } from './assembler.ts'
import type { Odometer } from './odometer.ts'
import { copyWidth, smaller, zeroWidth } from './pack.ts'

/** Where panels lie, and which channels they have. */
export interface PixelPanels {
  readonly area: Local
  /** From one panel to the next, and from one position to the next. */
  readonly panelBytes: Local
  readonly pixelBytes: number
  /** Channels of the first `whole` panels. Those after them, if any, have `rest`, or if it is a local so many and zeros. */
  readonly channels: number
  readonly whole: Local
  readonly rest: number | Local | undefined
}

export interface PixelSource {
  /** Address of the first channel to copy, at position 0 of the walk. */
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
  const { channels, rest, whole } = panels
  const local = (): Local => f.local('i32')
  const [i, panel, start, from, to, lane] = [local(), local(), local(), local(), local(), local()]
  const advance = (pointer: Local, bytes: Code): Code => set(pointer, i32.add(get(pointer), bytes))
  const copy = (count: number): Code => source.channelsAdjacent
    ? [copyWidth(count, to, from), advance(from, i32.const(4 * count))]
    : Array.from({ length: count }, (_, c) => [f32.store(get(to), f32.load(get(from)), 4 * c), advance(from, get(channelStep))])
  const copyUpTo = (count: Local): Code => [
    zeroWidth(channels, to),
    loopRange(lane, i32.const(0), get(count), 1, [
      f32.store(i32.add(get(to), i32.shl(get(lane), i32.const(2))), f32.load(get(from))),
      advance(from, get(channelStep)),
    ]),
  ]
  const next = advance(to, get(panels.panelBytes))
  const position = [
    set(from, i32.add(get(source.base), get(walk.values[0] ?? from))),
    loopRange(panel, get(first), rest === undefined ? get(last) : smaller(get(last), get(whole)), 1, [copy(channels), next]),
    rest === undefined ? [] : loopRange(panel, get(panel), get(last), 1, [typeof rest === 'number' ? copy(rest) : copyUpTo(rest), next]),
  ]
  return [
    walk.seek(source.from),
    set(start, i32.add(get(panels.area), i32.mul(get(first), get(panels.panelBytes)))),
    loopRange(i, i32.const(0), get(source.count), 1, [
      set(to, get(start)),
      source.exists === undefined ? position : when(source.exists, position, zeroWidth(channels, to)),
      advance(start, i32.const(panels.pixelBytes)),
      walk.advance(),
    ]),
  ]
}
