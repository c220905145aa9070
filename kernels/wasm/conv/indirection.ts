/**
 * Where the pixels of a block lie: for every tap a row of pointers to what each pixel reads there,
 * or to zeros where that is outside the image (Dukhan, "The Indirect Convolution Algorithm", 2019),
 * and for every operand at the pixels' own positions a row of offsets. Rows are filled line by line
 * of the image, in which all of them are arithmetic sequences, four numbers at a time.
 */
import { advance, type Code, type FunctionBuilder, i32, i32x4, type Local, loopRange, loopWhile, minimum, select, set, v128, when } from '../core/assembler.ts'
import { tapBytes, tapFields } from './taps.ts'
import { Odometer, type Steps } from '../core/odometer.ts'
import { copyRun } from '../matmul/pack.ts'

/** Pixels that a tile may read past the last, and a vector write past them. */
const spare = 12

/** Bytes of a row for `pixels`: an odd number of cache lines, so that the rows of all taps fall in different sets. */
export const rowBytes = (pixels: number): number => (((4 * (pixels + spare) + 63) >> 6) | 1) << 6

export interface Indirection {
  /** Pointers, a row for each tap. */
  readonly pointers: Local
  /** Offsets, a row for each of `positions`. */
  readonly offsets: Local
  readonly rowBytes: Local
  /** Sizes of the grid of pixels. */
  readonly grid: readonly Local[]
  /** Bytes from one pixel to the next in the source: image, then the grid's dimensions. */
  readonly source: readonly Local[]
  /** The same of what has offsets. */
  readonly positions: readonly (readonly Local[])[]
  /** Source coordinates from one pixel to the next; 1 along lines if `unitSteps`. */
  readonly coordinates: readonly Local[]
  readonly unitSteps: boolean
  /** Spatial sizes of the source. */
  readonly extent: readonly Local[]
  /** Address of the source's position 0. */
  readonly base: Local
  readonly taps: Local
  readonly tapCount: Local
  /** Address of as many zeros as the source has channels. */
  readonly zeros: Local
}
const larger = (a: Code, b: Code): Code => select(a, b, i32.gt(a, b))
const floats = (count: Code): Code => i32.shl(count, 2)
const countUp = [0, 1, 2, 3].flatMap((lane) => [lane, 0, 0, 0])

