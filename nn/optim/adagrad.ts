/**
 * Steps divided by the root of past squared gradients: their sum (Adagrad, Duchi et al. 2011), their average (RMSprop,
 * Tieleman and Hinton 2012), and that with units of the parameter (Adadelta, Zeiler, arXiv:1212.5701), as torch.optim has them.
 */
import { ConfigError, add, div, maximum, mul, sqrt, square, sub } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { filled, oneMinus, rule } from './rule.ts'
import type { AnyRule } from './rule.ts'

export interface AdagradOptions {
  /** Learning rate. Default 1e-2. */
  readonly lr?: HyperParameter
  /** The rate of step t is lr / (1 + (t − 1)·lrDecay). Default 0. */
  readonly lrDecay?: HyperParameter
  /** Of an L2 penalty: added to the gradient. Default 0. */
  readonly weightDecay?: HyperParameter
  /** What the sums start at. Default 0. */
  readonly initialAccumulatorValue?: number
  /** Added outside the root. Default 1e-10. */
  readonly eps?: HyperParameter
}

/** Adagrad. State: `sum`. */
export class Adagrad extends Optimizer {
  constructor(parameters: ParameterGroups<AdagradOptions>, options: AdagradOptions & OptimizerOptions = {}) {
    super('Adagrad', groupsOf(parameters, generalOf(options), adagrad), options)
  }
}

function adagrad({ lr = 1e-2, lrDecay = 0, weightDecay = 0, initialAccumulatorValue = 0, eps = 1e-10, ...others }: AdagradOptions): AnyRule {
  refuseOthers('Adagrad', others)
  if (!(initialAccumulatorValue >= 0)) throw new ConfigError(`Adagrad: initialAccumulatorValue is ${initialAccumulatorValue}; use a number of at least 0`)
  return rule({
    numbers: { lr, lrDecay, weightDecay, eps },
    state: (p) => ({ sum: filled(p, initialAccumulatorValue) }),
    update(p, gradient, { sum }, n) {
      const g = add(gradient, mul(p, n.weightDecay))
      const sum1 = add(sum, square(g))
      const rate = div(n.lr, add(mul(sub(n.t, literal(1)), n.lrDecay), literal(1)))
      return { p: sub(p, mul(rate, div(g, add(sqrt(sum1), n.eps)))), sum: sum1 }
    },
  })
}

export interface RMSpropOptions {
  /** Learning rate. Default 1e-2. */
  readonly lr?: HyperParameter
  /** Decay of the average. Default 0.99. */
  readonly alpha?: HyperParameter
  /** Added outside the root. Default 1e-8. */
  readonly eps?: HyperParameter
  /** Of an L2 penalty: added to the gradient. Default 0. */
  readonly weightDecay?: HyperParameter
  /** Default 0, which keeps no momentum. */
  readonly momentum?: HyperParameter
  /** Whether the variance of the gradients takes the place of their mean square (Graves, arXiv:1308.0850). Default false. */
  readonly centered?: boolean
}

/** RMSprop. State: `square_avg`, with `centered` `grad_avg`, with momentum `momentum_buffer`. */
export class RMSprop extends Optimizer {
  constructor(parameters: ParameterGroups<RMSpropOptions>, options: RMSpropOptions & OptimizerOptions = {}) {
    super('RMSprop', groupsOf(parameters, generalOf(options), rmsprop), options)
  }
}

type Averages = { readonly square_avg: Tensor; readonly grad_avg?: Tensor; readonly momentum_buffer?: Tensor }

function rmsprop({ lr = 1e-2, alpha = 0.99, eps = 1e-8, weightDecay = 0, momentum = 0, centered = false, ...others }: RMSpropOptions): AnyRule {
  refuseOthers('RMSprop', others)
  return rule({
    numbers: { lr, alpha, eps, weightDecay, momentum },
    state: (p): Averages => ({ square_avg: filled(p), ...(centered && { grad_avg: filled(p) }), ...(momentum !== 0 && { momentum_buffer: filled(p) }) }),
    update(p, gradient, { square_avg: v, grad_avg: m, momentum_buffer: b }, n) {
      const g = add(gradient, mul(p, n.weightDecay))
      const v1 = add(mul(v, n.alpha), mul(square(g), oneMinus(n.alpha)))
      const m1 = m === undefined ? undefined : add(m, mul(sub(g, m), oneMinus(n.alpha)))
      // A mean square and the square of a mean are rounded apart: their difference may fall below 0.
      const spread = m1 === undefined ? v1 : maximum(sub(v1, square(m1)), literal(0))
      const d = div(g, add(sqrt(spread), n.eps))
      const b1 = b === undefined ? d : add(mul(b, n.momentum), d)
      return { p: sub(p, mul(n.lr, b1)), square_avg: v1, ...(m1 !== undefined && { grad_avg: m1 }), ...(b !== undefined && { momentum_buffer: b1 }) }
    },
  })
}

export interface AdadeltaOptions {
  /** Learning rate. Default 1. */
  readonly lr?: HyperParameter
  /** Decay of the averages. Default 0.9. */
  readonly rho?: HyperParameter
  /** Added inside the roots. Default 1e-6. */
  readonly eps?: HyperParameter
  /** Of an L2 penalty: added to the gradient. Default 0. */
  readonly weightDecay?: HyperParameter
}

/** Adadelta (Algorithm 1). State: `square_avg`, `acc_delta`. */
export class Adadelta extends Optimizer {
  constructor(parameters: ParameterGroups<AdadeltaOptions>, options: AdadeltaOptions & OptimizerOptions = {}) {
    super('Adadelta', groupsOf(parameters, generalOf(options), adadelta), options)
  }
}

function adadelta({ lr = 1, rho = 0.9, eps = 1e-6, weightDecay = 0, ...others }: AdadeltaOptions): AnyRule {
  refuseOthers('Adadelta', others)
  return rule({
    numbers: { lr, rho, eps, weightDecay },
    state: (p) => ({ square_avg: filled(p), acc_delta: filled(p) }),
    update(p, gradient, { square_avg: v, acc_delta: u }, n) {
      const g = add(gradient, mul(p, n.weightDecay))
      const v1 = add(mul(v, n.rho), mul(square(g), oneMinus(n.rho)))
      const delta = mul(div(sqrt(add(u, n.eps)), sqrt(add(v1, n.eps))), g)
      return { p: sub(p, mul(n.lr, delta)), square_avg: v1, acc_delta: add(mul(u, n.rho), mul(square(delta), oneMinus(n.rho))) }
    },
  })
}
