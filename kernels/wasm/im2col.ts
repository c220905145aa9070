/**
 * Packing for a convolution's weight gradient. The matrix whose rows are pixels and whose columns are
 * pairs (tap, channel), "im2col", exists only as panels in scratch memory. Each tap of a pixel is looked
 * at once: it decides whether the pixel's window reads zero there.
 */
import { type Code, f32, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, set, when } from './assembler.ts'
import { pixelFields, tapBytes, tapFields } from './convShape.ts'
import type { Block } from './gemm.ts'
import type { PositionTable } from './odometer.ts'
import { copyWidth, smaller, zeroWidth } from './pack.ts'

/** A strided image read through the taps of a kernel. */
export interface Window {
  readonly block: Block
  /** Address of channel 0 of the group. */
  readonly base: Local
  readonly channels: Local
  readonly channelStep: Local
  /** Channels are adjacent. */
  readonly channelsAdjacent: boolean
  /** Sizes of the spatial dimensions. */
  readonly extent: readonly Local[]
  /** Records of the block's pixels: `pixelFields`. */
  readonly pixels: PositionTable
  /** Address of the first tap's record: `tapFields`. */
  readonly taps: Local
}

const advance = (pointer: Local, bytes: Code): Code => set(pointer, i32.add(get(pointer), bytes))

function extentOf(window: Window, dimension: number): Code {
  const local = window.extent[dimension]
  return local === undefined ? i32.const(0) : get(local)
}

/** Columns of B are pairs (tap, channel), k runs over pixels. */
export function packPixelDepth(f: FunctionBuilder, width: number, window: Window, panels: Local): Code {
  const { block, pixels, extent, channels, channelStep } = window
  const local = (): Local => f.local('i32')
  const [column, tap, channel, to, from, start, shift, k, record, lane] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const bytes = i32.const(4 * width)
  const coordinates = extent.map((_, d): Code => i32.load(get(record), pixelFields.coordinates + 4 * d))
  const shifts = extent.map(local)
  const read = coordinates
    .map((c, d): Code => i32.ltu(i32.add(c, get(shifts[d] ?? shift)), extentOf(window, d)))
    .reduce((all, one) => i32.and(all, one))
  const each = (copy: Code, clear: Code): Code => [
    set(shift, i32.add(i32.add(get(window.base), i32.load(get(tap), tapFields.source)), i32.mul(get(channel), get(channelStep)))),
    shifts.map((s, d) => set(s, i32.load(get(tap), tapFields.coordinates + 4 * d))),
    set(record, get(pixels.area)),
    loopRange(k, i32.const(0), get(block.kc), 1, [
      when(read, [set(from, i32.add(get(shift), i32.load(get(record), pixelFields.source))), copy], clear),
      advance(to, bytes),
      advance(record, i32.const(pixels.recordBytes)),
    ]),
  ]
  const nextChannel = [
    set(channel, i32.add(get(channel), i32.const(1))),
    when(i32.eq(get(channel), get(channels)), [set(channel, i32.const(0)), advance(tap, i32.const(tapBytes(extent.length)))]),
  ]
  /** One channel after the other. */
  const lanes = loopRange(lane, i32.const(0), i32.const(width), 1, [
    set(to, i32.add(get(start), i32.shl(get(lane), i32.const(2)))),
    when(i32.lt(i32.add(get(column), get(lane)), get(block.nc)),
      [each(f32.store(get(to), f32.load(get(from))), f32.store(get(to), f32.const(0))), nextChannel],
      loopRange(k, i32.const(0), get(block.kc), 1, [f32.store(get(to), f32.const(0)), advance(to, bytes)]),
    ),
  ])
  // Several panels of one tap share the question whether a pixel is inside.
  const [together, panel, at, panelBytes] = [local(), local(), local(), local()]
  const panelsOf = (copy: Code): Code => [
    set(at, get(to)),
    loopRange(panel, i32.const(0), get(together), 1, [copy, advance(at, get(panelBytes)), advance(from, bytes)]),
  ]
  const manyPanels = [
    set(to, get(start)),
    each(panelsOf(copyWidth(width, at, from)), panelsOf(zeroWidth(width, at))),
    set(channel, i32.add(get(channel), i32.sub(i32.mul(get(together), i32.const(width)), i32.const(1)))),
    nextChannel,
  ]
  const wholePanels = i32.divu(smaller(i32.sub(get(channels), get(channel)), i32.sub(get(block.nc), get(column))), i32.const(width))
  return [
    set(tap, i32.add(get(window.taps), i32.mul(i32.divu(get(block.n0), get(channels)), i32.const(tapBytes(extent.length))))),
    set(channel, i32.remu(get(block.n0), get(channels))),
    set(start, get(panels)),
    set(panelBytes, i32.mul(get(block.kc), bytes)),
    set(column, i32.const(0)),
    loopWhile(i32.lt(get(column), get(block.nc)), [
      set(together, window.channelsAdjacent ? wholePanels : i32.const(0)),
      when(get(together), manyPanels, [lanes, set(together, i32.const(1))]),
      advance(start, i32.mul(get(together), get(panelBytes))),
      advance(column, i32.mul(get(together), i32.const(width))),
    ]),
  ]
}
