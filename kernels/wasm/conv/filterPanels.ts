/**
 * Packing of a convolution's weights: panels of as many target channels as a tile is wide, each
 * holding tap after tap, and in a tap source channel after source channel, one row of the panel's channels.
 */
import { advance, type Code, f32, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, when } from '../core/assembler.ts'
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
  const everyRow = (copy: Code): Code => loopRange(channel, 0, filter.sourceChannels, 1, [
    set(tap, filter.taps),
    set(to, start),
    loopWhile(i32.ne(tap, tapEnd), [
      set(at, i32.add(corner, i32.load(tap, tapFields.weight))),
      copy,
      advance(to, next),
      advance(tap, tapSize),
    ]),
    advance(start, 4 * width),
    advance(corner, filter.sourceStep),
  ])
  return [
    set(tapEnd, i32.add(filter.taps, i32.mul(filter.tapCount, tapSize))),
    set(next, i32.mul(filter.sourceChannels, 4 * width)),
    set(panel, panels),
    loopRange(column, 0, count, width, [
      set(corner, i32.add(filter.base, i32.mul(i32.add(from, column), filter.targetStep))),
      set(start, panel),
      set(left, minimum(i32.sub(count, column), width)),
      when(i32.eq(left, width),
        everyRow(filter.adjacent ? copyWidth(width, to, at) : gatherWidth(f, width, to, at, filter.targetStep)),
        everyRow([
          zeroWidth(width, to),
          loopRange(lane, 0, left, 1, [
            f32.store(i32.add(to, i32.shl(lane, 2)), f32.load(at)),
            advance(at, filter.targetStep),
          ]),
        ]),
      ),
      advance(panel, i32.mul(filter.tapCount, next)),
    ]),
  ]
}

/** Packs all target channels, `width` of them: tap after tap, eight source channels after eight, and of these the channels' weights one after the other. */
export function packLanes(f: FunctionBuilder, width: number, filter: Filter, panels: Local): Code {
  const local = (): Local => f.local('i32')
  const [tap, tapEnd, channel, corner, at, to, lane] = [local(), local(), local(), local(), local(), local(), local()]
  const tapSize = i32.const(tapBytes(filter.rank))
  return [
    set(to, panels),
    set(tap, filter.taps),
    set(tapEnd, i32.add(tap, i32.mul(filter.tapCount, tapSize))),
    loopWhile(i32.ne(tap, tapEnd), [
      set(corner, i32.add(filter.base, i32.load(tap, tapFields.weight))),
      loopRange(channel, 0, filter.sourceChannels, 8, [
        loopRange(lane, 0, width, 1, [
          set(at, i32.add(corner, i32.mul(lane, filter.targetStep))),
          gatherWidth(f, 8, to, at, filter.sourceStep),
          advance(to, 32),
        ]),
        advance(corner, i32.shl(filter.sourceStep, 3)),
      ]),
      advance(tap, tapSize),
    ]),
  ]
}
