/** Which parts of an expression can be computed outside which loop. */
import type { Expression } from '../expression.ts'
import { isLeaf } from './emit.ts'

/**
 * For each level below `innermost`, the largest sub-expressions that are known there and needed
 * further in. `levelOf` says where a leaf is known: 0 once, 1 in the first loop, and so on.
 */
export function hoist(roots: readonly Expression[], innermost: number, levelOf: (leaf: Expression) => number): Expression[][] {
  const levels = new Map<Expression, number>()
  const found = Array.from({ length: innermost }, (): Expression[] => [])
  const visit = (e: Expression): number => {
    const known = levels.get(e)
    if (known !== undefined) return known
    const level = isLeaf(e) ? levelOf(e) : Math.max(0, ...e.args.map(visit))
    levels.set(e, level)
    for (const x of e.args) if (visit(x) < level) need(x)
    return level
  }
  const need = (e: Expression): void => {
    const list = found[visit(e)]
    if (e.op !== 'const' && list !== undefined && !list.includes(e)) list.push(e)
  }
  roots.forEach(need)
  return found
}
