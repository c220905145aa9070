/** Parameters that one rule moves: what a step assigns to them, to their state and to the average that a fused op takes along. */
import { mul, variable, where } from '../../engine/index.ts'
import type { Tensor, Variable } from '../../engine/index.ts'
import type { EMA } from '../ema.ts'
import { numbersAt } from './hyperparameter.ts'
import type { NamedVariables } from './parameters.ts'
import { lift } from './rule.ts'
import type { AnyRule, State } from './rule.ts'

export type Move = readonly [to: Variable, value: Tensor]

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
  readonly ema: { readonly average: EMA; readonly weight: number | Tensor } | undefined
}

export class Group {
  readonly names: readonly string[]
  readonly parameters: readonly Variable[]
  /** Of each parameter, under PyTorch's names. */
  readonly states: readonly NamedVariables[]
  readonly #optimizer: string
  readonly #rule: AnyRule

  constructor(optimizer: string, parameters: NamedVariables, rule: AnyRule) {
    this.#optimizer = optimizer
    this.#rule = rule
    this.names = Object.keys(parameters)
    this.parameters = Object.values(parameters)
    this.states = this.parameters.map((p) => Object.fromEntries(Object.entries(rule.state(p)).flatMap(([slot, initial]) => (initial === undefined ? [] : [[slot, variable(initial)]]))))
  }

  /** What a step assigns, given a gradient for each parameter. */
  moves(gradients: readonly Tensor[], step: Step): Move[] {
    return this.#rule.together === undefined ? this.#oneByOne(gradients, step) : this.#together(gradients, step)
  }

  #oneByOne(gradients: readonly Tensor[], { k, t, applies, scale }: Step): Move[] {
    const numbers = Object.fromEntries(Object.entries(numbersAt(this.#optimizer, this.#rule.numbers, k)).map(([name, x]) => [name, lift(x, t)]))
    return this.parameters.flatMap((parameter, i) => {
      const [g, state] = [gradients[i], this.states[i]]
      if (g === undefined || state === undefined) return []
      const { p, ...next } = this.#rule.update(parameter.read(), scale === undefined ? g : mul(g, scale), read(state), { ...numbers, t })
      return [[parameter, p] as const, ...pairs(state, next)].map(([to, value]) => [to, where(applies, value, to)] as const)
    })
  }

  #together(gradients: readonly Tensor[], { k, ema, ...step }: Step): Move[] {
    const averages = ema === undefined ? [] : this.parameters.flatMap((p) => ema.average.values.get(p) ?? [])
    const followed = averages.length === this.parameters.length
    const next = this.#rule.together?.({
      ...step,
      parameters: this.parameters.map((p) => p.read()),
      gradients,
      states: this.states.map(read),
      ema: ema === undefined || !followed ? undefined : { averages: averages.map((a) => a.read()), weight: ema.weight },
    }, numbersAt(this.#optimizer, this.#rule.numbers, k))
    if (next === undefined) return []
    return [...zip(this.parameters, next.parameters), ...this.states.flatMap((state, i) => pairs(state, next.states[i] ?? {})), ...zip(averages, next.averages)]
  }
}

const read = (state: NamedVariables): Record<string, Tensor> => Object.fromEntries(Object.entries(state).map(([slot, v]) => [slot, v.read()]))

const pairs = (state: NamedVariables, next: State): Move[] => Object.entries(state).flatMap(([slot, v]) => { const value = next[slot]; return value === undefined ? [] : [[v, value] as const] })

const zip = (variables: readonly Variable[], values: readonly Tensor[]): Move[] => values.flatMap((value, i) => { const v = variables[i]; return v === undefined ? [] : [[v, value] as const] })
