/**
 * Lists of the output positions of a block that read inside the image at a tap: a pair of offsets each, to what the
 * position reads and to what is kept for the position. What walks a list skips the products with padding, and never
 * asks where a position lies. A block is some whole rows, or a part of one. Offsets count from the block's first
 * image, so that blocks at the same place of an image share their lists.
 */
import { advance, type Code, type FunctionBuilder, i32, type Local, loopRange, loopWhile, select, set, when } from '../core/assembler.ts'
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
    return i32.add(this.areas.lists, i32.mul(tap, this.areas.listBytes))
  }

  end(tap: Local): Code {
    return i32.load(this.endAddress(tap))
  }

  private endAddress(tap: Local): Code {
    return i32.add(this.areas.ends, i32.shl(tap, 2))
  }

  /** Lists, for all of `taps`, the `count` positions from number `from` of an image on. */
  fill(taps: Local, from: Local, count: Local): Code {
    const { input, output, stride, steps, keptBytes, records } = this.shape
    const axis = output.length - 1
    const local = (): Local => this.f.local('i32')
    const [tap, record, rows, row, segment, segmentEnd, first, length, offset, kept, keptRow, entry, stop] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
    const width = output[axis] ?? count
    const step = steps[axis + 1] ?? count
    const coordinateSteps = stride.slice(0, -1).map((s, d): Steps => [undefined, ...output.slice(0, -1).map((_, a) => (a === d ? s : undefined))])
    const odometer = new Odometer(this.f, [[], ...output.slice(0, -1)], [steps.slice(0, -1), ...coordinateSteps])
    const [source, ...coordinates] = odometer.values
    const inside = coordinates.map((c, d): Code =>
      i32.ltu(i32.add(c, i32.load(record, recordFields.coordinates + 4 * d)), input[d] ?? count))
    const list: Code = [
      set(offset, i32.add(i32.add(source ?? offset, i32.load(record, recordFields.shift)), i32.mul(first, step))),
      set(kept, i32.add(keptRow, i32.mul(first, keptBytes))),
      set(stop, i32.add(entry, i32.mul(length, entryBytes))),
      loopWhile(i32.ne(entry, stop), [
        i32.store(entry, offset, entryFields.image),
        i32.store(entry, kept, entryFields.kept),
        advance(offset, step),
        advance(kept, keptBytes),
        advance(entry, entryBytes),
      ]),
    ]
    const bound = (position: Code, compare: (a: Code, b: Code) => Code, limit: Local): Code => select(position, limit, compare(position, limit))
    return [
      set(segment, i32.remu(from, width)),
      set(rows, i32.divu(i32.add(i32.add(count, segment), i32.sub(width, 1)), width)),
      set(segmentEnd, bound(i32.add(segment, count), i32.lt, width)),
      set(this.low, 0x7fffffff),
      set(this.high, -0x80000000),
      set(record, records),
      loopRange(tap, 0, taps, 1, [
        set(entry, this.first(tap)),
        set(first, bound(i32.load(record, recordFields.first), i32.gt, segment)),
        set(length, i32.sub(bound(i32.load(record, recordFields.last), i32.lt, segmentEnd), first)),
        when(i32.gt(length, 0), [
          odometer.seek(i32.divu(from, width)),
          set(keptRow, i32.sub(0, i32.mul(segment, keptBytes))),
          loopRange(row, 0, rows, 1, [
            inside.length === 0 ? list : when(inside.reduce((all, one) => i32.and(all, one)), list),
            advance(keptRow, i32.mul(width, keptBytes)),
            odometer.advance(),
          ]),
        ]),
        i32.store(this.endAddress(tap), entry),
        // A list ascends.
        when(i32.ne(entry, this.first(tap)), [
          set(offset, i32.load(this.first(tap), entryFields.image)),
          set(this.low, bound(offset, i32.lt, this.low)),
          set(offset, i32.load(i32.sub(entry, entryBytes), entryFields.image)),
          set(this.high, bound(offset, i32.gt, this.high)),
        ]),
        advance(record, tapListRecordBytes(output.length)),
      ]),
    ]
  }
}
