/**
 * What runs together: the outputs of a realisation with every assigned variable that shares work with them, overwrites
 * what they read, or reads what they overwrite. The other assigned variables run by themselves. Usually that is one part, and one walk over the graph finds it.
 */
import { Walk, reach } from './compile/capture.ts'
import type { Reached } from './compile/capture.ts'
import type { Tensor } from './graph.ts'
import type { Variable } from './variable.ts'

export interface Part {
  readonly outputs: readonly Tensor[]
  readonly cells: readonly Variable[]
  /** What the outputs, and the values that the variables move to, are made of. */
  readonly reached: Reached
}

/** The parts that have work, the outputs' first. */
export function partition(outputs: readonly Tensor[], moved: readonly Variable[]): Part[] {
  const device = (outputs[0] ?? moved[0])?.device
  if (device === undefined) return []
  moved.forEach((cell, i) => {
    cell.note = i + 1
  })
  const groups = new Groups(moved.length + 1)
  let group = 0
  const walk = new Walk(device, {
    enter(node) {
      node.note = group
      return true
    },
    again: (node) => groups.join(group, node.note),
    read(leaf) {
      if (leaf.kind === 'cell' && leaf.cell.move !== undefined) groups.join(group, leaf.cell.note)
    },
  })
  for (const t of outputs) walk.from(t)
  for (const cell of moved) {
    group++
    if (cell.move !== undefined) walk.from(cell.move)
  }
  const [joint, others]: [Variable[], Variable[]] = [[], []]
  const root = outputs.length > 0 ? groups.find(0) : undefined
  moved.forEach((cell, i) => (groups.find(i + 1) === root ? joint : others).push(cell))
  const parts = [
    { outputs, cells: joint },
    { outputs: [], cells: others },
  ].filter((part) => part.outputs.length + part.cells.length > 0)
  return parts.map((part) => ({ ...part, reached: parts.length === 1 ? walk : reach([...part.outputs, ...part.cells.flatMap((cell) => cell.move ?? [])]) }))
}

/** Disjoint sets of numbers. */
class Groups {
  private readonly parents: Int32Array

  constructor(count: number) {
    this.parents = new Int32Array(count)
    for (let i = 0; i < count; i++) this.parents[i] = i
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
