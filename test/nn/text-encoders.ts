/** The text encoders of CLIP (Radford et al., arXiv:2103.00020) and T5 (Raffel et al., arXiv:1910.10683), with transformers' names. */
import { add, arange, argmax, equal, gelu, mul, permute, reshape, scaledDotProductAttention, takeAlongAxis, tensor, expand } from '../../engine/index.ts'
import type { Tensor, TensorLike } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { Embedding, GELU, LayerNorm, Linear, Module, QuickGELU, RMSNorm } from '../../nn/index.ts'
import type { LayerOptions } from '../../nn/index.ts'

/** [B, T, heads·d] → [B, heads, T, d]. */
const splitHeads = (x: Tensor, heads: number): Tensor => permute(reshape(x, [at(x.shape, 0), at(x.shape, 1), heads, -1]), [0, 2, 1, 3])
/** [B, heads, T, d] → [B, T, heads·d]. */
const joinHeads = (x: Tensor): Tensor => reshape(permute(x, [0, 2, 1, 3]), [at(x.shape, 0), at(x.shape, 2), -1])

export interface ClipConfig {
  readonly vocab_size: number
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly max_position_embeddings: number
  readonly hidden_act: 'gelu' | 'quick_gelu'
  readonly projection_dim: number
  readonly eos_token_id: number
}

class ClipEmbeddings extends Module<[TensorLike], Tensor> {
  readonly token_embedding: Embedding
  readonly position_embedding: Embedding

  constructor({ vocab_size, hidden_size, max_position_embeddings }: ClipConfig, options: LayerOptions) {
    super()
    this.token_embedding = new Embedding(vocab_size, hidden_size, options)
    this.position_embedding = new Embedding(max_position_embeddings, hidden_size, options)
  }

  forward(ids: TensorLike): Tensor {
    const positions = arange(at(ids.shape, 1), undefined, { device: ids.device })
    return add(this.token_embedding.call(ids), this.position_embedding.call(positions))
  }
}

class ClipAttention extends Module<[TensorLike], Tensor> {
  readonly k_proj: Linear
  readonly v_proj: Linear
  readonly q_proj: Linear
  readonly out_proj: Linear
  readonly #heads: number

  constructor({ hidden_size: size, num_attention_heads }: ClipConfig, options: LayerOptions) {
    super()
    this.#heads = num_attention_heads
    this.k_proj = new Linear(size, size, options)
    this.v_proj = new Linear(size, size, options)
    this.q_proj = new Linear(size, size, options)
    this.out_proj = new Linear(size, size, options)
  }

