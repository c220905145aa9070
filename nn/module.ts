/**
 * Modules: classes whose public fields are parameters (variables), buffers or other modules, alone or in arrays and plain
 * objects. A field is spelled as in the checkpoints it is loaded from, so that the state dict is a walk over the fields and PyTorch's
 * names need no table.
 */
import * as errors from '../engine/error.ts'
import { finished } from '../engine/finished.ts'
import { ConfigError, Variable } from '../engine/index.ts'
import type { DType, Device, RandomGenerator, Tensor, TensorLike } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import { sizeOf } from '../engine/shape.ts'

/** Where the parameters of a module live, and what they start with. */
export interface LayerOptions {
  /** Default: the default device. */
  readonly device?: Device
  /** Draws the initial values. Default: the device's. */
  readonly generator?: RandomGenerator
  /** A float type. Default f32. */
  readonly dtype?: DType
}

/** What runs in the place of a module's forward. */
export type Around<Arguments extends readonly unknown[], Result> = (forward: (...inputs: Arguments) => Result, ...inputs: Arguments) => Result

/** `forward` of the subclass says what it computes; callers use `call`, which puts the module's path on the ops. */
export abstract class Module<Arguments extends readonly [TensorLike, ...unknown[]] = never, Result = unknown> {
  /** Whether layers such as dropout and batch norm behave as in training; `train` and `eval` set it. */
  training = true
  /** Where the modules inside were when last looked for. */
  #places = new Map<Module, Field>()
  /** What stands around `forward`, the innermost first; without its type, so that any module is a `Module`. */
  #around: readonly object[] = []

  abstract forward(...inputs: Arguments): Result

  /**
   * `forward`, under the module's name in the module around it: `down_blocks.0.resnets.1`. Errors of the engine's that it
   * throws have the path of the innermost module in front of their message. ConfigError where it returns a promise or a
   * generator, which would run on without the name.
   */
  call(...inputs: Arguments): Result {
    const [{ device }] = inputs
    const outer = device.running
    // Asked of who calls: a module may be in several places, or be put there later.
    const name = outer instanceof Module ? outer.#nameOf(this) : undefined
    device.running = this
    const run = (): Result => {
      try {
        return this.#run(inputs)
      } catch (error) {
        place(error, device.path)
        throw error
      }
    }
    try {
      return name === undefined ? run() : device.scope(name, run)
    } finally {
      device.running = outer
    }
  }

  /**
   * Every parameter and persistent buffer inside under its dotted name, such as
   * `down_blocks.0.resnets.1.conv1.weight`. A variable that is in two places has both names.
   */
  stateDict(prefix = ''): Record<string, Variable> {
    return Object.fromEntries(variablesOf(this, prefix).filter(([, variable]) => !(variable instanceof Buffer) || variable.persistent))
  }

  #run(inputs: Arguments): Result {
    const innermost = (...given: Arguments): Result => finished('call', this.forward(...given), 'return tensors from forward, and let another method do what waits')
    if (this.#around.length === 0) return innermost(...inputs)
    return (this.#around as readonly Around<Arguments, Result>[]).reduce((inner, around) => (...given) => around(inner, ...given), innermost)(...inputs)
  }

  /**
   * Has `around` called in the place of a module's `forward`, which it gets and may call, on these or other inputs. Of
   * several the last one is outermost. Returns what takes it away again.
   */
  static wrap<A extends readonly [TensorLike, ...unknown[]], R>(module: Module<A, R>, around: Around<A, R>): () => void {
    const own: Around<A, R> = (forward, ...inputs) => around(forward, ...inputs)
    module.#around = [...module.#around, own]
    return () => {
      module.#around = module.#around.filter((other) => other !== own)
    }
  }

  #nameOf(child: Module): string | undefined {
    const known = this.#places.get(child)
    if (known !== undefined && Reflect.get(known.owner, known.key) === child) return known.name
    // Of several names the first one stays.
    this.#places = new Map(fieldsOf(this).filter(isChild).toReversed().map((field) => [field.value, field]))
    return this.#places.get(child)?.name
  }

  /** Sets `training` here and in all modules inside; returns the module. */
  train(training = true): this {
    for (const module of namedModules(this).values()) module.training = training
    return this
  }

  /** `train(false)`. */
  eval(): this {
    return this.train(false)
  }
}

/** Errors that have been on their way through a module, and say which. */
const placed = new WeakSet<Error>()

/** Puts the path of the module that runs in front of the message of an error of the engine's, once. */
function place(error: unknown, path: string): void {
  if (!(error instanceof Error) || placed.has(error) || !Object.values(errors).some((kind) => error instanceof kind)) return
  placed.add(error)
  if (path === '') return
  const { message, stack } = error
  error.message = `${path}: ${message}`
  // V8 has written the message into the stack, which is what is printed.
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message)
}

/** State that no gradient trains, such as running statistics. `freeze` and `unfreeze` pass it by. */
export class Buffer extends Variable {
  /** Whether it is part of the state dict. */
  readonly persistent: boolean
  override trainable = false

  constructor(initial: Tensor, { persistent = true, name = '', ...others }: BufferOptions = {}) {
    super(initial, name)
    refuseOthers('Buffer', others)
    this.persistent = persistent
  }
}

