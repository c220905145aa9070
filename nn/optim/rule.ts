/** How an optimiser moves one tensor: a pure function of its gradient, its numbers and what it remembers. */
import { cast, expm1, log1p, mul, neg, scalar, sub, tensor } from '../../engine/index.ts'
import type { Shape, Tensor, Variable } from '../../engine/index.ts'
import { hostArray } from '../../engine/dtype.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import { sizeOf } from '../../engine/shape.ts'
import type { HyperParameter, NumberName } from './hyperparameter.ts'

/** What is remembered of a parameter, under PyTorch's names. */
export type State = Readonly<Record<string, Tensor | undefined>>

export interface Rule<N extends string, S extends State> {
  readonly numbers: Readonly<Record<N, HyperParameter>>
  /** What is remembered at the start. The name is for errors. */
  state(parameter: Variable, name: string): S
  /** The parameter and its state after step t = 1, 2, …. */
  update(p: Tensor, g: Tensor, state: S, numbers: Readonly<Record<N | 't', Tensor>>): { readonly p: Tensor } & S
  /** The same for a whole group at once, where there is an op for it. */
  together?(group: GroupStep<S>, numbers: Readonly<Record<N, number | Tensor>>): GroupResult<S>
}

/** The states of many parameters, slot by slot. */
type Columns<S extends State> = { readonly [Slot in keyof S]: readonly Tensor[] }

export interface GroupStep<S extends State> {
  readonly parameters: readonly Tensor[]
  readonly gradients: readonly Tensor[]
  readonly state: Columns<S>
  readonly t: Tensor
  /** Multiplies every gradient. */
  readonly scale: Tensor | undefined
  /** bool []: where it is false, everything stays as it was. */
  readonly applies: Tensor
  /** Averages of the parameters, which follow them by the weight 1 − decay. */
  readonly ema: { readonly averages: readonly Tensor[]; readonly weight: number | Tensor } | undefined
}

export interface GroupResult<S extends State> {
  readonly parameters: readonly Tensor[]
  readonly state: Columns<S>
  /** Empty where there were none. */
  readonly averages: readonly Tensor[]
}

/** Any rule, as the group that calls it sees it. */
export type AnyRule = Omit<Rule<string, State>, 'numbers'> & { readonly numbers: Readonly<Partial<Record<NumberName, HyperParameter>>> }

/** A rule as written, its parts checked against each other. */
export function rule<N extends NumberName, S extends State>(written: Rule<N, S>): AnyRule {
  return written
}

/** Host data, not a constant of the plan: a resumed run must compute the same bits, and constants are simplified. */
export function filled(p: Variable, value = 0, shape: Shape = p.shape): Tensor {
  return tensor(hostArray(p.dtype, sizeOf(shape)).fill(value), shape, { dtype: p.dtype, device: p.device })
}

/** A number as a tensor [] in the type of `like`: data of the plan. */
export const lift = (x: number | Tensor, like: Tensor): Tensor => (typeof x === 'number' ? scalar(x, { dtype: like.dtype, device: like.device }) : cast(x, like.dtype))

/** 1 − x. */
export const oneMinus = (x: Tensor): Tensor => sub(literal(1), x)

/** 1 − βᵗ as −expm1(t · ln β), which loses no digits where β is near 1. */
export const biasCorrection = (beta: Tensor, t: Tensor): Tensor => neg(expm1(mul(t, log1p(sub(beta, literal(1))))))
