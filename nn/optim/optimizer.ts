/**
 * What optimisers share: groups of named parameters, numbers that change from step to step, clipping, accumulation,
 * steps that are skipped on the device, moving averages in the same plan, and a state dict under PyTorch's names.
 */
import { CheckpointError, ConfigError, ShapeError, add, cast, clamp, div, globalNorm, isFinite, logicalNot, minimum, mul, neg, scalar, tensor, variable } from '../../engine/index.ts'
import type { Tensor, TensorLike, Variable } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import { formatShape, sameShape } from '../../engine/shape.ts'
import type { HostTensor } from '../checkpoint/format.ts'
import { loadCheckpoint, loadVariables } from '../checkpoint/load.ts'
import type { LoadOptions, Loaded } from '../checkpoint/load.ts'
import type { CheckpointLocation, OpenOptions } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/read.ts'
import type { EMA } from '../ema.ts'
import { Group } from './group.ts'
import { checkNumbers, numbersAt } from './hyperparameter.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Moves } from './moves.ts'
import { common, trainable } from './parameters.ts'
import type { NamedVariables } from './parameters.ts'
import type { AnyRule } from './rule.ts'

type ParameterGroup<Options> = Options & { readonly parameters: NamedVariables }

/** All parameters by name, or groups of them, whose own options come before the general ones. */
export type ParameterGroups<Options> = NamedVariables | readonly ParameterGroup<Options>[]

/** What every optimiser takes besides its own options. */
export interface OptimizerOptions {
  /** Gradients whose norm over all parameters is larger are scaled down to it. Default: never. */
  readonly maxNorm?: HyperParameter
  /** Elements of gradients are clamped to ± this. Default: never. Not together with `maxNorm`. */
  readonly clipValue?: HyperParameter
  /** Moving averages that follow each step, in the same plan: of this optimiser alone, for each step ages them. AdamW's kernel takes the first along. */
  readonly ema?: EMA | readonly EMA[]
}

export interface UpdateOptions {
  /** What the loss was multiplied by [], the same for all micro-batches: gradients are divided by it. Default 1. */
  readonly lossScale?: TensorLike
}

interface RuledGroup {
  readonly parameters: NamedVariables
  readonly rule: AnyRule
}

/** What general options there are besides those of every optimiser. */
export function generalOf<Options extends OptimizerOptions>({ maxNorm: _, clipValue: __, ema: ___, ...general }: Options): Omit<Options, keyof OptimizerOptions> {
  return general
}

/** Each group with the rule that its options make. */
export function groupsOf<Options extends object>(parameters: ParameterGroups<Options>, general: Options, ruleOf: (options: Options) => AnyRule): RuledGroup[] {
  if (!isList(parameters)) return [{ parameters, rule: ruleOf(general) }]
  return parameters.map(({ parameters: named, ...own }) => ({ parameters: named, rule: ruleOf({ ...general, ...own }) }))
}

export abstract class Optimizer {
  /** Those of all groups. */
  readonly parameters: NamedVariables
  readonly averages: readonly EMA[]
  /** Updates asked for, skipped ones included: what schedules are functions of. */
  step = 0
  /** Updates that counted, which bias corrections go by. i32 [], on the device. */
  readonly applied: Variable
  /** Updates that changed nothing, because a gradient was not finite. i32 [], on the device. */
  readonly skipped: Variable
  readonly #name: string
  readonly #groups: readonly Group[]
  readonly #named: readonly (readonly [name: string, parameter: Variable])[]
  readonly #clipping: { readonly maxNorm?: HyperParameter; readonly clipValue?: HyperParameter }
  /** Sums of the gradients of micro-batches, and of how many. */
  #sums: readonly Variable[] | undefined
  #pending = 0

