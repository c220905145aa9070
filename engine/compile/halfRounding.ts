/**
 * f16 in kernels that compute in f32: a value of it is rounded as it is made, in registers, so that fused or stored it is the
 * same. Where an f32 value is such a number, f16 memory holds it as well.
 */
import { unary } from '../../kernels/ir/expression.ts'
import type { Expression, ExpressionOp } from '../../kernels/ir/expression.ts'
import { roundToF16 } from '../../kernels/ir/rounding.ts'
import type { DType } from '../dtype.ts'
import type { Fragment, Load } from './fragment.ts'

/** Ops that give what f16 holds if their operands are that. */
const exact: ReadonlySet<ExpressionOp> = new Set(['neg', 'abs', 'sign', 'floor', 'ceil', 'round', 'trunc', 'min', 'max', 'select'])

interface Half {
  /** Whether f16 holds all values of the expression, as far as its outer ops tell. */
  readonly holds: boolean
  /** Whether some of them come from f16, rather than all from constants. */
  readonly proper: boolean
}

export function halfOf({ expression, loads }: Pick<Fragment, 'expression' | 'loads'>): Half {
  const known = new Map<Expression, boolean>()
  let proper = false
  const visit = (e: Expression): boolean => {
    const found = known.get(e) ?? (e.type === 'f32' && holds(e))
    known.set(e, found)
    return found
  }
  const holds = (e: Expression): boolean => {
    if (e.op === 'const') return Object.is(roundToF16(e.value), e.value)
    if (e.op !== 'half' && e.op !== 'load') return exact.has(e.op) && e.args.every((x) => x.type === 'bool' || visit(x))
    const own = e.op === 'half' || loads.find((l) => l.id === e.value)?.dtype === 'f16'
    proper ||= own
    return own
  }
  const all = visit(expression)
  return { holds: all, proper: all && proper }
}

/** The expression as a value of `dtype`. */
export function rounded(expression: Expression, dtype: DType, loads: readonly Load[]): Expression {
  return dtype !== 'f16' || halfOf({ expression, loads }).holds ? expression : unary('half', expression)
}

/** What is left to compute where the result is stored as `dtype`, which rounds it. */
export function beforeStore(e: Expression, dtype: DType): Expression {
  return dtype === 'f16' && e.op === 'half' ? (e.args[0] ?? e) : e
}

/** The type in which kernels take floats that are converted for them. */
export const wide = (dtype: DType): DType => (dtype === 'bf16' || dtype === 'f16' ? 'f32' : dtype)
