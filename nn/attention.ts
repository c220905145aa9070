/** Multi-head attention (Vaswani et al., arXiv:1706.03762) with the parameters of PyTorch's MultiheadAttention. */
import { ConfigError, linear, narrow, permute, reshape, scaledDotProductAttention, split, variable, zeros } from '../engine/index.ts'
import type { AttentionOptions, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import { xavierUniform } from './init.ts'
import { Linear } from './linear.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { LayerNorm, RMSNorm } from './norm.ts'

export interface MultiheadAttentionOptions extends LayerOptions {
  /** Whether the projections have biases. Default true. */
  readonly bias?: boolean
  /** Sizes of keys and values, if they differ from that of queries. */
  readonly kdim?: number
  readonly vdim?: number
  /** Normalises each head's queries and keys before they meet (Henry et al., arXiv:2010.04245). Default: not. */
  readonly qkNorm?: 'layerNorm' | 'rmsNorm'
}

/**
 * Attention of queries to keys, whose values it mixes; without keys, of a sequence to itself. query [N, T, E], key
 * [N, S, kdim], value [N, S, vdim] → [N, T, E]: the batch comes first, as with PyTorch's `batch_first`. The key is also the
 * value where none is given. A mask broadcasts to [N, heads, T, S].
 */
export class MultiheadAttention extends Module<[query: TensorLike, key?: TensorLike, value?: TensorLike, options?: AttentionOptions], Tensor> {
  /** [3E, E]: of queries, keys and values, unless keys or values have sizes of their own. */
  readonly in_proj_weight: Variable | undefined
  readonly q_proj_weight: Variable | undefined
  readonly k_proj_weight: Variable | undefined
  readonly v_proj_weight: Variable | undefined
  readonly in_proj_bias: Variable | undefined
  readonly out_proj: Linear
  readonly q_norm: LayerNorm | RMSNorm | undefined
  readonly k_norm: LayerNorm | RMSNorm | undefined
  readonly #size: number
  readonly #heads: number

  /** Throws ConfigError unless `heads` divides `size`. */
  constructor(size: number, heads: number, { bias = true, kdim = size, vdim = size, qkNorm, ...options }: MultiheadAttentionOptions = {}) {
    super()
    if (!Number.isInteger(heads) || heads < 1 || size % heads !== 0) throw new ConfigError(`MultiheadAttention: a size of ${size} does not divide into ${heads} heads; choose heads that divide ${size}`)
    this.#size = size
    this.#heads = heads
    const { generator: _, ...place } = options
    const weight = (name: string, rows: number, columns: number): Variable => variable(xavierUniform([rows, columns], options), { name })
    if (kdim === size && vdim === size) this.in_proj_weight = weight('in_proj_weight', 3 * size, size)
    else {
      this.q_proj_weight = weight('q_proj_weight', size, size)
      this.k_proj_weight = weight('k_proj_weight', size, kdim)
      this.v_proj_weight = weight('v_proj_weight', size, vdim)
    }
    this.in_proj_bias = bias ? variable(zeros([3 * size], place), { name: 'in_proj_bias' }) : undefined
    this.out_proj = new Linear(size, size, { bias, ...options })
    this.out_proj.bias?.assign(zeros([size], place))
    const norm = (): LayerNorm | RMSNorm | undefined => (qkNorm === undefined ? undefined : new (qkNorm === 'rmsNorm' ? RMSNorm : LayerNorm)(size / heads, options))
    this.q_norm = norm()
    this.k_norm = norm()
  }

  forward(query: TensorLike, key: TensorLike = query, value: TensorLike = key, options: AttentionOptions = {}): Tensor {
    const [q, k, v] = this.#project(query, key, value).map((t) => this.#split(t))
    if (q === undefined || k === undefined || v === undefined) throw new RangeError('MultiheadAttention: three projections')
    const y = scaledDotProductAttention(this.q_norm?.call(q) ?? q, this.k_norm?.call(k) ?? k, v, options) // [N, heads, T, d]
    return this.out_proj.call(reshape(permute(y, [0, 2, 1, 3]), [...query.shape.slice(0, -1), this.#size]))
  }

  #project(query: TensorLike, key: TensorLike, value: TensorLike): Tensor[] {
    const { in_proj_weight: joint, in_proj_bias: biases } = this
    if (joint !== undefined && query === key && key === value) return split(linear(query, joint, biases), 3, -1)
    const part = (x: Variable, i: number): Tensor => narrow(x, 0, i * this.#size, this.#size)
    return [query, key, value].map((x, i) => {
      const weight = [this.q_proj_weight, this.k_proj_weight, this.v_proj_weight][i] ?? (joint && part(joint, i))
      if (weight === undefined) throw new RangeError('MultiheadAttention: a weight for each')
      return linear(x, weight, biases && part(biases, i))
    })
  }

  /** [N, T, E] → [N, heads, T, E/heads]. */
  #split(x: Tensor): Tensor {
    return permute(reshape(x, [at(x.shape, 0), at(x.shape, 1), this.#heads, this.#size / this.#heads]), [0, 2, 1, 3])
  }
}
