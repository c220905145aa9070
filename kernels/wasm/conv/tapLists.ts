/**
 * Lists of the output positions of a block that read inside the image at a tap: a pair of offsets each, to what the
 * position reads and to what is kept for the position. What walks a list skips the products with padding, and never
 * asks where a position lies. A block is some whole rows, or a part of one. Offsets count from the block's first
 * image, so that blocks at the same place of an image share their lists.
 */
import { type Code, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, select, set, when } from '../core/assembler.ts'
import { Odometer, type Steps } from '../core/odometer.ts'

/** Fields of a list's entry, in bytes. */
export const entryFields = { image: 0, kept: 4 } as const
export const entryBytes = 8

/** Fields of a tap's record, in bytes: what the tap adds to an offset; the first position in a row that reads inside, and the one after the last; then, but for the last axis, what it adds to a coordinate. */
const recordFields = { shift: 0, first: 4, last: 8, coordinates: 12 } as const

export interface TapGeometry {
  /** One entry a spatial dimension. */
  readonly input: readonly number[]
  readonly output: readonly number[]
  readonly stride: readonly number[]
}

/** The record of a tap that adds `coordinate` to a position's coordinates. */
export function tapListRecord({ input, output, stride }: TapGeometry, coordinate: readonly number[], shift: number): number[] {
  const axis = coordinate.length - 1
  const [step, size, offset] = [stride[axis] ?? 1, input[axis] ?? 0, coordinate[axis] ?? 0]
  const within = (position: number): number => Math.min(output[axis] ?? 0, Math.max(0, position))
  return [shift, within(Math.ceil(-offset / step)), within(Math.ceil((size - offset) / step)), ...coordinate.slice(0, -1)]
}

const tapListRecordBytes = (rank: number): number => recordFields.coordinates + 4 * (rank - 1)

/** Locals for what the lists are made of, outermost dimension first. */
export interface TapListsShape {
  readonly input: readonly Local[]
  readonly output: readonly Local[]
  readonly stride: readonly Local[]
  /** What an image, and a step along each dimension of the output, adds to an entry's offset. */
  readonly steps: readonly Local[]
  /** What a position adds to the other offset. */
  readonly keptBytes: number
  /** Address of the first tap's record. */
  readonly records: Local
}

export class TapLists {
  /** Smallest and largest offset in the image of any entry. */
  readonly low: Local
  readonly high: Local
  private readonly f: FunctionBuilder
  private readonly shape: TapListsShape
  private readonly areas: { readonly lists: Local; readonly ends: Local; readonly listBytes: Local }

  /** Areas: for every tap `listBytes` of entries, and the i32 where they end. */
  constructor(f: FunctionBuilder, shape: TapListsShape, areas: { readonly lists: Local; readonly ends: Local; readonly listBytes: Local }) {
    this.f = f
    this.shape = shape
    this.areas = areas
    this.low = f.local('i32')
    this.high = f.local('i32')
  }

  /** A tap's first entry, and where its entries end. */
  first(tap: Local): Code {
    return i32.add(get(this.areas.lists), i32.mul(get(tap), get(this.areas.listBytes)))
  }

  end(tap: Local): Code {
    return i32.load(this.endAddress(tap))
  }

  private endAddress(tap: Local): Code {
    return i32.add(get(this.areas.ends), i32.shl(get(tap), i32.const(2)))
  }

  /** Lists, for all of `taps`, the `count` positions from number `from` of an image on. */
  fill(taps: Local, from: Local, count: Local): Code {
    const { input, output, stride, steps, keptBytes, records } = this.shape
    const axis = output.length - 1
    const local = (): Local => this.f.local('i32')
    const [tap, record, rows, row, segment, segmentEnd, first, length, offset, kept, keptRow, entry, stop] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
    const width = output[axis] ?? count
    const step = steps[axis + 1] ?? count
    const coordinateSteps = stride.slice(0, -1).map((s, d): Steps => [undefined, ...output.slice(0, -1).map((_, a) => (a === d ? get(s) : undefined))])
    const odometer = new Odometer(this.f, [[], ...output.slice(0, -1).map(get)], [steps.slice(0, -1).map(get), ...coordinateSteps])
    const [source, ...coordinates] = odometer.values
    const inside = coordinates.map((c, d): Code =>
      i32.ltu(i32.add(get(c), i32.load(get(record), recordFields.coordinates + 4 * d)), get(input[d] ?? count)))
    const list: Code = [
      set(offset, i32.add(i32.add(get(source ?? offset), i32.load(get(record), recordFields.shift)), i32.mul(get(first), get(step)))),
      set(kept, i32.add(get(keptRow), i32.mul(get(first), i32.const(keptBytes)))),
      set(stop, i32.add(get(entry), i32.mul(get(length), i32.const(entryBytes)))),
      loopWhile(i32.ne(get(entry), get(stop)), [
        i32.store(get(entry), get(offset), entryFields.image),
        i32.store(get(entry), get(kept), entryFields.kept),
        set(offset, i32.add(get(offset), get(step))),
        set(kept, i32.add(get(kept), i32.const(keptBytes))),
        set(entry, i32.add(get(entry), i32.const(entryBytes))),
      ]),
    ]
    const bound = (position: Code, compare: (a: Code, b: Code) => Code, limit: Local): Code => select(position, get(limit), compare(position, get(limit)))
    return [
      set(segment, i32.remu(get(from), get(width))),
      set(rows, i32.divu(i32.add(i32.add(get(count), get(segment)), i32.sub(get(width), i32.const(1))), get(width))),
      set(segmentEnd, bound(i32.add(get(segment), get(count)), i32.lt, width)),
      set(this.low, i32.const(0x7fffffff)),
      set(this.high, i32.const(-0x80000000)),
      set(record, get(records)),
      loopRange(tap, i32.const(0), get(taps), 1, [
        set(entry, this.first(tap)),
        set(first, bound(i32.load(get(record), recordFields.first), i32.gt, segment)),
        set(length, i32.sub(bound(i32.load(get(record), recordFields.last), i32.lt, segmentEnd), get(first))),
        when(i32.gt(get(length), i32.const(0)), [
          odometer.seek(i32.divu(get(from), get(width))),
          set(keptRow, i32.sub(i32.const(0), i32.mul(get(segment), i32.const(keptBytes)))),
          loopRange(row, i32.const(0), get(rows), 1, [
            inside.length === 0 ? list : when(inside.reduce((all, one) => i32.and(all, one)), list),
            set(keptRow, i32.add(get(keptRow), i32.mul(get(width), i32.const(keptBytes)))),
            odometer.advance(),
          ]),
        ]),
        i32.store(this.endAddress(tap), get(entry)),
        // A list ascends.
        when(i32.ne(get(entry), this.first(tap)), [
          set(offset, i32.load(this.first(tap), entryFields.image)),
          set(this.low, bound(get(offset), i32.lt, this.low)),
          set(offset, i32.load(i32.sub(get(entry), i32.const(entryBytes)), entryFields.image)),
          set(this.high, bound(get(offset), i32.gt, this.high)),
        ]),
        set(record, i32.add(get(record), i32.const(tapListRecordBytes(output.length)))),
      ]),
    ]
  }
}
