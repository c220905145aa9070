/**
 * The axes of a domain as a kernel's arguments, and the walk over some of them that keeps, for each
 * operand, how many bytes away from its first element the current position lies.
 */
import type { Axis } from '../../ir/domain.ts'
import { type Arguments } from './arguments.ts'
import { type Code, type FunctionBuilder, i32, type Local } from './assembler.ts'
import { Odometer } from './odometer.ts'

/** An axis as arguments: sizes and bounds in elements, strides in bytes. */
export interface PassedAxis {
  readonly size: Local
  readonly index: number | undefined
  readonly steps: readonly (Local | undefined)[]
  readonly ranges: readonly ({ readonly lo: Local; readonly length: Local } | undefined)[]
}

/** Passes `axis` for the operands whose element sizes are given; undefined ones take no part. */
export function passAxis(args: Arguments, axis: Axis, elementBytes: readonly (number | undefined)[]): PassedAxis {
  return {
    size: args.number(axis.size),
    index: axis.index,
    steps: elementBytes.map((bytes, o) => (bytes === undefined ? undefined : args.number((axis.strides[o] ?? 0) * bytes))),
    ranges: elementBytes.map((bytes, o) => {
      const range = axis.ranges[o]
      return bytes === undefined || range === undefined ? undefined : { lo: args.number(range[0]), length: args.number(range[1] - range[0]) }
    }),
  }
}

/** What of `axis` is in the code and not in the arguments. */
export const axisKey = (axis: Axis): string => `${axis.index ?? ''}${axis.ranges.map((r) => (r === undefined ? '.' : 'm')).join('')}`

export class Walk {
  readonly odometer: Odometer
  private readonly axes: readonly PassedAxis[]
  private readonly counted: readonly number[]
  private readonly operands: readonly number[]

  /** `extra` are further linear functions of the position, one step an axis. */
  constructor(f: FunctionBuilder, axes: readonly PassedAxis[], extra: readonly (readonly (Code | undefined)[])[] = []) {
    this.axes = axes
    const taking = (o: number): boolean => axes.some((axis) => axis.steps[o] !== undefined)
    this.operands = (axes[0]?.steps ?? []).flatMap((_, o) => (taking(o) ? [o] : []))
    this.counted = axes.flatMap((axis, a) => (axis.index !== undefined || axis.ranges.some((r) => r !== undefined) ? [a] : []))
    const moves = this.operands.map((o) => axes.map((axis) => axis.steps[o]))
    const counts = this.counted.map((a) => axes.map((_, b) => (a === b ? i32.const(1) : undefined)))
    this.odometer = new Odometer(f, axes.map((axis) => axis.size), [...moves, ...counts, ...extra])
  }

  /** Bytes from the first element of operand `o` to the current one. */
  offset(o: number): Code {
    const at = this.operands.indexOf(o)
    return this.odometer.values[at] ?? i32.const(0)
  }

  private counter(axis: number): Code {
    return this.odometer.values[this.operands.length + this.counted.indexOf(axis)] ?? i32.const(0)
  }

  /** The current value of extra function `number`. */
  extra(number: number): Code {
    return this.odometer.values[this.operands.length + this.counted.length + number] ?? i32.const(0)
  }

  /** The position along axis `index` of the descriptor, if this walk counts it. */
  position(index: number): Code | undefined {
    const axis = this.axes.findIndex((a) => a.index === index)
    return axis < 0 ? undefined : this.counter(axis)
  }

  /** Whether operand `o` exists at the current position; undefined if it always does. */
  exists(o: number): Code | undefined {
    const checks = this.axes.flatMap((axis, a) => {
      const range = axis.ranges[o]
      return range === undefined ? [] : [i32.ltu(i32.sub(this.counter(a), range.lo), range.length)]
    })
    return checks.length === 0 ? undefined : checks.reduce((a, b) => i32.and(a, b))
  }
}

/** Whether operand `o` exists at the positions of two walks; undefined if it always does. */
export function existsIn(outer: Walk, inner: Walk, o: number): Code | undefined {
  const [a, b] = [outer.exists(o), inner.exists(o)]
  return a === undefined || b === undefined ? (a ?? b) : i32.and(a, b)
}
