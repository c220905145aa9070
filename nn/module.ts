/**
 * Modules: classes whose public fields are parameters (variables) or other modules, alone or in lists. A field is
 * spelled as in the checkpoints it is loaded from, so that the state dict is a walk over the fields and PyTorch's names
 * need no table.
 */
import { Variable } from '../engine/index.ts'
import type { TensorLike } from '../engine/index.ts'

/** `forward` of the subclass says what it computes; callers use `call`, which puts the module's path on the ops. */
export abstract class Module<Arguments extends readonly [TensorLike, ...unknown[]] = never, Result = unknown> {
  #key = ''
  #keyed = false

  abstract forward(...inputs: Arguments): Result

  /** `forward`, under the module's name in the module around it: `down_blocks.0.resnets.1`. */
  call(...inputs: Arguments): Result {
    if (!this.#keyed) for (const [key, value] of fields(this)) if (isModule(value)) value.#key = key
    this.#keyed = true
    return this.#key === '' ? this.forward(...inputs) : inputs[0].device.scope(this.#key, () => this.forward(...inputs))
  }
}

const isModule = (value: unknown): value is Module => value instanceof Module

/** Fields and entries of lists in them, in the order in which they were set. */
function* fields(module: object): Generator<[string, unknown]> {
  for (const [key, value] of Object.entries(module) as [string, unknown][]) {
    if (Array.isArray(value)) for (const [i, item] of value.entries()) yield [`${key}.${i}`, item]
    else yield [key, value]
  }
}

/** Every variable of a module under its dotted name, such as `down_blocks.0.resnets.1.conv1.weight`. */
export function stateDict(module: Module, prefix = ''): Record<string, Variable> {
  const found: Record<string, Variable> = {}
  for (const [key, value] of fields(module)) {
    if (value instanceof Variable) found[prefix + key] = value
    else if (isModule(value)) Object.assign(found, stateDict(value, `${prefix}${key}.`))
  }
  return found
}

/** The variables of a state dict that optimisers move. */
export function namedParameters(module: Module): Record<string, Variable> {
  return Object.fromEntries(Object.entries(stateDict(module)).filter(([, variable]) => variable.trainable))
}
