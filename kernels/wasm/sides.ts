/** Where the rows and the columns of a product's output lie in memory: evenly, or as tables in scratch memory say. */
import { type Code, type FunctionBuilder, get, i32, type Local, loopRange, select, set, when } from './assembler.ts'
import { tapBytes, tapFields } from './convShape.ts'
import type { Side } from './gemm.ts'

/** The side of an output whose positions lie `step` bytes apart. */
export function evenSide(first: Local, step: Local, adjacent: boolean): Side {
  return {
    prepare: () => [],
    offset: (position) => i32.mul(i32.add(get(first), position), get(step)),
    adjacent: () => i32.const(adjacent ? 1 : 0),
  }
}

/** A column of i32 in a table of records. */
export interface Field {
  readonly area: Local
  readonly recordBytes: number
  /** Bytes from the start of a record. */
  readonly at: number
}

export const lookUp = (field: Field, position: Code): Code => i32.load(i32.add(get(field.area), i32.mul(position, i32.const(field.recordBytes))), field.at)

/** runs[i] = how many positions up to i lie next to each other in memory. */
export function markRuns(f: FunctionBuilder, field: Field, count: Local, runs: Local): Code {
  const local = (): Local => f.local('i32')
  const [i, length, previous, offset] = [local(), local(), local(), local()]
  return [
    set(length, i32.const(0)),
    set(previous, i32.const(0)),
    loopRange(i, i32.const(0), get(count), 1, [
      set(offset, lookUp(field, get(i))),
      set(length, select(i32.add(get(length), i32.const(1)), i32.const(1), i32.eq(get(offset), i32.add(get(previous), i32.const(4))))),
      i32.store(i32.add(get(runs), i32.shl(get(i), i32.const(2))), get(length)),
      set(previous, get(offset)),
    ]),
  ]
}

/** Not 0 if `width` positions from `position` lie next to each other. */
export const inRun = (runs: Local, position: Local, width: number): Code =>
  i32.ge(i32.load(i32.add(get(runs), i32.shl(get(position), i32.const(2))), 4 * (width - 1)), i32.const(width))

/** Writes the weight offsets of pairs (tap, channel) number `from` … `from + count − 1`. */
export function fillWeightOffsets(f: FunctionBuilder, area: Local, from: Local, count: Local, taps: Local, rank: number, channels: Local, channelStep: Local): Code {
  const local = (): Local => f.local('i32')
  const [i, tap, channel] = [local(), local(), local()]
  return [
    set(tap, i32.add(get(taps), i32.mul(i32.divu(get(from), get(channels)), i32.const(tapBytes(rank))))),
    set(channel, i32.remu(get(from), get(channels))),
    loopRange(i, i32.const(0), get(count), 1, [
      i32.store(i32.add(get(area), i32.shl(get(i), i32.const(2))), i32.add(i32.load(get(tap), tapFields.weight), i32.mul(get(channel), get(channelStep)))),
      set(channel, i32.add(get(channel), i32.const(1))),
      when(i32.eq(get(channel), get(channels)), [set(channel, i32.const(0)), set(tap, i32.add(get(tap), i32.const(tapBytes(rank))))]),
    ]),
  ]
}
