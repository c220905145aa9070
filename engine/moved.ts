/** The variables that were assigned and not yet computed, in that order: a set that costs no hashing, for a step moves thousands. */
import type { Variable } from './variable.ts'

export class MovedVariables {
  size = 0
  /** With gaps where one has left; those from `end` on do not count. */
  private places: (Variable | undefined)[] = []
  private end = 0

  has(cell: Variable): boolean {
    return cell.place >= 0
  }

  add(cell: Variable): void {
    if (cell.place >= 0) return
    if (this.end > 2 * this.size + 64) this.closeGaps()
    cell.place = this.end
    this.places[this.end++] = cell
    this.size++
  }

  delete(cell: Variable): void {
    if (cell.place < 0) return
    this.places[cell.place] = undefined
    cell.place = -1
    this.size--
    if (this.size === 0) this.end = 0
  }

  list(): Variable[] {
    const cells: Variable[] = []
    for (let i = 0; i < this.end; i++) {
      const cell = this.places[i]
      if (cell !== undefined) cells.push(cell)
    }
    return cells
  }

  clear(): void {
    for (const cell of this.list()) this.delete(cell)
  }

  private closeGaps(): void {
    this.places = this.list()
    this.end = this.places.length
    this.places.forEach((cell, i) => cell !== undefined && (cell.place = i))
  }
}
