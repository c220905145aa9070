/** Stochastic gradient descent with momentum (Sutskever et al. 2013) and weight decay, as torch.optim.SGD computes it. */
import { ConfigError, add, equal, mul, sub, where } from '../../engine/index.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import type { Tensor } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { filled, oneMinus, rule } from './rule.ts'
import type { AnyRule } from './rule.ts'

export interface SGDOptions {
  /** Learning rate. Default 1e-3. */
  readonly lr?: HyperParameter
  /** Default 0, which keeps no momentum. */
  readonly momentum?: HyperParameter
  /** Of the gradients that enter the momentum, from the second step on. Default 0. */
  readonly dampening?: HyperParameter
  /** Of an L2 penalty: added to the gradient. Default 0. */
  readonly weightDecay?: HyperParameter
  /** Default false. */
  readonly nesterov?: boolean
}

export class SGD extends Optimizer {
  /** Throws ConfigError for numbers out of range, and for Nesterov without momentum or with dampening. */
  constructor(parameters: ParameterGroups<SGDOptions>, options: SGDOptions & OptimizerOptions = {}) {
    super('SGD', groupsOf(parameters, generalOf(options), sgd), options)
  }
}

function sgd({ lr = 1e-3, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false, ...others }: SGDOptions): AnyRule {
  refuseOthers('SGD', others)
  if (nesterov && (momentum === 0 || dampening !== 0)) throw new ConfigError('SGD: nesterov goes with a momentum and without dampening; set momentum, and dampening to 0')
  return rule({
    numbers: { lr, momentum, dampening, weightDecay },
    state: (p): { momentum_buffer?: Tensor } => (momentum === 0 ? {} : { momentum_buffer: filled(p) }),
    update(p, g, { momentum_buffer: b }, { lr: gamma, momentum: mu, dampening: tau, weightDecay: lambda, t }) {
      const d = add(g, mul(p, lambda))
      if (b === undefined) return { p: sub(p, mul(d, gamma)) }
      const b1 = where(equal(t, literal(1)), d, add(mul(b, mu), mul(d, oneMinus(tau))))
      return { p: sub(p, mul(nesterov ? add(d, mul(b1, mu)) : b1, gamma)), momentum_buffer: b1 }
    },
  })
}
