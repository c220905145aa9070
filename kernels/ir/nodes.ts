/** Walks over expressions: what has to be computed, what can be computed outside which loop, and what memory can hold the values. */
import type { Expression, ScalarType, StorageType } from './expression.ts'

export const isLeaf = (e: Expression): boolean => e.op === 'load' || e.op === 'index' || e.op === 'accumulator'

/** The nodes that `roots` need and `known` lacks, arguments before their users. */
export function unknownNodes(roots: readonly Expression[], known: ReadonlyMap<Expression, unknown>): Expression[] {
  const seen = new Set<Expression>()
  const visit = (e: Expression): void => {
    if (known.has(e) || seen.has(e)) return
    e.args.forEach(visit)
    seen.add(e)
  }
  roots.forEach(visit)
  return [...seen]
}

/** The operands that `roots` load. */
export const loadsOf = (roots: readonly Expression[]): ReadonlySet<number> => new Set(unknownNodes(roots, new Map()).filter((e) => e.op === 'load').map((e) => e.value))

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

const allowed: Readonly<Record<StorageType, readonly ScalarType[]>> = {
  f32: ['f32'], f16: ['f32'], bf16: ['f32'], i32: ['i32', 'u32'], u32: ['u32', 'i32'], u8: ['u32', 'i32', 'bool'], bool: ['bool', 'u32', 'i32'],
}

/** Fails unless elements stored as `dtype` can be values of `type` without a cast. */
export function checkAccess(kernel: string, dtype: StorageType, type: ScalarType): void {
  if (!allowed[dtype].includes(type)) throw new TypeError(`${kernel}: ${dtype} memory cannot hold ${type} values; cast to ${allowed[dtype].join(' or ')} first`)
}
