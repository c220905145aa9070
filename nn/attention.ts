/** Multi-head attention (Vaswani et al., arXiv:1706.03762) with the parameters of PyTorch's MultiheadAttention. */
import { ConfigError, DTypeError, ShapeError, linear, logicalAnd, narrow, permute, reshape, scaledDotProductAttention, split, variable, where, zeros } from '../engine/index.ts'
import type { AttentionOptions, Shape, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { checkWord, refuseOthers } from '../engine/error.ts'
import { isFloat } from '../engine/dtype.ts'
import { literal } from '../engine/ops/elementwise.ts'
import { at, formatShape, sameShape } from '../engine/shape.ts'
import { xavierUniform } from './init.ts'
import { Linear } from './linear.ts'
import { Module } from './module.ts'
import type { LayerOptions } from './module.ts'
import { LayerNorm, RMSNorm } from './norm.ts'
import { checkPlace } from './options.ts'

export interface MultiheadAttentionOptions extends LayerOptions {
  /** Whether the projections have biases. Default true. */
  readonly bias?: boolean
  /** Sizes of keys and values, if they differ from that of queries. */
  readonly kdim?: number
  readonly vdim?: number
  /** Normalises each head's queries and keys before they meet (Henry et al., arXiv:2010.04245). Default: not. */
  readonly qkNorm?: 'layerNorm' | 'rmsNorm'
}

export interface MultiheadAttentionCallOptions extends AttentionOptions {
  /**
   * [T, S], or four axes that broadcast to [N, heads, T, S]: bool, true where attending is allowed, which is the opposite of
   * the `attn_mask` of PyTorch's MultiheadAttention; or floats that are added to the scores.
   */
  readonly mask?: TensorLike | undefined
  /** [N, S], bool: true where a key may be attended. PyTorch's `key_padding_mask` has the opposite sense. */
  readonly keyPadding?: TensorLike | undefined
}

/**
 * Attention of queries to keys, whose values it mixes; without keys, of a sequence to itself. query [N, T, E], key
 * [N, S, kdim], value [N, S, vdim] → [N, T, E]: the batch comes first, as with PyTorch's `batch_first`. The key is also the
 * value where none is given. `mask`, `keyPadding` and `causal` hold together; a query that none of them leaves a key mixes
 * no values. No weights are dropped in training. Calls throw ShapeError for other shapes, DTypeError for masks of integers.
 */
export class MultiheadAttention extends Module<[query: TensorLike, key?: TensorLike, value?: TensorLike, options?: MultiheadAttentionCallOptions], Tensor> {
  /** [3E, E]: of queries, keys and values, unless keys or values have sizes of their own. */
  in_proj_weight: Variable | undefined
  q_proj_weight: Variable | undefined
  k_proj_weight: Variable | undefined
  v_proj_weight: Variable | undefined
  in_proj_bias: Variable | undefined
  readonly out_proj: Linear
  readonly q_norm: LayerNorm | RMSNorm | undefined
  readonly k_norm: LayerNorm | RMSNorm | undefined
  readonly #size: number
  readonly #kdim: number
  readonly #vdim: number
  readonly #heads: number

  /** Throws ConfigError unless `heads` divides `size`, and for another `qkNorm`. */
  constructor(size: number, heads: number, { bias = true, kdim = size, vdim = size, qkNorm, ...options }: MultiheadAttentionOptions = {}) {
    super()
    checkPlace('MultiheadAttention', options)
    if (!Number.isInteger(heads) || heads < 1 || size % heads !== 0) throw new ConfigError(`MultiheadAttention: a size of ${size} does not divide into ${heads} heads; choose heads that divide ${size}`)
    if (qkNorm !== undefined) checkWord('MultiheadAttention', 'qkNorm', qkNorm, ['layerNorm', 'rmsNorm'])
    this.#size = size
    this.#kdim = kdim
    this.#vdim = vdim
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

  forward(query: TensorLike, key: TensorLike = query, value: TensorLike = key, { mask, keyPadding, ...options }: MultiheadAttentionCallOptions = {}): Tensor {
    const { causal: _, scale: __, ...others } = options
    refuseOthers('MultiheadAttention', others)
    this.#check(query, key, value)
    const scores = [at(query.shape, 0), this.#heads, at(query.shape, 1), at(key.shape, 1)]
    const [q, k, v] = this.#project(query, key, value).map((t) => this.#split(t))
    if (q === undefined || k === undefined || v === undefined) throw new RangeError('MultiheadAttention: three projections')
    const y = scaledDotProductAttention(this.q_norm?.call(q) ?? q, this.k_norm?.call(k) ?? k, v, { mask: joined(scores, mask, keyPadding), ...options }) // [N, heads, T, d]
    return this.out_proj.call(reshape(permute(y, [0, 2, 1, 3]), query.shape))
  }

  #check(query: TensorLike, key: TensorLike, value: TensorLike): void {
    for (const [name, x, axes, size] of [['query', query, 'N,T', this.#size], ['key', key, 'N,S', this.#kdim], ['value', value, 'N,S', this.#vdim]] as const) {
      if (x.shape.length !== 3) throw new ShapeError(`MultiheadAttention: ${name} ${formatShape(x.shape)} is not [${axes},${size}]; reshape it, for one sample with a first axis of 1`)
      if (x.shape[2] !== size) throw new ShapeError(`MultiheadAttention: ${name} ${formatShape(x.shape)} is not [${axes},${size}]; project it, or make the layer for its size`)
    }
    const text = `query ${formatShape(query.shape)}, key ${formatShape(key.shape)}, value ${formatShape(value.shape)}`
    const [n] = query.shape
    if (key.shape[0] !== n || value.shape[0] !== n) throw new ShapeError(`MultiheadAttention: ${text} have first axes of ${String(n)}, ${String(key.shape[0])} and ${String(value.shape[0])}, but N is one number; expand those of size 1`)
    if (key.shape[1] !== value.shape[1]) throw new ShapeError(`MultiheadAttention: there are ${String(key.shape[1])} keys but ${String(value.shape[1])} values (${text}); pass one value for each key`)
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

/** Both masks as one that broadcasts to the scores [N, heads, T, S]. */
function joined(scores: Shape, mask: TensorLike | undefined, keyPadding: TensorLike | undefined): TensorLike | undefined {
  const [n, t, s] = [at(scores, 0), at(scores, 2), at(scores, 3)]
  if (mask !== undefined) {
    // Two or three axes that happen to fit could be meant for samples and be read as for heads or queries.
    const fits = sameShape(mask.shape, [t, s]) || (mask.shape.length === 4 && mask.shape.every((d, i) => d === 1 || d === scores[i]))
    if (!fits) throw new ShapeError(`MultiheadAttention: mask ${formatShape(mask.shape)} is neither [T,S] = ${formatShape([t, s])} nor four axes for [N,heads,T,S] = ${formatShape(scores)}; reshape one for each sample to [N,1,T,S], one for each head to [1,heads,T,S], and pass one of keys [N,S] as keyPadding`)
    if (mask.dtype !== 'bool' && !isFloat(mask.dtype)) throw new DTypeError(`MultiheadAttention: mask is ${mask.dtype}, but must be bool (true where attending is allowed) or a float that is added; compare it first, such as notEqual(mask, 0)`)
  }
  if (keyPadding === undefined) return mask
  if (!sameShape(keyPadding.shape, [n, s])) throw new ShapeError(`MultiheadAttention: keyPadding ${formatShape(keyPadding.shape)} is not [N,S] = ${formatShape([n, s])}; reshape it, or pass it as mask`)
  if (keyPadding.dtype !== 'bool') throw new DTypeError(`MultiheadAttention: keyPadding is ${keyPadding.dtype}, but must be bool, true where a key may be attended; compare it first, such as notEqual(keyPadding, 0)`)
  const keys = reshape(keyPadding, [n, 1, 1, s])
  if (mask === undefined) return keys
  return mask.dtype === 'bool' ? logicalAnd(mask, keys) : where(keys, mask, literal(-Infinity))
}
