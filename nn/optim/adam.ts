/**
 * Adam (Kingma and Ba, arXiv:1412.6980, Algorithm 1) and AdamW, which keeps weight decay out of the moments (Loshchilov
 * and Hutter, arXiv:1711.05101, Algorithm 2); AMSGrad (Reddi et al., arXiv:1904.09237). One fused op for a whole group.
 */
import { adamWStep, add, cast, div, maximum, mul, sqrt, sub } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { biasCorrection, filled, lift, oneMinus, rule } from './rule.ts'
import type { AnyRule, GroupResult, GroupStep } from './rule.ts'

export interface AdamOptions {
  /** Learning rate. Default 1e-3. */
  readonly lr?: HyperParameter
  /** Decays of the two moments. Default 0.9 and 0.999. */
  readonly betas?: readonly [HyperParameter, HyperParameter]
  /** Added outside the root. Default 1e-8. */
  readonly eps?: HyperParameter
  /** Adam: of an L2 penalty, added to the gradient, default 0. AdamW: of the weights themselves, default 0.01. */
  readonly weightDecay?: HyperParameter
  /** Whether steps are divided by the largest second moment so far. Default false. */
  readonly amsgrad?: boolean
}

export type AdamWOptions = AdamOptions

/** Adam with an L2 penalty. State: `exp_avg`, `exp_avg_sq`, and with `amsgrad` `max_exp_avg_sq`. */
export class Adam extends Optimizer {
  constructor(parameters: ParameterGroups<AdamOptions>, options: AdamOptions & OptimizerOptions = {}) {
    super('Adam', groupsOf(parameters, generalOf(options), (own) => adam('Adam', own, 'coupled')), options)
  }
}

/** Adam with decoupled weight decay. State: `exp_avg`, `exp_avg_sq`, and with `amsgrad` `max_exp_avg_sq`. */
export class AdamW extends Optimizer {
  constructor(parameters: ParameterGroups<AdamWOptions>, options: AdamWOptions & OptimizerOptions = {}) {
    super('AdamW', groupsOf(parameters, generalOf(options), adamW), options)
  }
}

export const adamW = ({ weightDecay = 0.01, ...options }: AdamWOptions): AnyRule => adam('AdamW', { ...options, weightDecay }, 'decoupled')

type Moments = { readonly exp_avg: Tensor; readonly exp_avg_sq: Tensor; readonly max_exp_avg_sq?: Tensor }
type Name = 'lr' | 'beta1' | 'beta2' | 'eps' | 'weightDecay'

function adam(op: string, { lr = 1e-3, betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0, amsgrad = false, ...others }: AdamOptions, decay: 'coupled' | 'decoupled'): AnyRule {
  refuseOthers(op, others)
  const penalty = decay === 'coupled' && weightDecay !== 0
  return rule<Name, Moments>({
    numbers: { lr, beta1, beta2, eps, weightDecay },
    state: (p) => ({ exp_avg: filled(p), exp_avg_sq: filled(p), ...(amsgrad && { max_exp_avg_sq: filled(p) }) }),
    // The operations of the fused op, in its order.
    update(p, gradient, { exp_avg: m, exp_avg_sq: v, max_exp_avg_sq: largest }, n) {
      const g = penalty ? add(gradient, mul(p, n.weightDecay)) : gradient
      const m1 = add(m, mul(oneMinus(n.beta1), sub(g, m)))
      const v1 = add(mul(n.beta2, v), mul(oneMinus(n.beta2), mul(g, g)))
      const vHat = largest === undefined ? v1 : maximum(largest, v1)
      const size = div(n.lr, biasCorrection(n.beta1, n.t))
      const root = div(literal(1), sqrt(biasCorrection(n.beta2, n.t)))
      const kept = decay === 'coupled' ? p : mul(p, oneMinus(mul(n.lr, n.weightDecay)))
      return { p: sub(kept, div(mul(size, m1), add(mul(sqrt(vHat), root), n.eps))), exp_avg: m1, exp_avg_sq: v1, ...(largest !== undefined && { max_exp_avg_sq: vHat }) }
    },
    ...(!amsgrad && { together: (group, numbers) => (decay === 'decoupled' ? fused(group, numbers) : fused(penalty ? withPenalty(group, numbers) : group, { ...numbers, weightDecay: 0 })) }),
  })
}

function fused({ parameters, gradients, state, t, scale, applies, ema }: GroupStep<Moments>, { lr, beta1, beta2, eps, weightDecay }: Readonly<Record<Name, number | Tensor>>): GroupResult<Moments> {
  const next = adamWStep({
    parameters,
    gradients,
    first: state.exp_avg,
    second: state.exp_avg_sq,
    ema: ema?.averages,
    lr,
    beta1,
    beta2,
    eps,
    weightDecay,
    correction1: biasCorrection(lift(beta1, t), t),
    correction2: biasCorrection(lift(beta2, t), t),
    gradScale: scale ?? 1,
    emaWeight: ema?.weight ?? 1,
    apply: cast(applies, t.dtype),
  })
  return { parameters: next.parameters, state: { exp_avg: next.first, exp_avg_sq: next.second }, averages: next.ema }
}

/** The gradients with that of the L2 penalty, which clipping leaves alone. */
function withPenalty(group: GroupStep<Moments>, { weightDecay }: Readonly<Record<Name, number | Tensor>>): GroupStep<Moments> {
  const lambda = lift(weightDecay, group.t)
  const gradients = group.gradients.map((g, i) => add(group.scale === undefined ? g : mul(g, group.scale), mul(group.parameters[i] ?? g, lambda)))
  return { ...group, gradients, scale: undefined }
}
