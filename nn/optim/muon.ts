/**
 * Muon (Keller Jordan et al. 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix, made nearly orthogonal by
 * Newton and Schulz's iteration. As torch.optim.Muon has it, but in the parameters' own type rather than bf16.
 */
import { ConfigError, ShapeError, add, div, matmul, maximum, mul, norm, reshape, sub, transpose } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import { at, formatShape, sizeOf } from '../../engine/shape.ts'
import { adamW } from './adam.ts'
import type { AdamWOptions } from './adam.ts'
import type { HyperParameter } from './hyperparameter.ts'
import { Optimizer, generalOf, groupsOf } from './optimizer.ts'
import type { OptimizerOptions, ParameterGroups } from './optimizer.ts'
import { filled, oneMinus, rule } from './rule.ts'
import type { AnyRule } from './rule.ts'

export interface MuonOptions {
  /** Learning rate. Default 1e-3. */
  readonly lr?: HyperParameter
  /** Decoupled, as in AdamW. Default 0.1. */
  readonly weightDecay?: HyperParameter
  /** Default 0.95. */
  readonly momentum?: HyperParameter
  /** Default true. */
  readonly nesterov?: boolean
  /** Of the iteration's polynomial a·x + b·x³ + c·x⁵. Default 3.4445, -4.775 and 2.0315. */
  readonly nsCoefficients?: readonly [a: number, b: number, c: number]
  /** Iterations. Default 5. */
  readonly nsSteps?: number
  /** The least norm that the momentum is divided by. Default 1e-7. */
  readonly eps?: HyperParameter
  /** Steps of an [A, B] matrix are multiplied by √max(1, A/B), or by 0.2·√max(A, B), which lets AdamW's numbers serve (Liu et al., arXiv:2502.16982). Default 'original'. */
  readonly adjustLr?: keyof typeof adjustments
}

/** What the steps of a matrix are multiplied by. */
const adjustments = {
  original: (rows: number, columns: number): number => Math.sqrt(Math.max(1, rows / columns)),
  matchRmsAdamW: (rows: number, columns: number): number => 0.2 * Math.sqrt(Math.max(rows, columns)),
} as const

/** A group that AdamW moves: biases, norms, embeddings, the first and the last layer. */
export interface MuonAdamWGroup extends AdamWOptions {
  readonly useMuon: false
}

type MuonGroup = (MuonOptions & { readonly useMuon?: true }) | MuonAdamWGroup

/**
 * Muon for matrices, [A, B]; convolutions' weights [A, …] count as matrices of A rows. Groups with `useMuon: false` take
 * AdamW's options and steps, and none of the general options. State: `momentum_buffer`, or AdamW's.
 * Throws ShapeError for a parameter with fewer than two axes, ConfigError for `nsSteps` and `adjustLr` that are none.
 */
export class Muon extends Optimizer {
  constructor(parameters: ParameterGroups<MuonGroup>, options: MuonOptions & OptimizerOptions = {}) {
    const general = generalOf(options)
    muon(general) // Which may be refused even where no group takes them.
    super('Muon', groupsOf<MuonGroup>(parameters, {}, (own) => ruleOf(own, general)), options)
  }
}

function ruleOf(group: MuonGroup, general: MuonOptions): AnyRule {
  if (group.useMuon === false) {
    const { useMuon: _, ...own } = group
    return adamW(own)
  }
  const { useMuon: _, ...own } = group
  return muon({ ...general, ...own })
}

function muon({ lr = 1e-3, weightDecay = 0.1, momentum = 0.95, nesterov = true, nsCoefficients = [3.4445, -4.775, 2.0315], nsSteps = 5, eps = 1e-7, adjustLr = 'original', ...others }: MuonOptions): AnyRule {
  refuseOthers('Muon', others)
  if (!(Number.isInteger(nsSteps) && nsSteps > 0)) throw new ConfigError(`Muon: nsSteps is ${nsSteps}; use a positive integer, such as 5`)
  if (!Object.hasOwn(adjustments, adjustLr)) throw new ConfigError(`Muon: adjustLr is ${adjustLr}; use ${Object.keys(adjustments).join(' or ')}`)
  return rule({
    numbers: { lr, weightDecay, momentum, eps },
    state(p, name) {
      if (p.shape.length < 2) throw new ShapeError(`Muon: parameter ${name} is ${formatShape(p.shape)}, but Muon takes matrices; put it into a group with useMuon: false`)
      return { momentum_buffer: filled(p) }
    },
    update(p, g, { momentum_buffer: b }, n) {
      const b1 = add(b, mul(sub(g, b), oneMinus(n.momentum)))
      const m = nesterov ? add(g, mul(sub(b1, g), n.momentum)) : b1
      const [rows, columns] = [at(p.shape, 0), sizeOf(p.shape.slice(1))]
      const o = orthogonal(reshape(m, [rows, columns]), n.eps, nsCoefficients, nsSteps)
      const kept = mul(p, oneMinus(mul(n.lr, n.weightDecay)))
      return { p: sub(kept, mul(reshape(o, p.shape), mul(n.lr, literal(adjustments[adjustLr](rows, columns))))), momentum_buffer: b1 }
    },
  })
}

/** About U·Vᵀ of x = U·S·Vᵀ [A, B]: the quintic drives singular values to between 0.7 and 1.2, not to 1. */
function orthogonal(x: Tensor, eps: Tensor, [a, b, c]: readonly [number, number, number], steps: number): Tensor {
  const tall = at(x.shape, 0) > at(x.shape, 1) // The smaller of x·xᵀ and xᵀ·x is the cheaper one.
  let y = div(tall ? transpose(x) : x, maximum(norm(x), eps))
  for (let i = 0; i < steps; i++) {
    const gram = matmul(y, transpose(y))
    y = add(mul(y, literal(a)), matmul(add(mul(gram, literal(b)), mul(matmul(gram, gram), literal(c))), y))
  }
  return tall ? transpose(y) : y
}