  /** Throws ConfigError for numbers out of range, for no parameters, for ones that are not trainable, and for one that is listed twice. */
  protected constructor(name: string, groups: readonly RuledGroup[], { maxNorm, clipValue, ema = [] }: OptimizerOptions) {
    this.#name = name
    this.#clipping = { ...(maxNorm !== undefined && { maxNorm }), ...(clipValue !== undefined && { clipValue }) }
    for (const numbers of [...groups.map(({ rule }) => rule.numbers), this.#clipping]) checkNumbers(name, numbers)
    if (maxNorm !== undefined && clipValue !== undefined) throw new ConfigError(`${name}: there are both maxNorm and clipValue; choose one`)
    const { device } = common(name, trainable(name, groups.flatMap(({ parameters }) => Object.entries(parameters))))
    this.averages = isList(ema) ? ema : [ema]
    this.#groups = groups.map(({ parameters, rule }) => new Group(name, parameters, rule, this.averages[0]))
    this.#named = groups.flatMap(({ parameters }) => Object.entries(parameters))
    this.parameters = Object.fromEntries(this.#named)
    const counter = (): Variable => variable(tensor(new Int32Array(1), [], { device }))
    this.applied = counter()
    this.skipped = counter()
  }

  /**
   * Takes a step: assigns parameters, state and averages, which the next realisation computes. If micro-batches were
   * accumulated, the step is that of the mean over them and these gradients. Returns the norm of all gradients [], before
   * clipping; where it is not finite the step changes nothing but `skipped`.
   * Throws ConfigError for a gradient that is missing, ShapeError for one of another shape.
   */
  update(gradients: Readonly<Record<string, Tensor>>, { lossScale, ...others }: UpdateOptions = {}): Tensor {
    refuseOthers(this.#name, others)
    const mean = this.#mean(this.#pick(gradients))
    const unscale = lossScale === undefined ? undefined : div(literal(1), lossScale)
    const norm = times(globalNorm(mean), unscale)
    const applies = isFinite(norm)
    const { maxNorm, clipValue } = numbersAt(this.#name, this.#clipping, this.step)
    const clipped = clipValue === undefined ? mean : clampAll(mean.map((g) => times(g, unscale)), clipValue)
    const kept = maxNorm === undefined ? undefined : minimum(div(maxNorm, add(norm, literal(1e-6))), literal(1))
    const weights = this.averages.map((average) => average.weight())
    const step = {
      k: this.step,
      t: cast(add(this.applied, literal(1)), norm.dtype),
      applies,
      scale: clipValue === undefined && unscale !== undefined ? times(unscale, kept) : kept,
      weight: weights[0],
    }
    const moves = new Moves()
    let from = 0
    for (const group of this.#groups) {
      group.step(clipped.slice(from, from + group.names.length), step, moves)
      from += group.names.length
    }
    this.averages.forEach((average, i) => average.follow(moves, weights[i] ?? 0, { applies, by: this }))
    moves.set(this.applied, count(this.applied, applies))
    moves.set(this.skipped, count(this.skipped, logicalNot(applies)))
    moves.assign()
    this.#pending = 0
    this.step++
    return norm
  }

  /** Adds the gradients of a micro-batch to those that the next `update` averages; the next realisation computes the sums. */
  accumulate(gradients: Readonly<Record<string, Tensor>>): void {
    const given = this.#pick(gradients)
    const sums = (this.#sums ??= given.map((g) => variable(g)))
    given.forEach((g, i) => sums[i]?.assign(this.#pending === 0 ? g : add(sums[i], g)))
    this.#pending++
  }

  /** Every variable it owns, under `prefix`: the counts `step` and `skipped`, and the state under PyTorch's names, `exp_avg.conv_in.weight`. */
  stateDict(prefix = ''): Record<string, Variable> {
    if (this.#pending > 0) throw new ConfigError(`${this.#name}: ${this.#pending} micro-batches were accumulated and are in no step yet; update before the state is read or loaded`)
    const states = this.#groups.flatMap(({ names, states }) => names.flatMap((name, i) => Object.entries(states[i] ?? {}).map(([slot, v]) => [`${prefix}${slot}.${name}`, v] as const)))
    return { [`${prefix}step`]: this.applied, [`${prefix}skipped`]: this.skipped, ...Object.fromEntries(states) }
  }

  /**
   * Goes on from a checkpoint that holds the state dict, schedules included: `loadCheckpoint` into it, and `step` from
   * the counts. A prefix is an option. Throws CheckpointError where it does not fit.
   */
  async load(from: CheckpointLocation | Checkpoint, options: LoadOptions & OpenOptions = {}): Promise<Loaded> {
    const loaded = await loadCheckpoint(this.stateDict(), from, options)
    await this.recount()
    return loaded
  }

  /**
   * Goes on from the values of a state dict, which the next realisation writes; `step` stays where they have no counts.
   * Throws CheckpointError where they do not fit, and for one of the counts `step` and `skipped` without the other.
   */
  loadStateDict(values: ReadonlyMap<string, HostTensor>, options: LoadOptions = {}): void {
    const [applied, skipped] = ['step', 'skipped'].map((name) => values.get(`${options.prefix ?? ''}${name}`)?.data[0])
    if (options.strict === false && (applied === undefined) !== (skipped === undefined)) throw new CheckpointError(`${this.#name}: the values have ${applied === undefined ? 'skipped but no step' : 'step but no skipped'}, which count together; pass both or none, or use load, which reads the other from the device`)
    loadVariables(this.stateDict(), values, options)
    if (applied !== undefined && skipped !== undefined) this.step = applied + skipped
  }

  /** Takes `step` from the counts on the device, for when something other than `load` has loaded the state dict's variables. */
  async recount(): Promise<void> {
    const [applied, skipped] = await Promise.all([this.applied.item(), this.skipped.item()])
    this.step = applied + skipped
  }

  /** The gradients in the order of the parameters, in their types. */
  #pick(gradients: Readonly<Record<string, Tensor>>): Tensor[] {
    const missing: string[] = []
    const list: Tensor[] = []
    this.#named.forEach(([name, { shape, dtype }]) => {
      const g = gradients[name]
      if (g === undefined) return void missing.push(name)
      if (!sameShape(g.shape, shape)) throw new ShapeError(`${this.#name}: parameter ${name} is ${formatShape(shape)} but its gradient is ${formatShape(g.shape)}; make their shapes equal`)
      list.push(cast(g, dtype))
    })
    if (missing.length > 0) throw new ConfigError(`${this.#name}: no gradient for ${missing.join(', ')}; pass one for each parameter`)
    return list
  }

  /** With those of the micro-batches before. */
  #mean(gradients: readonly Tensor[]): readonly Tensor[] {
    const [first] = gradients
    if (this.#pending === 0 || first === undefined) return gradients
    const share = scalar(1 / (this.#pending + 1), { dtype: first.dtype, device: first.device })
    return gradients.map((g, i) => mul(add(this.#sums?.[i] ?? g, g), share))
  }
}

const isList = <T extends object, U>(x: T | readonly U[]): x is readonly U[] => Array.isArray(x)

const times = (x: Tensor, factor: Tensor | undefined): Tensor => (factor === undefined ? x : mul(x, factor))

/** A count of the steps at which `holds` [] is true. */
const count = (steps: Variable, holds: Tensor): Tensor => add(steps, cast(holds, 'i32'))

function clampAll(gradients: readonly Tensor[], bound: number | Tensor): Tensor[] {
  const [first] = gradients
  if (first === undefined) return []
  const high = typeof bound === 'number' ? scalar(bound, { dtype: first.dtype, device: first.device }) : bound
  return gradients.map((g) => clamp(g, neg(high), high))
}
