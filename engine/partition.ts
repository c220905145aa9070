/**
 * What runs together: the outputs of a realisation with every assigned variable that shares work with them, overwrites
 * what they read, or reads what they overwrite. The other assigned variables run by themselves. One walk over the graph.
 */
import type { Tensor } from './graph.ts'
import type { Variable } from './variable.ts'

export interface Part {
  readonly outputs: readonly Tensor[]
  readonly cells: readonly Variable[]
}

/** The parts that have work, the outputs' first. */
export function partition(outputs: readonly Tensor[], moved: readonly Variable[]): Part[] {
  const numbers = new Map(moved.map((cell, i) => [cell, i + 1]))
  const groups = new Groups(moved.length + 1)
  const walk = (outputs[0] ?? moved[0])?.device.nextWalk() ?? 0
  const visit = (roots: readonly Tensor[], group: number): void => {
    const stack = [...roots]
    for (let t = stack.pop(); t !== undefined; t = stack.pop()) {
      const { node, leaf } = t
      if (leaf !== undefined) {
        const overwritten = leaf.kind === 'cell' ? numbers.get(leaf.cell) : undefined
        if (overwritten !== undefined) groups.join(group, overwritten)
        continue
      }
      if (node.walk === walk) groups.join(group, node.note)
      else {
        node.walk = walk
        node.note = group
        for (const input of node.inputs) stack.push(input)
      }
    }
  }
  visit(outputs, 0)
  moved.forEach((cell, i) => visit(cell.move === undefined ? [] : [cell.move], i + 1))
  const joint = (i: number): boolean => outputs.length > 0 && groups.find(i + 1) === groups.find(0)
  const parts = [
    { outputs, cells: moved.filter((_, i) => joint(i)) },
    { outputs: [], cells: moved.filter((_, i) => !joint(i)) },
  ]
  return parts.filter((part) => part.outputs.length + part.cells.length > 0)
}

/** Disjoint sets of numbers. */
class Groups {
  private readonly parents: number[]

  constructor(count: number) {
    this.parents = Array.from({ length: count }, (_, i) => i)
  }

  find(i: number): number {
    let root = i
    for (let parent = this.parents[root] ?? root; parent !== root; parent = this.parents[root] ?? root) root = parent
    this.parents[i] = root
    return root
  }

  join(i: number, j: number): void {
    this.parents[this.find(i)] = this.find(j)
  }
}
