/** Padding: with a constant, or with what the tensor itself holds. */
import { ConfigError, ShapeError, checkWord, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { applyOn } from '../op.ts'
import { at, formatShape } from '../shape.ts'
import { literalOp, operandLike, where } from '../ops/elementwise.ts'
import type { Operand } from '../ops/elementwise.ts'
import { concat } from '../ops/join.ts'
import { expand, flip, strideSlice, zeroPad } from '../ops/movement.ts'

const modes = ['constant', 'reflect', 'replicate', 'circular'] as const
export type PadMode = (typeof modes)[number]

export interface PadOptions {
  /**
   * `constant` (default); `reflect` mirrors without repeating the edge; `replicate` repeats the edge; `circular` goes on at
   * the other end.
   */
  readonly mode?: PadMode
  /** Of `constant`: a number or a scalar tensor; zero if absent. */
  readonly value?: Operand
}

/** What is added to one axis: as much at both ends, or low and high. */
export type PadAmount = number | readonly [low: number, high: number]

/**
 * `x` with elements added around it. `amounts` are listed an axis each and, like shapes in broadcasting, aligned at the
 * back: `pad(x, [[1, 2], 3])` of [N, C, H, W] adds one row above, two below, and three columns on both sides.
 * Throws ShapeError for more amounts than axes, negative ones, and more than `reflect` (size − 1), `circular` (size) or
 * `replicate` (a non-empty axis) can take from.
 */
export function pad(x: TensorLike, amounts: readonly PadAmount[], { mode = 'constant', value, ...others }: PadOptions = {}): Tensor {
  refuseOthers('pad', others)
  const lead = x.shape.length - amounts.length
  if (lead < 0) throw new ShapeError(`pad: ${amounts.length} amounts for shape ${formatShape(x.shape)}; give at most one for each of its ${x.shape.length} axes`)
  const ends = amounts.map((a): readonly [number, number] => (typeof a === 'number' ? [a, a] : a))
  const low = x.shape.map((_, i) => (i < lead ? 0 : at(ends, i - lead)[0]))
  const high = x.shape.map((_, i) => (i < lead ? 0 : at(ends, i - lead)[1]))
  const wrong = [...low, ...high].find((n) => !Number.isSafeInteger(n) || n < 0)
  if (wrong !== undefined) throw new ShapeError(`pad: ${wrong} of shape ${formatShape(x.shape)} is not an amount to add; use integers of at least 0, and slice to crop`)
  checkWord('pad', 'mode', mode, modes)
  if (value !== undefined && mode !== 'constant') throw new ConfigError(`pad: value is of mode constant, but the mode is ${mode}; leave one of them out`)
  if (mode === 'constant') return padConstant(x, low, high, value)
  return x.shape.reduce((padded, _, axis) => padAxis(padded, axis, at(low, axis), at(high, axis), mode), x.read())
}

function padConstant(x: TensorLike, low: readonly number[], high: readonly number[], value: Operand | undefined): Tensor {
  if (value === undefined) return zeroPad(x, low, high)
  const one = applyOn(x.device, literalOp, { value: 1, dtype: 'bool' })
  return where(zeroPad(expand(one, x.shape), low, high), zeroPad(x, low, high), operandLike('pad', value, x))
}

function padAxis(x: Tensor, axis: number, low: number, high: number, mode: Exclude<PadMode, 'constant'>): Tensor {
  if (low === 0 && high === 0) return x
  const n = at(x.shape, axis)
  const most = mode === 'reflect' ? n - 1 : mode === 'circular' ? n : n > 0 ? Infinity : 0
  if (Math.max(low, high) > most) {
    throw new ShapeError(`pad: axis ${axis} of ${formatShape(x.shape)} has ${n} elements, too few to ${mode} ${Math.max(low, high)}; pad at most ${Math.max(0, most)}, or with mode constant`)
  }
  const run = (start: number, size: number): Tensor =>
    strideSlice(x, { start: x.shape.map((_, i) => (i === axis ? start : 0)), size: x.shape.map((d, i) => (i === axis ? size : d)), step: x.shape.map(() => 1) })
  const edge = (start: number, size: number): Tensor => expand(run(start, 1), x.shape.map((d, i) => (i === axis ? size : d)))
  const [before, after] = {
    reflect: () => [flip(run(1, low), axis), flip(run(n - 1 - high, high), axis)],
    replicate: () => [edge(0, low), edge(n - 1, high)],
    circular: () => [run(n - low, low), run(0, high)],
  }[mode]()
  return concat([low > 0 ? before : undefined, x, high > 0 ? after : undefined].flatMap((t) => t ?? []), axis)
}
