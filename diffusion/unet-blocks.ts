/** The blocks of UNet2D, named as in diffusers: residual blocks, self-attention, and stages of them. */
import { add, concat, permute, reshape, scaledDotProductAttention, silu } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import { Conv2d } from '../nn/conv.ts'
import { Linear } from '../nn/linear.ts'
import { Module } from '../nn/module.ts'
import type { LayerOptions } from '../nn/module.ts'
import { GroupNorm } from '../nn/norm.ts'
import { Downsample2D, Upsample2D } from '../nn/resample.ts'

interface BlockOptions extends LayerOptions {
  /** Groups of every group norm. */
  readonly normGroups: number
  /** Channels of one attention head; null for a single head of all. */
  readonly headSize: number | null
  /** Size of the time embedding. */
  readonly timeSize: number
}

interface StageOptions extends BlockOptions {
  readonly layers: number
  readonly attention: boolean
  /** Whether the stage ends by halving or doubling the size. */
  readonly resample: boolean
}

/** norm, SiLU, conv, + time, norm, SiLU, conv, + input. x [B, in, H, W], time [B, T] → [B, out, H, W]. */
class ResnetBlock extends Module<[x: TensorLike, time: TensorLike], Tensor> {
  readonly norm1: GroupNorm
  readonly conv1: Conv2d
  readonly time_emb_proj: Linear
  readonly norm2: GroupNorm
  readonly conv2: Conv2d
  readonly conv_shortcut: Conv2d | undefined

  constructor(inputs: number, outputs: number, { normGroups, headSize: _, timeSize, ...options }: BlockOptions) {
    super()
    this.norm1 = new GroupNorm(normGroups, inputs, { ...options, silu: true })
    this.conv1 = new Conv2d(inputs, outputs, 3, { ...options, padding: 1 })
    this.time_emb_proj = new Linear(timeSize, outputs, options)
    this.norm2 = new GroupNorm(normGroups, outputs, { ...options, silu: true })
    this.conv2 = new Conv2d(outputs, outputs, 3, { ...options, padding: 1 })
    this.conv_shortcut = inputs === outputs ? undefined : new Conv2d(inputs, outputs, 1, options)
  }

  forward(x: TensorLike, time: TensorLike): Tensor {
    const shift = this.time_emb_proj.call(silu(time)) // [B, out]
    const h = add(this.conv1.call(this.norm1.call(x)), reshape(shift, [...shift.shape, 1, 1]))
    return add(this.conv_shortcut?.call(x) ?? x, this.conv2.call(this.norm2.call(h)))
  }
}

/** Multi-head self-attention over the positions of an image, + input. [B, C, H, W] → [B, C, H, W]. */
class AttentionBlock extends Module<[TensorLike], Tensor> {
  readonly group_norm: GroupNorm
  readonly to_q: Linear
  readonly to_k: Linear
  readonly to_v: Linear
  readonly to_out: readonly [Linear]
  readonly #heads: number

  constructor(channels: number, { normGroups, headSize, timeSize: _, ...options }: BlockOptions) {
    super()
    this.#heads = channels / (headSize ?? channels)
    this.group_norm = new GroupNorm(normGroups, channels, options)
    this.to_q = new Linear(channels, channels, options)
    this.to_k = new Linear(channels, channels, options)
    this.to_v = new Linear(channels, channels, options)
    this.to_out = [new Linear(channels, channels, options)]
  }

