/**
 * Packing of convolution operands. The matrix whose rows are pixels and whose columns are pairs
 * (tap, channel), "im2col", exists only as panels in scratch memory: `packPixelRows` packs pixels as
 * rows of A, `packPixelColumns` as columns of B, `packPixelDepth` as the summed index of B.
 * Each looks at a tap and a pixel once, decides whether the pixel's window reads zero there, and
 * copies or clears a run of channels or of pixels.
 */
import { type Code, f32, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, set, when } from './assembler.ts'
import { pixelFields, tapBytes, tapFields } from './convShape.ts'
import type { Block } from './gemm.ts'
import type { PositionTable } from './odometer.ts'
import { copyRun, copyWidth, smaller, zeroMissingRows, zeroRun, zeroWidth } from './pack.ts'
import { rowPitch } from './tile.ts'

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

/** Not 0 if every coordinate, shifted by the tap's, lies inside the image. */
function inside(window: Window, coordinates: readonly Code[], tap: Local): Code {
  return coordinates
    .map((coordinate, d): Code => i32.ltu(i32.add(coordinate, i32.load(get(tap), tapFields.coordinates + 4 * d)), extentOf(window, d)))
    .reduce((all, one) => i32.and(all, one))
}

function extentOf(window: Window, dimension: number): Code {
  const local = window.extent[dimension]
  return local === undefined ? i32.const(0) : get(local)
}

/** Walks the taps and channels of a block of k: `run` handles `count` channels of a tap, from `channel` on. */
class TapWalk {
  readonly tap: Local
  readonly channel: Local
  readonly count: Local
  private readonly firstTap: Local
  private readonly firstChannel: Local
  private readonly left: Local
  private readonly window: Window

  constructor(f: FunctionBuilder, window: Window) {
    this.window = window
    const local = (): Local => f.local('i32')
    ;[this.tap, this.channel, this.count, this.firstTap, this.firstChannel, this.left] = [local(), local(), local(), local(), local(), local()]
  }

  /** Finds the tap and channel at which the block of k begins. */
  begin(): Code {
    const { block, channels, taps, extent } = this.window
    return [
      set(this.firstTap, i32.add(get(taps), i32.mul(i32.divu(get(block.k0), get(channels)), i32.const(tapBytes(extent.length))))),
      set(this.firstChannel, i32.remu(get(block.k0), get(channels))),
    ]
  }

  all(run: Code): Code {
    const { block, channels, extent } = this.window
    return [
      set(this.tap, get(this.firstTap)),
      set(this.channel, get(this.firstChannel)),
      set(this.left, get(block.kc)),
      loopWhile(i32.gt(get(this.left), i32.const(0)), [
        set(this.count, smaller(i32.sub(get(channels), get(this.channel)), get(this.left))),
        run,
        set(this.left, i32.sub(get(this.left), get(this.count))),
        set(this.channel, i32.const(0)),
        advance(this.tap, i32.const(tapBytes(extent.length))),
      ]),
    ]
  }

  /** Address of the run's first channel for the pixel whose source address is `pixel`. */
  source(pixel: Code): Code {
    const { base, channelStep } = this.window
    return i32.add(i32.add(get(base), pixel), i32.add(i32.load(get(this.tap), tapFields.source), i32.mul(get(this.channel), get(channelStep))))
  }
}

/** Rows of A are pixels, k runs over (tap, channel). */
export function packPixelRows(f: FunctionBuilder, rows: number, window: Window, panels: Local): Code {
  const { block, pixels, extent } = window
  const local = (): Local => f.local('i32')
  const [row, record, source, to, from, start] = [local(), local(), local(), local(), local(), local()]
  const coordinates = extent.map(local)
  const walk = new TapWalk(f, window)
  return [
    walk.begin(),
    set(record, get(pixels.area)),
    set(start, get(panels)),
    loopRange(row, i32.const(0), get(block.mc), 1, [
      set(source, i32.load(get(record), pixelFields.source)),
      coordinates.map((c, d) => set(c, i32.load(get(record), pixelFields.coordinates + 4 * d))),
      set(to, get(start)),
      walk.all([
        when(inside(window, coordinates.map(get), walk.tap),
          [set(from, walk.source(get(source))), copyRun(f, to, from, walk.count, window.channelsAdjacent ? undefined : window.channelStep)],
          zeroRun(f, to, walk.count),
        ),
        advance(to, i32.shl(get(walk.count), i32.const(2))),
      ]),
      advance(record, i32.const(pixels.recordBytes)),
      advance(start, i32.const(rowPitch)),
    ]),
    zeroMissingRows(f, rows, block.mc, block.kc, panels),
  ]
}

/** Columns of B are pixels, k runs over (tap, channel). `adjacent`: neighbours in a line of pixels are so in the source. */
export function packPixelColumns(f: FunctionBuilder, width: number, window: Window, lineStep: Local, adjacent: boolean, panels: Local): Code {
  const { block, pixels, extent, channelStep } = window
  const local = (): Local => f.local('i32')
  const [column, first, last, start, to, from, i, lane, record, whole] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const walk = new TapWalk(f, window)
  const coordinate = (at: Local, d: number): Code => i32.load(get(at), pixelFields.coordinates + 4 * d)
  const line = extent.length - 1
  const shifted = (at: Local): Code => i32.add(coordinate(at, line), i32.load(get(walk.tap), tapFields.coordinates + 4 * line))
  const bytes = i32.const(4 * width)
  const each = (copy: Code): Code => loopRange(i, i32.const(0), get(walk.count), 1, [copy, advance(to, bytes), advance(from, get(channelStep))])
  /** One pixel after the other. */
  const lanes = loopRange(lane, i32.const(0), i32.const(width), 1, [
    set(to, i32.add(get(start), i32.shl(get(lane), i32.const(2)))),
    set(record, i32.add(get(first), i32.mul(get(lane), i32.const(pixels.recordBytes)))),
    when(i32.and(i32.lt(i32.add(get(column), get(lane)), get(block.nc)), inside(window, extent.map((_, d) => coordinate(record, d)), walk.tap)),
      [set(from, walk.source(i32.load(get(record), pixelFields.source))), each(f32.store(get(to), f32.load(get(from))))],
      loopRange(i, i32.const(0), get(walk.count), 1, [f32.store(get(to), f32.const(0)), advance(to, bytes)]),
    ),
  ])
  const together = [
    set(to, get(start)),
    set(from, walk.source(i32.load(get(first), pixelFields.source))),
    each(copyWidth(width, to, from)),
  ]
  // All pixels of a panel lie in one line if its last coordinate is as far from the first as it can be.
  const oneLine = i32.and(
    i32.le(i32.add(get(column), i32.const(width)), get(block.nc)),
    i32.eq(i32.sub(coordinate(last, line), coordinate(first, line)), i32.mul(i32.const(width - 1), get(lineStep))),
  )
  const allInside = i32.and(inside(window, extent.map((_, d) => coordinate(first, d)), walk.tap), i32.ltu(shifted(last), extentOf(window, line)))
  return [
    walk.begin(),
    set(first, get(pixels.area)),
    set(start, get(panels)),
    loopRange(column, i32.const(0), get(block.nc), width, [
      set(last, i32.add(get(first), i32.const((width - 1) * pixels.recordBytes))),
      adjacent ? set(whole, oneLine) : [],
      walk.all([
        adjacent ? when(get(whole), when(allInside, together, lanes), lanes) : lanes,
        advance(start, i32.mul(get(walk.count), bytes)),
      ]),
      advance(first, i32.const(width * pixels.recordBytes)),
    ]),
  ]
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
