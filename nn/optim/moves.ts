/** What is assigned once a whole step is built: variables and the values that they move to. */
import type { Tensor, Variable } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'

/**
 * A map from variables to values that a step fills and reads while nothing walks over the graph: a variable notes its
 * place in the lists, which tell whether that holds (Briggs and Torczon, "An Efficient Representation for Sparse Sets", 1993).
 */
export class Moves {
  readonly #variables: Variable[] = []
  readonly #values: Tensor[] = []

  get(variable: Variable): Tensor | undefined {
    return this.#variables[variable.note] === variable ? this.#values[variable.note] : undefined
  }

  set(variable: Variable, value: Tensor): void {
    if (this.#variables[variable.note] === variable) {
      this.#values[variable.note] = value
      return
    }
    variable.note = this.#variables.length
    this.#variables.push(variable)
    this.#values.push(value)
  }

  assign(): void {
    this.#variables.forEach((variable, i) => variable.assign(at(this.#values, i)))
  }
}
