/**
 * The UNet of diffusion models (Ho et al., arXiv:2006.11239, appendix B) in the layout and with the names of diffusers'
 * UNet2DModel, whose checkpoints it loads: stages of residual blocks on the way down and up, skip connections between
 * them, self-attention where the configuration asks for it.
 */
import { ConfigError, ShapeError } from '../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../engine/index.ts'
import { at, formatShape } from '../engine/shape.ts'
import { Conv2d } from '../nn/conv.ts'
import { Module } from '../nn/module.ts'
import type { LayerOptions } from '../nn/module.ts'
import { GroupNorm } from '../nn/norm.ts'
import { TimestepEmbedding, timestepEmbedding } from './timestep.ts'
import { DownStage, MiddleStage, UpStage } from './unet-blocks.ts'

export interface UNet2DConfig {
  /** Height and width of the images, for whoever samples; the network takes any that its downsampling divides. */
  readonly sample_size: number
  readonly in_channels: number
  readonly out_channels: number
  /** Channels of each stage, from the finest. */
  readonly block_out_channels: readonly number[]
  /** Residual blocks a stage on the way down; one more on the way up. */
  readonly layers_per_block: number
  readonly norm_num_groups: number
  /** `DownBlock2D` or `AttnDownBlock2D`, a stage each. */
  readonly down_block_types: readonly string[]
  /** `UpBlock2D` or `AttnUpBlock2D`, a stage each, from the coarsest. */
  readonly up_block_types: readonly string[]
  /** Channels of one attention head. */
  readonly attention_head_dim: number
}

export class UNet2D extends Module<[x: TensorLike, t: TensorLike], Tensor> {
  readonly config: UNet2DConfig
  readonly conv_in: Conv2d
  readonly time_embedding: TimestepEmbedding
  readonly down_blocks: readonly DownStage[]
  readonly up_blocks: readonly UpStage[]
  readonly mid_block: MiddleStage
  readonly conv_norm_out: GroupNorm
  readonly conv_out: Conv2d

  /** Throws ConfigError for a configuration that contradicts itself. Initial values are PyTorch's. */
  constructor(config: UNet2DConfig, options: LayerOptions = {}) {
    super()
    checkConfig(config)
    this.config = config
    const { block_out_channels: channels, norm_num_groups: groups, layers_per_block: layers, attention_head_dim: headSize } = config
    const [first, last] = [at(channels, 0), at(channels, channels.length - 1)]
    const block = { ...options, normGroups: groups, headSize, timeSize: 4 * first }
    this.conv_in = new Conv2d(config.in_channels, first, 3, { ...options, padding: 1 })
    this.time_embedding = new TimestepEmbedding(first, 4 * first, options)
    this.down_blocks = config.down_block_types.map((type, i) => {
      const final = i === channels.length - 1
      return new DownStage(channels[i - 1] ?? first, at(channels, i), { ...block, layers, attention: type.startsWith('Attn'), resample: !final })
    })
    const upward = channels.toReversed()
    this.up_blocks = config.up_block_types.map((type, i) => {
      const final = i === channels.length - 1
      const skip = upward[i + 1] ?? first
      return new UpStage(upward[i - 1] ?? last, skip, at(upward, i), { ...block, layers: layers + 1, attention: type.startsWith('Attn'), resample: !final })
    })
    this.mid_block = new MiddleStage(last, block)
    this.conv_norm_out = new GroupNorm(groups, first, { ...options, silu: true })
    this.conv_out = new Conv2d(first, config.out_channels, 3, { ...options, padding: 1 })
  }

  get device(): Device {
    return this.conv_in.weight.device
  }

  /** What the network says of x [B, in, H, W] at timesteps t [B] (f32, fractions allowed) → [B, out, H, W]. */
  forward(x: TensorLike, t: TensorLike): Tensor {
    this.checkInputs(x, t)
    const time = this.time_embedding.call(timestepEmbedding(t, at(this.config.block_out_channels, 0)))
    let h = this.conv_in.call(x)
    const skips = [h]
    for (const stage of this.down_blocks) {
      const outputs = stage.call(h, time)
      skips.push(...outputs)
      h = at(outputs, outputs.length - 1)
    }
    h = this.mid_block.call(h, time)
    for (const stage of this.up_blocks) h = stage.call(h, time, skips.splice(-stage.resnets.length))
    return this.conv_out.call(this.conv_norm_out.call(h))
  }

  private checkInputs(x: TensorLike, t: TensorLike): void {
    const { in_channels: channels, block_out_channels: stages } = this.config
    const factor = 2 ** (stages.length - 1)
    const [batch, own, height, width] = x.shape
    if (x.shape.length !== 4 || own !== channels) throw new ShapeError(`UNet2D: x is ${formatShape(x.shape)} but the network takes [B,${channels},H,W]; reshape it`)
    if (((height ?? 0) % factor) + ((width ?? 0) % factor) !== 0) throw new ShapeError(`UNet2D: images of ${height}x${width} cannot be halved ${stages.length - 1} times; use sizes that ${factor} divides`)
    if (t.shape.length !== 1 || t.shape[0] !== batch) throw new ShapeError(`UNet2D: t is ${formatShape(t.shape)} but x has a batch of ${batch}; pass one timestep per image, [${batch}]`)
  }
}

function checkConfig(config: UNet2DConfig): void {
  const { block_out_channels: channels, down_block_types: down, up_block_types: up, norm_num_groups: groups, attention_head_dim: headSize } = config
  if (channels.length === 0 || down.length !== channels.length || up.length !== channels.length) {
    throw new ConfigError(`UNet2D: there are ${channels.length} stages of channels, ${down.length} down and ${up.length} up blocks; give one of each per stage`)
  }
  for (const [list, types] of [[down, ['DownBlock2D', 'AttnDownBlock2D']], [up, ['UpBlock2D', 'AttnUpBlock2D']]] as const) {
    for (const type of list) if (!types.some((known) => known === type)) throw new ConfigError(`UNet2D: block type ${type} is not one of ${types.join(', ')}`)
  }
  for (const c of channels) {
    if (c % groups !== 0) throw new ConfigError(`UNet2D: ${c} channels do not divide into ${groups} groups; choose norm_num_groups that divides every stage`)
    if (c % headSize !== 0) throw new ConfigError(`UNet2D: ${c} channels do not divide into heads of ${headSize}; choose attention_head_dim that divides every stage`)
  }
}
