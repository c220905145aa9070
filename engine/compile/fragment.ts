/**
 * Fragments: values that are not in memory yet, as an expression over loads from buffers that are. Elementwise ops
 * combine fragments, movement changes the views they load through; a kernel is one fragment written to one buffer.
 */
import type { ReduceOp } from '../../kernels/ir/descriptor.ts'
import type { Expression, ExpressionOp } from '../../kernels/ir/expression.ts'
import type { DType } from '../dtype.ts'
import type { Movement } from '../op.ts'
import { sameShape, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { moveProduct } from './pendingProduct.ts'
import type { PendingProduct } from './pendingProduct.ts'
import { moveView, sameView } from './view.ts'
import type { View } from './view.ts'

/** A buffer of the plan, by number. */
export type BufferId = number

/** A read of one element per position. Expressions name it by `id`. */
export interface Load {
  readonly id: number
  readonly buffer: BufferId
  readonly dtype: DType
  readonly view: View
}

/** A fold that the fragment's expression reads as its accumulator. Its loads run over the shape before the fold. */
export interface Reduction {
  readonly kind: 'reduction'
  readonly op: ReduceOp
  readonly axes: readonly number[]
  readonly shape: Shape
  readonly element: Expression
  readonly loads: readonly Load[]
}

export interface Fragment {
  readonly shape: Shape
  readonly dtype: DType
  readonly expression: Expression
  /** Views have the fragment's shape. */
  readonly loads: readonly Load[]
  /** What the expression reads as its accumulator, computed by the same kernel. */
  readonly accumulated: Reduction | PendingProduct | undefined
}

/** The single load a fragment consists of, if it is nothing else. A load of another type, such as bf16 read as f32, is a cast. */
export function bareLoad(f: Fragment): Load | undefined {
  return f.expression.op === 'load' && f.accumulated === undefined ? f.loads.find((l) => l.id === f.expression.value && l.dtype === f.dtype) : undefined
}

/** `root` with other loads, or other accumulators; sharing is kept. */
export function replaceLeaves(root: Expression, op: 'load' | 'accumulator', replace: (leaf: Expression) => Expression): Expression {
  const done = new Map<Expression, Expression>()
  const visit = (e: Expression): Expression => {
    const known = done.get(e)
    if (known !== undefined) return known
    const args = e.args.map(visit)
    const changed = e.op === op ? replace(e) : args.some((a, i) => a !== e.args[i]) ? { ...e, args } : e
    done.set(e, changed)
    return changed
  }
  return visit(root)
}

/** x for x·1, as gradients begin: in every bit the same, and no work. */
export function withoutOnes(e: Expression): Expression {
  const [x, y] = e.args
  if (e.op !== 'mul' || x === undefined || y === undefined) return e
  const isOne = (factor: Expression): boolean => factor.op === 'const' && factor.value === 1
  return isOne(x) ? y : isOne(y) ? x : e
}

/** Distinct nodes of an expression that compute something. */
export function operations(root: Expression): Expression[] {
  const seen = new Set<Expression>()
  const visit = (e: Expression): void => {
    if (seen.has(e)) return
    seen.add(e)
    e.args.forEach(visit)
  }
  visit(root)
  return [...seen].filter((e) => e.args.length > 0)
}

const costly: ReadonlySet<ExpressionOp> = new Set(['exp', 'log', 'log2', 'expm1', 'log1p', 'sin', 'cos', 'tanh', 'erf', 'sigmoid', 'pow', 'atan2', 'div', 'sqrt', 'idiv', 'rem'])

/** Computing it again costs about as little as reading it. */
export function isCheap(f: Fragment, most: number): boolean {
  const ops = operations(f.expression)
  return f.accumulated === undefined && ops.length <= most && !ops.some((e) => costly.has(e.op))
}

/** A value that is the same everywhere, which kernels compute once outside their loops. */
export function isUniform(f: Fragment): boolean {
  return f.accumulated === undefined && f.loads.every((l) => isConstantView(l.view))
}

const isConstantView = (view: View): boolean => view.mask === undefined && view.strides.every((s, i) => s === 0 || view.shape[i] === 1)

/** Reading what it is made of moves no more bytes than reading its result would. */
export function readsOneValue(f: Fragment): boolean {
  return f.loads.filter((l) => !isConstantView(l.view)).length <= 1
}

const longSizes = (shape: Shape): number[] => shape.filter((d) => d !== 1)

/** The fragment after a movement, if its loads can be moved; undefined asks for it to be stored first. */
export function moveFragment(f: Fragment, m: Movement, shape: Shape, nextId: () => number): Fragment | undefined {
  const bare = bareLoad(f) !== undefined
  if (m.op === 'pad' && !bare) return undefined // Padding after an expression is zero; the expression of padding may not be.
  if (m.op === 'expand' && !bare && sizeOf(f.shape) !== 1 && !isUniform(f) && !isCheap(f, 3)) return undefined
  const accumulated = f.accumulated && moveAccumulated(f.accumulated, m, f.shape, shape)
  if (accumulated === undefined && f.accumulated !== undefined) return undefined
  const moved = new Map<number, Load>()
  for (const l of f.loads) {
    const view = moveView(l.view, m)
    if (view === undefined) return undefined
    moved.set(l.id, { ...l, id: nextId(), view })
  }
  const expression = replaceLeaves(f.expression, 'load', (e) => ({ ...e, value: moved.get(e.value)?.id ?? e.value }))
  return { ...f, shape, expression, loads: [...moved.values()], accumulated }
}

function moveAccumulated(a: Reduction | PendingProduct, m: Movement, from: Shape, to: Shape): Reduction | PendingProduct | undefined {
  if (a.kind === 'product') return moveProduct(a, m)
  return m.op === 'reshape' && sameShape(longSizes(from), longSizes(to)) ? a : undefined
}

/** Loads of several fragments with equal ones merged, and the expressions that read them. */
export function mergeLoads(fragments: readonly Fragment[]): { loads: Load[]; expressions: Expression[] } {
  const loads: Load[] = []
  const expressions = fragments.map((f) => {
    const renamed = new Map<number, number>()
    for (const l of f.loads) {
      const known = loads.find((k) => k.buffer === l.buffer && sameView(k.view, l.view))
      if (known === undefined) loads.push(l)
      else if (known.id !== l.id) renamed.set(l.id, known.id)
    }
    return renamed.size === 0 ? f.expression : replaceLeaves(f.expression, 'load', (e) => ({ ...e, value: renamed.get(e.value) ?? e.value }))
  })
  return { loads, expressions }
}
