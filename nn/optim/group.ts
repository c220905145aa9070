/** Parameters that one rule moves: what a step assigns to them, to their state and to the average that a fused op takes along. */
import { mul, variable, where } from '../../engine/index.ts'
import type { Tensor, Variable } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import type { EMA } from '../ema.ts'
import { numbersAt } from './hyperparameter.ts'
import type { NamedVariables } from './parameters.ts'
import type { Moves } from './moves.ts'
import { lift } from './rule.ts'
import type { AnyRule } from './rule.ts'

/** What all groups share in one step. */
export interface Step {
  /** Updates before this one, for schedules. */
  readonly k: number
  /** Which of the steps that count this is, for bias corrections. */
  readonly t: Tensor
  /** bool []: whether it counts. */
  readonly applies: Tensor
  /** Multiplies every gradient. */
  readonly scale: Tensor | undefined
  /** Of the first average: 1 − decay. */
  readonly weight: number | Tensor | undefined
}

type Columns<T> = Readonly<Record<string, readonly T[]>>

export class Group {
  readonly names: readonly string[]
  /** Of each parameter, under PyTorch's names. */
  readonly states: readonly NamedVariables[]
  readonly #optimizer: string
  readonly #rule: AnyRule
  readonly #parameters: readonly Variable[]
  /** The states by name, and the first average where it has all parameters: as a fused op takes them. */
  readonly #columns: Columns<Variable>
  readonly #averages: readonly Variable[] | undefined

  constructor(optimizer: string, parameters: NamedVariables, rule: AnyRule, average: EMA | undefined) {
    this.#optimizer = optimizer
    this.#rule = rule
    this.names = Object.keys(parameters)
    this.#parameters = Object.values(parameters)
    this.states = Object.entries(parameters).map(([name, p]) => Object.fromEntries(Object.entries(rule.state(p, name)).flatMap(([slot, initial]) => (initial === undefined ? [] : [[slot, variable(initial)]]))))
    this.#columns = Object.fromEntries(Object.keys(this.states[0] ?? {}).map((slot) => [slot, this.states.flatMap((state) => state[slot] ?? [])]))
    const averages = this.#parameters.flatMap((p) => average?.values.get(p) ?? [])
    this.#averages = averages.length === this.#parameters.length ? averages : undefined
  }

  /** Adds to `moves` what a step assigns, given a gradient for each parameter. */
  step(gradients: readonly Tensor[], step: Step, moves: Moves): void {
    if (this.#parameters.length === 0) return
    if (this.#rule.together === undefined) this.#oneByOne(gradients, step, moves)
    else this.#together(this.#rule, gradients, step, moves)
  }

  #oneByOne(gradients: readonly Tensor[], { k, t, applies, scale }: Step, moves: Moves): void {
    const numbers = Object.fromEntries(Object.entries(numbersAt(this.#optimizer, this.#rule.numbers, k)).map(([name, x]) => [name, lift(x, t)]))
    this.#parameters.forEach((parameter, i) => {
      const [g, state] = [at(gradients, i), at(this.states, i)]
      const before = Object.fromEntries(Object.entries(state).map(([slot, v]) => [slot, v.read()]))
      const { p, ...after } = this.#rule.update(parameter.read(), scale === undefined ? g : mul(g, scale), before, { ...numbers, t })
      moves.set(parameter, where(applies, p, parameter))
      for (const [slot, v] of Object.entries(state)) moves.set(v, where(applies, after[slot] ?? v, v))
    })
  }

  #together(rule: AnyRule, gradients: readonly Tensor[], { k, weight, ...step }: Step, moves: Moves): void {
    const averages = weight === undefined ? undefined : this.#averages
    const after = rule.together?.({
      ...step,
      parameters: this.#parameters.map(read),
      gradients,
      state: Object.fromEntries(Object.entries(this.#columns).map(([slot, variables]) => [slot, variables.map(read)])),
      ema: averages === undefined || weight === undefined ? undefined : { averages: averages.map(read), weight },
    }, numbersAt(this.#optimizer, rule.numbers, k))
    if (after === undefined) return
    const move = (variables: readonly Variable[], values: readonly Tensor[] | undefined): void => variables.forEach((v, i) => values?.[i] !== undefined && moves.set(v, values[i]))
    move(this.#parameters, after.parameters)
    for (const [slot, variables] of Object.entries(this.#columns)) move(variables, after.state[slot])
    move(averages ?? [], after.averages)
  }
}

const read = (v: Variable): Tensor => v.read()
