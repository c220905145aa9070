/**
 * Packing of a convolution's weights: panels of as many target channels as a tile is wide, each
 * holding tap after tap, and in a tap source channel after source channel, one row of the panel's channels.
 */
import { type Code, f32, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, minimum, set, when } from '../core/assembler.ts'
import { tapBytes, tapFields } from './taps.ts'
import { copyWidth, gatherWidth, zeroWidth } from '../matmul/pack.ts'

export interface Filter {
  /** Address of target channel 0, source channel 0, tap position 0. */
  readonly base: Local
  readonly sourceChannels: Local
  readonly targetChannels: Local
  /** In bytes. */
  readonly sourceStep: Local
  readonly targetStep: Local
  /** Target channels are adjacent. */
  readonly adjacent: boolean
  readonly taps: Local
  readonly tapCount: Local
  readonly rank: number
}

/** Packs target channels `from` … `from + count − 1`, the last panel filled up with zeros. */
export function packFilter(f: FunctionBuilder, width: number, filter: Filter, from: Local, count: Local, panels: Local): Code {
  const local = (): Local => f.local('i32')
  const [column, left, lane, channel, corner, tap, tapEnd, panel, start, to, at, next] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const tapSize = i32.const(tapBytes(filter.rank))
  const everyRow = (copy: Code): Code => loopRange(channel, i32.const(0), get(filter.sourceChannels), 1, [
    set(tap, get(filter.taps)),
    set(to, get(start)),
    loopWhile(i32.ne(get(tap), get(tapEnd)), [
      set(at, i32.add(get(corner), i32.load(get(tap), tapFields.weight))),
      copy,
      set(to, i32.add(get(to), get(next))),
      set(tap, i32.add(get(tap), tapSize)),
    ]),
    set(start, i32.add(get(start), i32.const(4 * width))),
    set(corner, i32.add(get(corner), get(filter.sourceStep))),
  ])
  return [
    set(tapEnd, i32.add(get(filter.taps), i32.mul(get(filter.tapCount), tapSize))),
    set(next, i32.mul(get(filter.sourceChannels), i32.const(4 * width))),
    set(panel, get(panels)),
    loopRange(column, i32.const(0), get(count), width, [
      set(corner, i32.add(get(filter.base), i32.mul(i32.add(get(from), get(column)), get(filter.targetStep)))),
      set(start, get(panel)),
      set(left, minimum(i32.sub(get(count), get(column)), i32.const(width))),
      when(i32.eq(get(left), i32.const(width)),
        everyRow(filter.adjacent ? copyWidth(width, to, at) : gatherWidth(f, width, to, at, filter.targetStep)),
        everyRow([
          zeroWidth(width, to),
          loopRange(lane, i32.const(0), get(left), 1, [
            f32.store(i32.add(get(to), i32.shl(get(lane), i32.const(2))), f32.load(get(at))),
            set(at, i32.add(get(at), get(filter.targetStep))),
          ]),
        ]),
      ),
      set(panel, i32.add(get(panel), i32.mul(get(filter.tapCount), get(next)))),
    ]),
  ]
}

/** Packs all target channels, `width` of them: tap after tap, eight source channels after eight, and of these the channels' weights one after the other. */
export function packLanes(f: FunctionBuilder, width: number, filter: Filter, panels: Local): Code {
  const local = (): Local => f.local('i32')
  const [tap, tapEnd, channel, corner, at, to, lane] = [local(), local(), local(), local(), local(), local(), local()]
  const tapSize = i32.const(tapBytes(filter.rank))
  return [
    set(to, get(panels)),
    set(tap, get(filter.taps)),
    set(tapEnd, i32.add(get(tap), i32.mul(get(filter.tapCount), tapSize))),
    loopWhile(i32.ne(get(tap), get(tapEnd)), [
      set(corner, i32.add(get(filter.base), i32.load(get(tap), tapFields.weight))),
      loopRange(channel, i32.const(0), get(filter.sourceChannels), 8, [
        loopRange(lane, i32.const(0), i32.const(width), 1, [
          set(at, i32.add(get(corner), i32.mul(get(lane), get(filter.targetStep)))),
          gatherWidth(f, 8, to, at, filter.sourceStep),
          set(to, i32.add(get(to), i32.const(32))),
        ]),
        set(corner, i32.add(get(corner), i32.shl(get(filter.sourceStep), i32.const(3)))),
      ]),
      set(tap, i32.add(get(tap), tapSize)),
    ]),
  ]
}
