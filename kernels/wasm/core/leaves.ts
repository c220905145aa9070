/** The leaves of an expression as code: loads through cursors, positions, the accumulator. */
import type { Expression } from '../../ir/expression.ts'
import { widen } from './access.ts'
import { type Code, i32x4 } from './assembler.ts'
import { type Cursor, type Place, positions, readLanes } from './cursor.ts'
import type { Leaf } from './emit.ts'
import type { VectorScope } from './scope.ts'

export interface LeafSources {
  readonly scope: VectorScope
  /** One for each operand that is loaded. */
  readonly cursors: readonly (Cursor | undefined)[]
  readonly place: Place
  /** The axis of the descriptor that is vectorised, if the expression asks for it. */
  readonly laneIndex: number | undefined
  /** The position along another axis; undefined where the axis has size 1. */
  readonly position: (axis: number) => Code | undefined
  readonly accumulator?: readonly Code[]
}

/** Each vector of an operand is read once, whatever types it is loaded as. */
export function leaves({ scope, cursors, place, laneIndex, position, accumulator }: LeafSources): Leaf {
  const lanes = new Map<string, Code>()
  const operand = (e: Expression, vector: number): Code => {
    const cursor = cursors[e.value]
    if (cursor === undefined) throw new Error(`no input ${e.value}`)
    const key = `${e.value}.${vector}`
    const raw = lanes.get(key) ?? readLanes(scope, cursor, place, vector)
    lanes.set(key, raw)
    return widen(scope, cursor.dtype, e.type, raw)
  }
  return (e, vector) => {
    if (e.op === 'load') return operand(e, vector)
    if (e.op === 'accumulator') return accumulator?.[vector] ?? accumulator?.[0] ?? scope.i32(0)
    if (laneIndex === e.value) return positions(scope, place.position, vector)
    const at = position(e.value)
    return at === undefined ? scope.i32(0) : i32x4.splat(at)
  }
}
