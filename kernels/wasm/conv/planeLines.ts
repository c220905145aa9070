/**
 * Lines of planes, copied to scratch memory one behind the other with zeros for what lies outside, so that every tap
 * of a convolution reads them at a constant distance. The zeros behind a line are also those before the next.
 */
import { type Code, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, set, v128, when } from '../core/assembler.ts'

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
  const advance = (pointer: Local, by: Code): Code => set(pointer, i32.add(get(pointer), by))
  const zeros = (address: Local, vectors: number, offset = 0): Code => Array.from({ length: vectors }, (_, v) => v128.store(get(address), v128.splatF32(0), offset + 16 * v))
  const copyChunk = [
    chunk.map((vector, v) => set(vector, v128.load(get(at), 16 * v))),
    chunk.map((vector, v) => v128.store(get(into), get(vector), 16 * v)),
  ]
  const chunkBytes = i32.const(4 * leastCopied)
  const inside = [
    set(at, get(read)),
    set(into, get(start)),
    set(last, i32.add(get(read), i32.sub(get(copy.copied), chunkBytes))),
    loopWhile(i32.ltu(get(at), get(last)), [copyChunk, advance(at, chunkBytes), advance(into, chunkBytes)]),
    // The last chunk overlaps the one before it.
    advance(into, i32.sub(get(last), get(at))),
    set(at, get(last)),
    copyChunk,
  ]
  // Vectors of zeros may reach into the next line, which is written later.
  const outside = [set(at, get(start)), loopWhile(i32.ltu(get(at), get(next)), [zeros(at, 1), advance(at, i32.const(16))])]
  return [
    set(begin, first),
    set(end, i32.add(get(begin), get(count))),
    set(channel, from),
    set(plane, i32.add(get(copy.area), i32.mul(get(channel), get(copy.planeBytes)))),
    set(corner, i32.add(i32.add(get(source.base), i32.mul(get(channel), get(source.channelStep))), i32.mul(get(begin), get(source.lineStep)))),
    loopRange(channel, get(channel), to, 1, [
      zeros(plane, lineHead / 4),
      set(start, i32.add(get(plane), i32.const(4 * lineHead))),
      set(read, get(corner)),
      loopRange(line, get(begin), get(end), 1, [
        set(next, i32.add(get(start), get(copy.pitch))),
        set(at, i32.sub(get(next), i32.const(16 * copy.gapVectors))),
        zeros(at, copy.gapVectors),
        when(i32.ltu(get(line), get(source.height)), inside, outside),
        set(start, get(next)),
        advance(read, get(source.lineStep)),
      ]),
      zeros(start, lineSpare / 4),
      advance(plane, get(copy.planeBytes)),
      advance(corner, get(source.channelStep)),
    ]),
  ]
}