  forward(x: TensorLike): Tensor {
    const [q, k, v] = [this.q_proj, this.k_proj, this.v_proj].map((projection) => splitHeads(projection.call(x), this.#heads)) as [Tensor, Tensor, Tensor]
    return this.out_proj.call(joinHeads(scaledDotProductAttention(q, k, v, { causal: true })))
  }
}

class ClipMlp extends Module<[TensorLike], Tensor> {
  readonly fc1: Linear
  readonly fc2: Linear
  readonly activation: Module<[TensorLike], Tensor>

  constructor({ hidden_size, intermediate_size, hidden_act }: ClipConfig, options: LayerOptions) {
    super()
    this.activation = hidden_act === 'gelu' ? new GELU() : new QuickGELU()
    this.fc1 = new Linear(hidden_size, intermediate_size, options)
    this.fc2 = new Linear(intermediate_size, hidden_size, options)
  }

  forward(x: TensorLike): Tensor {
    return this.fc2.call(this.activation.call(this.fc1.call(x)))
  }
}

class ClipLayer extends Module<[TensorLike], Tensor> {
  readonly self_attn: ClipAttention
  readonly layer_norm1: LayerNorm
  readonly mlp: ClipMlp
  readonly layer_norm2: LayerNorm

  constructor(config: ClipConfig, options: LayerOptions) {
    super()
    this.self_attn = new ClipAttention(config, options)
    this.layer_norm1 = new LayerNorm(config.hidden_size, options)
    this.mlp = new ClipMlp(config, options)
    this.layer_norm2 = new LayerNorm(config.hidden_size, options)
  }

  forward(x: TensorLike): Tensor {
    const h = add(x, this.self_attn.call(this.layer_norm1.call(x)))
    return add(h, this.mlp.call(this.layer_norm2.call(h)))
  }
}

class ClipEncoder extends Module<[TensorLike], Tensor> {
  readonly layers: readonly ClipLayer[]

  constructor(config: ClipConfig, options: LayerOptions) {
    super()
    this.layers = Array.from({ length: config.num_hidden_layers }, () => new ClipLayer(config, options))
  }

  forward(x: TensorLike): Tensor {
    return this.layers.reduce((h, layer) => layer.call(h), x.read())
  }
}

/** ids [B, T] → the last hidden state [B, T, hidden]. */
export class ClipText extends Module<[TensorLike], Tensor> {
  readonly embeddings: ClipEmbeddings
  readonly encoder: ClipEncoder
  readonly final_layer_norm: LayerNorm

  constructor(config: ClipConfig, options: LayerOptions) {
    super()
    this.embeddings = new ClipEmbeddings(config, options)
    this.encoder = new ClipEncoder(config, options)
    this.final_layer_norm = new LayerNorm(config.hidden_size, options)
  }

  forward(ids: TensorLike): Tensor {
    return this.final_layer_norm.call(this.encoder.call(this.embeddings.call(ids)))
  }
}

/** ids [B, T] → the state at the first end-of-text token, projected [B, projection]. */
export class ClipTextWithProjection extends Module<[TensorLike], Tensor> {
  readonly text_model: ClipText
  readonly text_projection: Linear
  readonly #end: number

  constructor(config: ClipConfig, options: LayerOptions) {
    super()
    this.#end = config.eos_token_id
    this.text_model = new ClipText(config, options)
    this.text_projection = new Linear(config.hidden_size, config.projection_dim, { ...options, bias: false })
  }

  forward(ids: TensorLike): Tensor {
    const states = this.text_model.call(ids)
    const [batch, , size] = [at(states.shape, 0), at(states.shape, 1), at(states.shape, 2)]
    const first = argmax(mul(equal(ids, this.#end), 1), 1)
    const pooled = takeAlongAxis(states, expand(reshape(first, [batch, 1, 1]), [batch, 1, size]), 1)
    return this.text_projection.call(reshape(pooled, [batch, size]))
  }
}

export interface T5Config {
  readonly vocab_size: number
  readonly d_model: number
  readonly d_kv: number
  readonly d_ff: number
  readonly num_layers: number
  readonly num_heads: number
  readonly relative_attention_num_buckets: number
  readonly relative_attention_max_distance: number
}

/** Key position minus query position, in half the buckets for each sign: one each up to a quarter of them, then logarithmically. */
export function relativeBucket(distance: number, buckets: number, longest: number): number {
  const half = buckets / 2
  const exact = half / 2
  const n = Math.abs(distance)
  const far = exact + Math.trunc((Math.log(n / exact) / Math.log(longest / exact)) * (half - exact))
  return (distance > 0 ? half : 0) + (n < exact ? n : Math.min(far, half - 1))
}

/** Attention without scale, plus a bias by distance that the first layer holds for all. */
class T5Attention extends Module<[x: TensorLike, bias: Tensor | undefined], { y: Tensor; bias: Tensor }> {
  readonly q: Linear
  readonly k: Linear
  readonly v: Linear
  readonly o: Linear
  readonly relative_attention_bias: Embedding | undefined
  readonly #config: T5Config

  constructor(config: T5Config, first: boolean, options: LayerOptions) {
    super()
    const inner = config.num_heads * config.d_kv
    this.#config = config
    this.q = new Linear(config.d_model, inner, { ...options, bias: false })
    this.k = new Linear(config.d_model, inner, { ...options, bias: false })
    this.v = new Linear(config.d_model, inner, { ...options, bias: false })
    this.o = new Linear(inner, config.d_model, { ...options, bias: false })
    this.relative_attention_bias = first ? new Embedding(config.relative_attention_num_buckets, config.num_heads, options) : undefined
  }

  forward(x: TensorLike, given: Tensor | undefined): { y: Tensor; bias: Tensor } {
    const bias = given ?? this.#bias(x)
    const [q, k, v] = [this.q, this.k, this.v].map((projection) => splitHeads(projection.call(x), this.#config.num_heads)) as [Tensor, Tensor, Tensor]
    return { y: this.o.call(joinHeads(scaledDotProductAttention(q, k, v, { mask: bias, scale: 1 }))), bias }
  }

  /** [heads, T, T]. */
  #bias(x: TensorLike): Tensor {
    const [length, { relative_attention_num_buckets: buckets, relative_attention_max_distance: longest }] = [at(x.shape, 1), this.#config]
    const table = Int32Array.from({ length: length * length }, (_, i) => relativeBucket((i % length) - Math.floor(i / length), buckets, longest))
    if (this.relative_attention_bias === undefined) throw new RangeError('the first layer holds the bias')
    return permute(this.relative_attention_bias.call(tensor(table, [length, length], { device: x.device })), [2, 0, 1])
  }
}

class T5SelfAttention extends Module<[x: TensorLike, bias: Tensor | undefined], { y: Tensor; bias: Tensor }> {
  readonly SelfAttention: T5Attention
  readonly layer_norm: RMSNorm

  constructor(config: T5Config, first: boolean, options: LayerOptions) {
    super()
    this.SelfAttention = new T5Attention(config, first, options)
    this.layer_norm = new RMSNorm(config.d_model, { ...options, eps: 1e-6 })
  }

  forward(x: TensorLike, given: Tensor | undefined): { y: Tensor; bias: Tensor } {
    const { y, bias } = this.SelfAttention.call(this.layer_norm.call(x), given)
    return { y: add(x, y), bias }
  }
}

class T5Gated extends Module<[TensorLike], Tensor> {
  readonly wi_0: Linear
  readonly wi_1: Linear
  readonly wo: Linear

  constructor({ d_model, d_ff }: T5Config, options: LayerOptions) {
    super()
    this.wi_0 = new Linear(d_model, d_ff, { ...options, bias: false })
    this.wi_1 = new Linear(d_model, d_ff, { ...options, bias: false })
    this.wo = new Linear(d_ff, d_model, { ...options, bias: false })
  }

  forward(x: TensorLike): Tensor {
    return this.wo.call(mul(gelu(this.wi_0.call(x), { approximate: 'tanh' }), this.wi_1.call(x)))
  }
}

class T5FeedForward extends Module<[TensorLike], Tensor> {
  readonly DenseReluDense: T5Gated
  readonly layer_norm: RMSNorm

  constructor(config: T5Config, options: LayerOptions) {
    super()
    this.DenseReluDense = new T5Gated(config, options)
    this.layer_norm = new RMSNorm(config.d_model, { ...options, eps: 1e-6 })
  }

  forward(x: TensorLike): Tensor {
    return add(x, this.DenseReluDense.call(this.layer_norm.call(x)))
  }
}

class T5Block extends Module<[x: TensorLike, bias: Tensor | undefined], { y: Tensor; bias: Tensor }> {
  readonly layer: readonly [T5SelfAttention, T5FeedForward]

  constructor(config: T5Config, first: boolean, options: LayerOptions) {
    super()
    this.layer = [new T5SelfAttention(config, first, options), new T5FeedForward(config, options)]
  }

  forward(x: TensorLike, given: Tensor | undefined): { y: Tensor; bias: Tensor } {
    const { y, bias } = this.layer[0].call(x, given)
    return { y: this.layer[1].call(y), bias }
  }
}

class T5Stack extends Module<[TensorLike], Tensor> {
  /** Tied to the model's `shared`. */
  readonly embed_tokens: Embedding
  readonly block: readonly T5Block[]
  readonly final_layer_norm: RMSNorm

  constructor(config: T5Config, shared: Embedding, options: LayerOptions) {
    super()
    this.embed_tokens = shared
    this.block = Array.from({ length: config.num_layers }, (_, i) => new T5Block(config, i === 0, options))
    this.final_layer_norm = new RMSNorm(config.d_model, { ...options, eps: 1e-6 })
  }

  forward(ids: TensorLike): Tensor {
    let h = this.embed_tokens.call(ids)
    let bias: Tensor | undefined
    for (const block of this.block) ({ y: h, bias } = block.call(h, bias))
    return this.final_layer_norm.call(h)
  }
}

/** ids [B, T] → the last hidden state [B, T, model]. */
export class T5Encoder extends Module<[TensorLike], Tensor> {
  readonly shared: Embedding
  readonly encoder: T5Stack

  constructor(config: T5Config, options: LayerOptions) {
    super()
    this.shared = new Embedding(config.vocab_size, config.d_model, options)
    this.encoder = new T5Stack(config, this.shared, options)
  }

  forward(ids: TensorLike): Tensor {
    return this.encoder.call(ids)
  }
}