  forward(x: TensorLike): Tensor {
    const [batch, channels, height, width] = [at(x.shape, 0), at(x.shape, 1), at(x.shape, 2), at(x.shape, 3)]
    const rows = permute(reshape(this.group_norm.call(x), [batch, channels, height * width]), [0, 2, 1]) // [B, HW, C]
    const split = (t: Tensor): Tensor => permute(reshape(t, [batch, height * width, this.#heads, -1]), [0, 2, 1, 3]) // [B, heads, HW, d]
    const y = scaledDotProductAttention(split(this.to_q.call(rows)), split(this.to_k.call(rows)), split(this.to_v.call(rows)))
    const joined = reshape(permute(y, [0, 2, 1, 3]), [batch, height * width, channels]) // [B, HW, C]
    return add(reshape(permute(this.to_out[0].call(joined), [0, 2, 1]), x.shape), x)
  }
}

/** [B, in, H, W] → the outputs of all its layers, last the one that goes on; each is a skip connection. */
export class DownStage extends Module<[x: TensorLike, time: TensorLike], Tensor[]> {
  readonly attentions: readonly AttentionBlock[]
  readonly resnets: readonly ResnetBlock[]
  readonly downsamplers: readonly Downsample2D[]

  constructor(inputs: number, outputs: number, { layers, attention, resample, ...options }: StageOptions) {
    super()
    const { normGroups: _, headSize: __, timeSize: ___, ...place } = options
    const indices = Array.from({ length: layers }, (_, i) => i)
    this.attentions = attention ? indices.map(() => new AttentionBlock(outputs, options)) : []
    this.resnets = indices.map((i) => new ResnetBlock(i === 0 ? inputs : outputs, outputs, options))
    this.downsamplers = resample ? [new Downsample2D(outputs, place)] : []
  }

  forward(x: TensorLike, time: TensorLike): Tensor[] {
    const outputs: Tensor[] = []
    let h = x
    for (const [i, resnet] of this.resnets.entries()) {
      const y = resnet.call(h, time)
      h = this.attentions[i]?.call(y) ?? y
      outputs.push(h.read())
    }
    for (const downsampler of this.downsamplers) outputs.push(downsampler.call(h))
    return outputs
  }
}

/** Residual block, attention, residual block. [B, C, H, W] → [B, C, H, W]. */
export class MiddleStage extends Module<[x: TensorLike, time: TensorLike], Tensor> {
  readonly attentions: readonly [AttentionBlock]
  readonly resnets: readonly [ResnetBlock, ResnetBlock]

  constructor(channels: number, options: BlockOptions) {
    super()
    this.attentions = [new AttentionBlock(channels, options)]
    this.resnets = [new ResnetBlock(channels, channels, options), new ResnetBlock(channels, channels, options)]
  }

  forward(x: TensorLike, time: TensorLike): Tensor {
    return this.resnets[1].call(this.attentions[0].call(this.resnets[0].call(x, time)), time)
  }
}

/** Layers that each take the skip connection from the same depth, the last one first. [B, in, H, W] → [B, out, H, W]. */
export class UpStage extends Module<[x: TensorLike, time: TensorLike, skips: readonly Tensor[]], Tensor> {
  readonly attentions: readonly AttentionBlock[]
  readonly resnets: readonly ResnetBlock[]
  readonly upsamplers: readonly Upsample2D[]

  /** `skipChannels`: those of the skip connection that comes from the stage above. */
  constructor(inputs: number, skipChannels: number, outputs: number, { layers, attention, resample, ...options }: StageOptions) {
    super()
    const { normGroups: _, headSize: __, timeSize: ___, ...place } = options
    const indices = Array.from({ length: layers }, (_, i) => i)
    this.attentions = attention ? indices.map(() => new AttentionBlock(outputs, options)) : []
    this.resnets = indices.map((i) => new ResnetBlock((i === 0 ? inputs : outputs) + (i === layers - 1 ? skipChannels : outputs), outputs, options))
    this.upsamplers = resample ? [new Upsample2D(outputs, place)] : []
  }

  forward(x: TensorLike, time: TensorLike, skips: readonly Tensor[]): Tensor {
    const waiting = [...skips]
    let h = x.read()
    for (const [i, resnet] of this.resnets.entries()) {
      const skip = waiting.pop()
      const y = resnet.call(skip === undefined ? h : concat([h, skip], 1), time)
      h = this.attentions[i]?.call(y) ?? y
    }
    return this.upsamplers[0]?.call(h) ?? h
  }
}
