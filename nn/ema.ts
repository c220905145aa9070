/**
 * Exponential moving averages of parameters, a ← β·a + (1 − β)·p after each step, on the device and in the plan of the
 * step (Polyak and Juditsky 1992). `ema-decay.ts` has decays that change with the age of an average.
 */
import { ConfigError, ShapeError, add, cast, mul, sub, tensor, variable, where } from '../engine/index.ts'
import type { DType, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import { literal } from '../engine/ops/elementwise.ts'
import { formatShape } from '../engine/shape.ts'
import type { HostTensor } from './checkpoint/format.ts'
import { loadCheckpoint, loadVariables } from './checkpoint/load.ts'
import type { LoadOptions, Loaded } from './checkpoint/load.ts'
import type { CheckpointLocation, OpenOptions } from './checkpoint/open.ts'
import type { Checkpoint } from './checkpoint/read.ts'
import type { DecayProfile } from './ema-decay.ts'
import type { Module } from './module.ts'
import { Moves } from './optim/moves.ts'
import { common } from './optim/parameters.ts'
import type { NamedVariables } from './optim/parameters.ts'

export interface EMAOptions {
  /** β: a number, a scalar tensor [], or a profile. Default 0.9999. */
  readonly decay?: number | TensorLike | DecayProfile
}

/** Whose step it follows, and whether that counts. */
interface Driver {
  readonly by: object
  readonly applies?: Tensor
}

export class EMA {
  /** The averages by name. They start at the parameters. */
  readonly average: NamedVariables
  /** The average of each parameter: `withValues(ema.values, () => …)` evaluates with the averages, without a copy. */
  readonly values: ReadonlyMap<Variable, Variable>
  /** Updates that counted. i32 [], on the device. */
  readonly step: Variable
  readonly #decay: number | TensorLike | DecayProfile
  readonly #dtype: DType
  /** Whose steps it follows, and whose it followed before. */
  #driver: object | undefined
  readonly #formerDrivers = new WeakSet<object>()

  /** Throws ConfigError for a decay outside 0 to 1 or of no known kind, and for no parameters, ShapeError for a decay that is no scalar. */
  constructor(parameters: NamedVariables, { decay = 0.9999, ...others }: EMAOptions = {}) {
    refuseOthers('EMA', others)
    if (typeof decay === 'number' && !(decay >= 0 && decay <= 1)) throw new ConfigError(`EMA: the decay is ${decay}; use a number from 0 to 1`)
    if (typeof decay !== 'number' && typeof decay !== 'object') throw new ConfigError(`EMA: the decay is a ${typeof decay}; use a number, a scalar tensor, or a profile such as warmupDecay(), for updates are counted on the device`)
    if (typeof decay === 'object' && 'shape' in decay && decay.shape.length > 0) throw new ShapeError(`EMA: the decay has shape ${formatShape(decay.shape)}, but must be a number or a scalar []`)
    const { device, dtype } = common('EMA', Object.entries(parameters))
    const pairs = Object.entries(parameters).map(([name, p]) => ({ name, p, average: variable(p.read(), { trainable: false }) }))
    this.average = Object.fromEntries(pairs.map(({ name, average }) => [name, average]))
    this.values = new Map(pairs.map(({ p, average }) => [p, average]))
    this.step = variable(tensor(new Int32Array(1), [], { device }))
    this.#decay = decay
    this.#dtype = dtype
  }

  /** 1 − β of the next update, which has more digits than β. */
  weight(): number | Tensor {
    const decay = this.#decay
    if (typeof decay === 'number') return 1 - decay
    return 'weight' in decay ? decay.weight(cast(this.step, this.#dtype)) : sub(literal(1), cast(decay, this.#dtype))
  }

  /**
   * Follows the parameters as they have been assigned. For averages that no optimiser was given (those move with its
   * steps); where `applies`, a bool [], is false nothing changes. Throws ConfigError in turns with an optimiser.
   */
  update(applies?: Tensor): void {
    const moves = new Moves()
    this.#follow(moves, (parameter) => parameter.read(), this.weight(), { by: this, ...(applies && { applies }) })
    moves.assign()
  }

  /** Adds to `moves` what follows from the parameters in it, where an average is not there already. For optimisers, which are `by`. */
  follow(moves: Moves, weight: number | Tensor, driver: Driver): void {
    this.#follow(moves, (parameter) => moves.get(parameter), weight, driver)
  }

  #follow(moves: Moves, next: (parameter: Variable) => Tensor | undefined, weight: number | Tensor, { by, applies }: Driver): void {
    this.#driveBy(by)
    const move = (to: Variable, value: Tensor): void => moves.set(to, applies === undefined ? value : where(applies, value, to))
    this.values.forEach((average, parameter) => {
      const p = next(parameter)
      if (p !== undefined && moves.get(average) === undefined) move(average, add(average, mul(sub(p, average), weight)))
    })
    move(this.step, add(this.step, literal(1)))
  }

  /** One may take over from another, as when layers are unfrozen, but in turns each would age all averages. */
  #driveBy(driver: object): void {
    if (driver === this.#driver) return
    if (this.#formerDrivers.has(driver)) throw new ConfigError('EMA: two optimisers, or one and update(), move the same averages in turns, and each step would count twice; give each optimiser an EMA of its own parameters, and call update() for averages that none has')
    if (this.#driver !== undefined) this.#formerDrivers.add(this.#driver)
    this.#driver = driver
  }

  /**
   * The state dict of a module with the averages in the place of its parameters, to save as a model of its own: every
   * name, those of tied weights, buffers and parameters without an average included. Throws ConfigError for a module that
   * has none of the parameters.
   */
  modelState(module: Module, prefix = ''): Record<string, Variable> {
    const state = Object.entries(module.stateDict(prefix))
    if (!state.some(([, variable]) => this.values.has(variable))) throw new ConfigError('EMA: the module has none of the averaged parameters; pass the one whose namedParameters the EMA was made with')
    return Object.fromEntries(state.map(([name, variable]) => [name, this.values.get(variable) ?? variable]))
  }

  /** Every variable it owns, under `prefix`: `step`, and `average.` with the name of each parameter. */
  stateDict(prefix = ''): Record<string, Variable> {
    return { [`${prefix}step`]: this.step, ...Object.fromEntries(Object.entries(this.average).map(([name, average]) => [`${prefix}average.${name}`, average])) }
  }

  /** Goes on from a checkpoint that holds the state dict; a prefix is an option. Throws CheckpointError where it does not fit. */
  async load(from: CheckpointLocation | Checkpoint, options: LoadOptions & OpenOptions = {}): Promise<Loaded> {
    return loadCheckpoint(this.stateDict(), from, options)
  }

  /** Goes on from the values of a state dict, which the next realisation writes. Throws CheckpointError where they do not fit. */
  loadStateDict(values: ReadonlyMap<string, HostTensor>, options: LoadOptions = {}): void {
    loadVariables(this.stateDict(), values, options)
  }
}