export interface BufferOptions {
  /** Whether it is saved with the parameters. Default true. */
  readonly persistent?: boolean
  readonly name?: string
}

/** A public field of a module, or an entry of an array or plain object in one, that holds a variable or a module. */
interface Field<Value = Variable | Module> {
  /** `conv1`, `resnets.0`. */
  readonly name: string
  readonly value: Value
  /** The module, array or object that holds it, and where. */
  readonly owner: object
  readonly key: string
}

const isChild = (field: Field): field is Field<Module> => field.value instanceof Module

/** Whether it is an object without a class, `{ … }`. */
export function isPlainObject(x: unknown): x is Readonly<Record<string, unknown>> {
  if (typeof x !== 'object' || x === null) return false
  const prototype: unknown = Object.getPrototypeOf(x)
  return prototype === Object.prototype || prototype === null
}

/** In the order in which they were set. */
function fieldsOf(owner: object, prefix = '', found: Field[] = [], outer: readonly object[] = []): Field[] {
  const entries: [string, unknown][] = Object.entries(owner)
  const around = [...outer, owner]
  for (const [key, value] of entries) {
    if (value instanceof Variable || value instanceof Module) found.push({ name: prefix + key, value, owner, key })
    else if ((Array.isArray(value) || isPlainObject(value)) && !around.includes(value)) fieldsOf(value, `${prefix}${key}.`, found, around)
  }
  return found
}

/** Every variable under its dotted name, as often as it has one. A way back to a module around is not followed. */
function variablesOf(module: Module, prefix = '', outer: readonly Module[] = []): [string, Variable][] {
  const around = [...outer, module]
  return fieldsOf(module).flatMap(({ name, value }): [string, Variable][] => {
    if (value instanceof Variable) return [[prefix + name, value]]
    return around.includes(value) ? [] : variablesOf(value, `${prefix}${name}.`, around)
  })
}

/** Without the names after the first of the same variable. */
function once(named: readonly [string, Variable][]): [string, Variable][] {
  const seen = new Set<Variable>()
  return named.filter(([, variable]) => !seen.has(variable) && seen.add(variable))
}

const parametersOf = (module: Module, prefix = ''): [string, Variable][] => once(variablesOf(module, prefix).filter(([, variable]) => !(variable instanceof Buffer)))

/** The parameters that optimisers move: those not frozen, each once, under `prefix` and its first name. */
export function namedParameters(module: Module, prefix = ''): Record<string, Variable> {
  return Object.fromEntries(parametersOf(module, prefix).filter(([, variable]) => variable.trainable))
}

/** The buffers, saved or not, each once, under its first name. */
export function namedBuffers(module: Module): Record<string, Variable> {
  return Object.fromEntries(once(variablesOf(module)).filter(([, variable]) => variable instanceof Buffer))
}

/** The module itself as `''` and all modules inside, each once, under its first path; outer ones first. */
export function namedModules(module: Module): Map<string, Module> {
  const paths = new Map<Module, string>()
  const visit = (at: Module, path: string): void => {
    if (paths.has(at)) return
    paths.set(at, path)
    for (const { name, value } of fieldsOf(at).filter(isChild)) visit(value, join(path, name))
  }
  visit(module, '')
  return new Map([...paths].map(([at, path]) => [path, at]))
}

const join = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`)

export interface ParameterCountOptions {
  /** Count only those that are trained, or only those that are frozen. Default: all. */
  readonly trainable?: boolean
}

/** Number of scalars in all parameters; one that is in two places counts once, and buffers do not. */
export function parameterCount(module: Module, { trainable, ...others }: ParameterCountOptions = {}): number {
  refuseOthers('parameterCount', others)
  const counted = parametersOf(module).filter(([, variable]) => trainable === undefined || variable.trainable === trainable)
  return counted.reduce((count, [, { shape }]) => count + sizeOf(shape), 0)
}

/** Takes the parameters of a module and all inside it out of training; the optimiser is to be made afterwards. */
export function freeze(module: Module): void {
  for (const [, variable] of parametersOf(module)) variable.trainable = false
}

/** Trains them again. */
export function unfreeze(module: Module): void {
  for (const [, variable] of parametersOf(module)) variable.trainable = true
}

/**
 * Puts other modules in the place of some inside `root`: `replacement` is asked for each, outer ones first, and gives the
 * module to put there, or undefined to look further inside. A module in several places is asked for once, under its first
 * path, and replaced in all. What comes instead must take the same arguments, and may hold the module it replaces.
 * Returns the paths that were replaced.
 */
export function replaceModules(root: Module, replacement: (module: Module, path: string) => Module | undefined): string[] {
  const decided = new Map<Module, Module | undefined>([[root, undefined]])
  const replaced: string[] = []
  const visit = (module: Module, outer: string): void => {
    for (const { name, value, owner, key } of fieldsOf(module).filter(isChild)) {
      const path = join(outer, name)
      const known = decided.has(value)
      const next = known ? decided.get(value) : replacement(value, path)
      decided.set(value, next)
      if (next !== undefined) {
        if (!Reflect.set(owner, key, next)) throw new ConfigError(`replaceModules: ${path} is in a frozen object or array, so nothing can take its place; leave that unfrozen`)
        replaced.push(path)
      } else if (!known) visit(value, path)
    }
  }
  visit(root, '')
  return replaced
}
