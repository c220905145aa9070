/** An operand of a generated kernel: how it is read along the vectorised axis, and its arguments. */
import type { Operand } from '../../ir/descriptor.ts'
import type { Axis } from '../../ir/domain.ts'
import { memoryType, type MemoryType, sizeShift } from './access.ts'
import type { Arguments } from './arguments.ts'
import { type Code, type FunctionBuilder, i32, type Local, select, set } from './assembler.ts'
import type { Access, Cursor } from './cursor.ts'

export interface PlannedOperand {
  readonly dtype: MemoryType
  readonly access: Access
  /** Address of the first element. */
  readonly base: Local
  /** Bytes between elements along the vectorised axis. */
  readonly stride: Local
  /** Of a masked operand, where it exists along the vectorised axis. */
  readonly bounds: { readonly lo: Local; readonly hi: Local } | undefined
}

/** How operand `o` moves along `lane`. */
export function accessOf(lane: Axis, o: number): Access {
  const stride = lane.strides[o] ?? 0
  if (stride === 1) return 'vector'
  return stride === 0 && lane.ranges[o] === undefined ? 'splat' : 'lanes'
}

/** Passes operand `o`, which is buffer `o`; `axes` are all of the domain's, `lane` among them. */
export function planOperand(args: Arguments, operand: Operand, o: number, axes: readonly Axis[], lane: Axis, access: Access): PlannedOperand {
  const bytes = 1 << sizeShift[operand.dtype]
  const masked = access !== 'blank' && axes.some((a) => a.ranges[o] !== undefined)
  const [lo, hi] = lane.ranges[o] ?? [0, lane.size]
  return {
    dtype: memoryType(operand.dtype),
    access,
    base: access === 'blank' ? args.number(0) : args.buffer(o, operand.offset * bytes),
    stride: args.number((lane.strides[o] ?? 0) * bytes),
    bounds: masked ? { lo: args.number(lo), hi: args.number(hi) } : undefined,
  }
}

/** What the code depends on. */
export const operandKey = (o: PlannedOperand): string => `${o.dtype}-${o.access}${o.bounds === undefined ? '' : '-masked'}`

export function openCursor(f: FunctionBuilder, { dtype, access, stride, bounds }: PlannedOperand): Cursor {
  return { dtype, access, stride, pointer: f.local('i32'), walker: f.local('i32'), range: bounds && { lo: f.local('i32'), hi: f.local('i32') } }
}

/** Puts a cursor `offset` bytes behind the first element; where the outer axes lie outside the mask, nothing exists. */
export function placeCursor(cursor: Cursor, { base, bounds }: PlannedOperand, offset: Code, exists: Code | undefined): Code {
  const pointer = set(cursor.pointer, i32.add(base, offset))
  if (cursor.range === undefined || bounds === undefined) return pointer
  const bound = (x: Local): Code => (exists === undefined ? x : select(x, i32.const(0), exists))
  return [pointer, set(cursor.range.lo, bound(bounds.lo)), set(cursor.range.hi, bound(bounds.hi))]
}
