/**
 * Lines of planes, copied to scratch memory one behind the other with zeros for what lies outside, so that every tap
 * of a convolution reads them at a constant distance. The zeros behind a line are also those before the next.
 */
import { advance, type Code, type FunctionBuilder, i32, type Local, loopRange, loopWhile, set, v128, when } from '../core/assembler.ts'

/** Where lines come from. Steps in bytes. */
export interface LineSource {
  /** Address of channel 0, line 0, of the first column that is copied. */
  readonly base: Local
  readonly channelStep: Local
  readonly lineStep: Local
  /** Lines outside are zeros. */
  readonly height: Local
}

/** How lines lie in scratch memory, in floats. */
export interface LineLayout {
  /** Of a line, without zeros. */
  readonly copied: number
  /** From one line to the next. */
  readonly pitch: number
  /** From one channel to the next. */
  readonly plane: number
}

/** The same, in bytes, as arguments. */
export interface LineCopy {
  readonly area: Local
  readonly pitch: Local
  readonly planeBytes: Local
  readonly copied: Local
  /** Vectors of zeros that cover what is between lines. */
  readonly gapVectors: number
}

/** Floats of a line that are copied, at least: they go by so many. */
export const leastCopied = 16
/** Zeros before the first line of a channel, in floats: as many as a line may need. */
export const lineHead = 16
/** Zeros behind the last line of a channel, in floats, which a loop over vectors may read. */
const lineSpare = 32

/** A layout of planes of `lines` lines, `pitch` floats apart. Planes that are an odd number of cache lines long do not all begin in the same sets. */
export function lineLayout(lines: number, copied: number, pitch: number): LineLayout {
  const lineFloats = 16
  return { copied, pitch, plane: (Math.ceil((lineHead + lines * pitch + lineSpare) / lineFloats) | 1) * lineFloats }
}

export const gapVectors = ({ copied, pitch }: LineLayout): number => Math.ceil((pitch - copied) / 4)

/** Copies lines `first` … `first + count − 1`, numbered in the source, of channels `from` … `to − 1`. */
export function packLines(f: FunctionBuilder, source: LineSource, copy: LineCopy, first: Code, count: Local, from: Code, to: Code): Code {
  const local = (): Local => f.local('i32')
  const [line, begin, end, channel, plane, corner, start, read, at, into, last, next] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const chunk = Array.from({ length: leastCopied / 4 }, () => f.local('v128'))
  const zeros = (address: Local, vectors: number, offset = 0): Code => Array.from({ length: vectors }, (_, v) => v128.store(address, v128.splatF32(0), offset + 16 * v))
  const copyChunk = [
    chunk.map((vector, v) => set(vector, v128.load(at, 16 * v))),
    chunk.map((vector, v) => v128.store(into, vector, 16 * v)),
  ]
  const chunkBytes = i32.const(4 * leastCopied)
  const inside = [
    set(at, read),
    set(into, start),
    set(last, i32.add(read, i32.sub(copy.copied, chunkBytes))),
    loopWhile(i32.ltu(at, last), [copyChunk, advance(at, chunkBytes), advance(into, chunkBytes)]),
    // The last chunk overlaps the one before it.
    advance(into, i32.sub(last, at)),
    set(at, last),
    copyChunk,
  ]
  // Vectors of zeros may reach into the next line, which is written later.
  const outside = [set(at, start), loopWhile(i32.ltu(at, next), [zeros(at, 1), advance(at, 16)])]
  return [
    set(begin, first),
    set(end, i32.add(begin, count)),
    set(channel, from),
    set(plane, i32.add(copy.area, i32.mul(channel, copy.planeBytes))),
    set(corner, i32.add(i32.add(source.base, i32.mul(channel, source.channelStep)), i32.mul(begin, source.lineStep))),
    loopRange(channel, channel, to, 1, [
      zeros(plane, lineHead / 4),
      set(start, i32.add(plane, 4 * lineHead)),
      set(read, corner),
      loopRange(line, begin, end, 1, [
        set(next, i32.add(start, copy.pitch)),
        set(at, i32.sub(next, 16 * copy.gapVectors)),
        zeros(at, copy.gapVectors),
        when(i32.ltu(line, source.height), inside, outside),
        set(start, next),
        advance(read, source.lineStep),
      ]),
      zeros(start, lineSpare / 4),
      advance(plane, copy.planeBytes),
      advance(corner, source.channelStep),
    ]),
  ]
}
