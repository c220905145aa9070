/**
 * Adafactor (Shazeer and Stern, arXiv:1804.04235, Algorithms 4 and 5): second moments of matrices as a row times a column,
 * steps relative to the size of the parameter. As torch.optim.Adafactor has it: without momentum, over the last two axes.
 */
import { add, div, matmul, maximum, mean, minimum, mul, pow, rsqrt, scalar, sqrt, square, sub } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { filled, oneMinus, rule } from './rule.ts'
import type { AnyRule } from './rule.ts'

export interface AdafactorOptions {
  /** The largest relative step; step t is at most 1/√t. Default 1e-2. */
  readonly lr?: HyperParameter
  /** The weight of a new squared gradient is t to this power. Default -0.8. */
  readonly beta2Decay?: HyperParameter
  /** The least root of a second moment, by default the precision of the type, and the least size of a parameter, 1e-3. */
  readonly eps?: readonly [HyperParameter | null, HyperParameter]
  /** Steps whose root mean square is larger are scaled down to it. Default 1. */
  readonly d?: HyperParameter
  /** Decoupled, as in AdamW. Default 0. */
  readonly weightDecay?: HyperParameter
}

/** Adafactor. State: `row_var` and `col_var` of tensors with two axes and more, `variance` of others. */
export class Adafactor extends Optimizer {
  constructor(parameters: ParameterGroups<AdafactorOptions>, options: AdafactorOptions & OptimizerOptions = {}) {
    super('Adafactor', groupsOf(parameters, generalOf(options), adafactor), options)
  }
}

type Variance = { readonly row_var: Tensor; readonly col_var: Tensor } | { readonly variance: Tensor }

function adafactor({ lr = 1e-2, beta2Decay = -0.8, eps: [eps1, eps2] = [null, 1e-3], d = 1, weightDecay = 0, ...others }: AdafactorOptions): AnyRule {
  refuseOthers('Adafactor', others)
  return rule<'lr' | 'beta2Decay' | 'eps1' | 'eps2' | 'd' | 'weightDecay', Variance>({
    numbers: { lr, beta2Decay, eps1: eps1 ?? 0, eps2, d, weightDecay },
    state: (p) => (p.shape.length < 2 ? { variance: filled(p) } : { row_var: filled(p, 0, [...p.shape.slice(0, -1), 1]), col_var: filled(p, 0, [...p.shape.slice(0, -2), 1, ...p.shape.slice(-1)]) }),
    update(p, g, state, n) {
      const least = eps1 === null ? scalar(p.dtype === 'f64' ? 2 ** -52 : 2 ** -23, { dtype: p.dtype, device: p.device }) : n.eps1
      const follow = (v: Tensor, x: Tensor): Tensor => add(v, mul(sub(x, v), pow(n.t, n.beta2Decay)))
      const alpha = mul(maximum(n.eps2, rms(p)), minimum(n.lr, rsqrt(n.t)))
      const step = (estimate: Tensor): Tensor => {
        const u = mul(g, rsqrt(maximum(estimate, mul(least, least))))
        const kept = mul(p, oneMinus(mul(n.lr, n.weightDecay)))
        return sub(kept, mul(u, div(alpha, maximum(div(rms(u), n.d), literal(1)))))
      }
      if ('variance' in state) {
        const variance = follow(state.variance, square(g))
        return { p: step(variance), variance }
      }
      const rows = follow(state.row_var, mean(square(g), -1, { keepDims: true })) // [..., n, 1]
      const columns = follow(state.col_var, mean(square(g), -2, { keepDims: true })) // [..., 1, m]
      return { p: step(div(matmul(rows, columns), maximum(mean(rows, -2, { keepDims: true }), least))), row_var: rows, col_var: columns }
    },
  })
}

/** The root mean square of all elements: []. */
const rms = (x: Tensor): Tensor => sqrt(mean(square(x)))