/** Fills the rows for pixels `from` … `from + count − 1`, at least one. */
export function fillIndirection(f: FunctionBuilder, i: Indirection, from: Local, count: Local): Code {
  const local = (): Local => f.local('i32')
  const rank = i.grid.length
  const [x, left, run, column, start, first, tap, tapEnd, row, lo, hi, at, stop, runEnd] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const [value, fourSteps, sourceRamp] = [f.local('v128'), f.local('v128'), f.local('v128')]
  const line = rank - 1
  const [width, sourceStep, coordinateStep, lineExtent] = [i.grid[line] ?? x, i.source[rank] ?? x, i.coordinates[line] ?? x, i.extent[line] ?? x]
  const outer = i.grid.slice(0, line)
  const functions: Steps[] = [i.source, ...i.positions].map((steps) => steps.slice(0, rank))
  const coordinates = outer.map((_, d): Steps => [undefined, ...outer.map((_dimension, axis) => (axis === d ? i.coordinates[d] ?? x : undefined))])
  const lines = new Odometer(f, [[], ...outer], [...functions, ...coordinates])
  const valueOf = (n: number): Code => lines.values[n] ?? x

  const ramp = (step: Local): Code => i32x4.mul(i32x4.splat(step), v128.const(countUp))
  const sequence = (to: Code, values: Code, step: Code | undefined): Code => [
    set(stop, to),
    when(i32.ltu(at, stop), [
      set(value, values),
      loopWhile(i32.ltu(at, stop), [
        v128.store(at, value),
        step === undefined ? [] : set(value, i32x4.add(value, step)),
        advance(at, 16),
      ]),
      set(at, stop),
    ]),
  ]
  /** Rounds up; the dividend is not negative where that matters. */
  const quotientUp = (a: Code): Code => i.unitSteps ? a : i32.div(i32.add(a, i32.sub(coordinateStep, 1)), coordinateStep)
  const zeros = i32x4.splat(i.zeros)
  const shifted = (coordinate: Code, d: number): Code => i32.add(coordinate, i32.load(tap, tapFields.coordinates + 4 * d))
  const outerInside = outer
    .map((_, d): Code => i32.ltu(shifted(valueOf(functions.length + d), d), i.extent[d] ?? x))
    .reduce<Code>((all, one) => i32.and(all, one), i32.const(1))
  const overTaps = (body: Code): Code => [
    set(tap, i.taps),
    set(tapEnd, i32.add(tap, i32.mul(i.tapCount, tapBytes(rank)))),
    set(row, i.pointers),
    loopWhile(i32.ne(tap, tapEnd), [body, advance(tap, tapBytes(rank)), advance(row, i.rowBytes)]),
  ]
  const tapRow = [
    // Pixel j of the line reads coordinate first + j·step, which is inside for lo ≤ j < hi.
    set(first, shifted(i32.mul(x, coordinateStep), line)),
    set(lo, minimum(run, quotientUp(larger(i32.sub(0, first), i32.const(0))))),
    set(hi, minimum(run, larger(quotientUp(i32.sub(lineExtent, first)), i32.const(0)))),
    when(i32.eqz(outerInside), set(hi, 0)),
    set(first, i32.add(i32.add(start, i32.load(tap, tapFields.source)), i32.mul(lo, sourceStep))),
    set(at, i32.add(row, column)),
    set(runEnd, i32.add(at, floats(run))),
    set(hi, i32.add(at, floats(hi))),
    sequence(i32.add(at, floats(lo)), zeros, undefined),
    sequence(hi, i32x4.add(i32x4.splat(first), sourceRamp), fourSteps),
    sequence(runEnd, zeros, undefined),
  ]
  const offsetRows = i.positions.map((steps, n) => {
    const step = steps[rank] ?? x
    return [
      set(at, i32.add(i32.add(i.offsets, i32.mul(i.rowBytes, n)), column)),
      set(first, i32.add(valueOf(1 + n), i32.mul(x, step))),
      set(fourSteps, i32x4.splat(i32.shl(step, 2))),
      sequence(i32.add(at, floats(run)), i32x4.add(i32x4.splat(first), ramp(step)), fourSteps),
    ]
  })
  return [
    set(sourceRamp, ramp(sourceStep)),
    set(x, i32.remu(from, width)),
    lines.seek(i32.divu(from, width)),
    set(left, count),
    set(column, 0),
    loopWhile(left, [
      set(run, minimum(i32.sub(width, x), left)),
      set(start, i32.add(i32.add(i.base, valueOf(0)), i32.mul(x, sourceStep))),
      set(fourSteps, i32x4.splat(i32.shl(sourceStep, 2))),
      overTaps(tapRow),
      offsetRows,
      advance(column, floats(run)),
      set(left, i32.sub(left, run)),
      set(x, 0),
      lines.advance(),
    ]),
    overTaps([set(at, i32.add(row, column)), Array.from({ length: spare / 4 - 1 }, (_, v) => v128.store(at, zeros, 16 * v))]),
  ]
}

/** Makes every run of channels that is not adjacent so: copies it to the next place in `copies`, and points there. */
export function gatherChannels(f: FunctionBuilder, i: Indirection, count: Local, channels: Local, channelStep: Local, copies: Local): Code {
  const local = (): Local => f.local('i32')
  const [tap, pixel, row, at, from, to] = [local(), local(), local(), local(), local(), local()]
  return [
    set(to, copies),
    set(row, i.pointers),
    loopRange(tap, 0, i.tapCount, 1, [
      loopRange(pixel, 0, count, 1, [
        set(at, i32.add(row, i32.shl(pixel, 2))),
        set(from, i32.load(at)),
        when(i32.ne(from, i.zeros), [
          i32.store(at, to),
          copyRun(f, to, from, channels, channelStep),
          advance(to, i32.shl(channels, 2)),
        ]),
      ]),
      advance(row, i.rowBytes),
    ]),
  ]
}
