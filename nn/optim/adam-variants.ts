/**
 * Adamax (Kingma and Ba, arXiv:1412.6980, section 7.1), NAdam (Dozat 2016) and RAdam (Liu et al., arXiv:1908.03265), as
 * torch.optim has them.
 */
import { abs, add, div, greater, maximum, mul, pow, sqrt, square, sub, where } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { biasCorrection, filled, oneMinus, rule } from './rule.ts'
import type { AnyRule } from './rule.ts'

export interface AdamaxOptions {
  /** Learning rate. Default 2e-3. */
  readonly lr?: HyperParameter
  /** Decays of the first moment and of the largest gradient. Default 0.9 and 0.999. */
  readonly betas?: readonly [HyperParameter, HyperParameter]
  /** Added to the size of a gradient. Default 1e-8. */
  readonly eps?: HyperParameter
  /** Of an L2 penalty: added to the gradient. Default 0. */
  readonly weightDecay?: HyperParameter
}

/** Adamax (Algorithm 2). State: `exp_avg`, `exp_inf`. */
export class Adamax extends Optimizer {
  constructor(parameters: ParameterGroups<AdamaxOptions>, options: AdamaxOptions & OptimizerOptions = {}) {
    super('Adamax', groupsOf(parameters, generalOf(options), adamax), options)
  }
}

function adamax({ lr = 2e-3, betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0, ...others }: AdamaxOptions): AnyRule {
  refuseOthers('Adamax', others)
  return rule({
    numbers: { lr, beta1, beta2, eps, weightDecay },
    state: (p) => ({ exp_avg: filled(p), exp_inf: filled(p) }),
    update(p, gradient, { exp_avg: m, exp_inf: u }, n) {
      const g = add(gradient, mul(p, n.weightDecay))
      const m1 = add(m, mul(sub(g, m), oneMinus(n.beta1)))
      const u1 = maximum(mul(u, n.beta2), add(abs(g), n.eps))
      return { p: sub(p, mul(div(n.lr, biasCorrection(n.beta1, n.t)), div(m1, u1))), exp_avg: m1, exp_inf: u1 }
    },
  })
}

interface RectifiedOptions {
  /** Learning rate. Default 2e-3 for NAdam, 1e-3 for RAdam. */
  readonly lr?: HyperParameter
  /** Decays of the two moments. Default 0.9 and 0.999. */
  readonly betas?: readonly [HyperParameter, HyperParameter]
  /** Added outside the root. Default 1e-8. */
  readonly eps?: HyperParameter
  /** Default 0. */
  readonly weightDecay?: HyperParameter
  /** Whether it shrinks the weights themselves, as in AdamW, rather than adding to the gradient. Default false. */
  readonly decoupledWeightDecay?: boolean
}

export interface NAdamOptions extends RectifiedOptions {
  /** How fast the momentum approaches β₁: μₜ = β₁(1 − ½·0.96^(t·momentumDecay)). Default 4e-3. */
  readonly momentumDecay?: HyperParameter
}

export type RAdamOptions = RectifiedOptions

/** Weight decay in either place: what is left of p, and the gradient. */
function decayed(p: Tensor, g: Tensor, { lr, weightDecay }: { readonly lr: Tensor; readonly weightDecay: Tensor }, decoupled: boolean): [kept: Tensor, g: Tensor] {
  return decoupled ? [mul(p, oneMinus(mul(lr, weightDecay))), g] : [p, add(g, mul(p, weightDecay))]
}

/** Adam with Nesterov's momentum. State: `exp_avg`, `exp_avg_sq`, `mu_product`. */
export class NAdam extends Optimizer {
  constructor(parameters: ParameterGroups<NAdamOptions>, options: NAdamOptions & OptimizerOptions = {}) {
    super('NAdam', groupsOf(parameters, generalOf(options), nadam), options)
  }
}

function nadam({ lr = 2e-3, betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0, momentumDecay = 4e-3, decoupledWeightDecay = false, ...others }: NAdamOptions): AnyRule {
  refuseOthers('NAdam', others)
  return rule({
    numbers: { lr, beta1, beta2, eps, weightDecay, momentumDecay },
    state: (p) => ({ exp_avg: filled(p), exp_avg_sq: filled(p), mu_product: filled(p, 1, []) }),
    update(p, gradient, { exp_avg: m, exp_avg_sq: v, mu_product: product }, n) {
      const [kept, g] = decayed(p, gradient, n, decoupledWeightDecay)
      const mu = (t: Tensor): Tensor => mul(n.beta1, oneMinus(mul(pow(literal(0.96), mul(t, n.momentumDecay)), literal(0.5))))
      const [muT, muNext] = [mu(n.t), mu(add(n.t, literal(1)))]
      const productT = mul(product, muT)
      const m1 = add(m, mul(sub(g, m), oneMinus(n.beta1)))
      const v1 = add(mul(v, n.beta2), mul(square(g), oneMinus(n.beta2)))
      const mHat = add(mul(g, div(oneMinus(muT), oneMinus(productT))), mul(m1, div(muNext, oneMinus(mul(productT, muNext)))))
      const root = sqrt(div(v1, biasCorrection(n.beta2, n.t)))
      return { p: sub(kept, mul(n.lr, div(mHat, add(root, n.eps)))), exp_avg: m1, exp_avg_sq: v1, mu_product: productT }
    },
  })
}

/** Adam whose adaptive rate waits until its variance is bounded. State: `exp_avg`, `exp_avg_sq`. */
export class RAdam extends Optimizer {
  constructor(parameters: ParameterGroups<RAdamOptions>, options: RAdamOptions & OptimizerOptions = {}) {
    super('RAdam', groupsOf(parameters, generalOf(options), radam), options)
  }
}

function radam({ lr = 1e-3, betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0, decoupledWeightDecay = false, ...others }: RAdamOptions): AnyRule {
  refuseOthers('RAdam', others)
  return rule({
    numbers: { lr, beta1, beta2, eps, weightDecay },
    state: (p) => ({ exp_avg: filled(p), exp_avg_sq: filled(p) }),
    update(p, gradient, { exp_avg: m, exp_avg_sq: v }, n) {
      const [kept, g] = decayed(p, gradient, n, decoupledWeightDecay)
      const m1 = add(m, mul(sub(g, m), oneMinus(n.beta1)))
      const v1 = add(mul(v, n.beta2), mul(square(g), oneMinus(n.beta2)))
      const correction2 = biasCorrection(n.beta2, n.t)
      const mHat = div(m1, biasCorrection(n.beta1, n.t))
      // ρ: the length of the approximated simple moving average.
      const rhoInf = sub(div(literal(2), oneMinus(n.beta2)), literal(1))
      const rho = sub(rhoInf, div(mul(mul(n.t, literal(2)), oneMinus(correction2)), correction2))
      const minus = (x: Tensor, k: number): Tensor => sub(x, literal(k))
      const rectified = sqrt(div(mul(mul(minus(rho, 4), minus(rho, 2)), rhoInf), mul(mul(minus(rhoInf, 4), minus(rhoInf, 2)), rho)))
      const adaptive = mul(rectified, div(sqrt(correction2), add(sqrt(v1), n.eps)))
      return { p: sub(kept, mul(n.lr, mul(mHat, where(greater(rho, literal(5)), adaptive, literal(1))))), exp_avg: m1, exp_avg_sq: v1 }
    },
  })
}
