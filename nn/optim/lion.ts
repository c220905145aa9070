/** Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675, Program 1): the sign of a momentum. */
import { add, mul, sign, sub } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { filled, oneMinus, rule } from './rule.ts'
import type { AnyRule } from './rule.ts'

export interface LionOptions {
  /** Learning rate, three to ten times smaller than AdamW's. Default 1e-4. */
  readonly lr?: HyperParameter
  /** How much of the momentum the step takes, and how much of it is kept. Default 0.9 and 0.99. */
  readonly betas?: readonly [HyperParameter, HyperParameter]
  /** Decoupled, three to ten times larger than AdamW's. Default 0. */
  readonly weightDecay?: HyperParameter
}

/** Lion. State: `exp_avg`. */
export class Lion extends Optimizer {
  constructor(parameters: ParameterGroups<LionOptions>, options: LionOptions & OptimizerOptions = {}) {
    super('Lion', groupsOf(parameters, generalOf(options), lion), options)
  }
}

function lion({ lr = 1e-4, betas: [beta1, beta2] = [0.9, 0.99], weightDecay = 0, ...others }: LionOptions): AnyRule {
  refuseOthers('Lion', others)
  return rule({
    numbers: { lr, beta1, beta2, weightDecay },
    state: (p) => ({ exp_avg: filled(p) }),
    update(p, g, { exp_avg: m }, n) {
      const c = add(mul(m, n.beta1), mul(g, oneMinus(n.beta1)))
      const kept = mul(p, oneMinus(mul(n.lr, n.weightDecay)))
      return { p: sub(kept, mul(sign(c), n.lr)), exp_avg: add(mul(m, n.beta2), mul(g, oneMinus(n.beta2))) }
    },
  })
}
