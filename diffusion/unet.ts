/**
 * The UNet of diffusion models (Ho et al., arXiv:2006.11239, appendix B) in the layout and with the names of diffusers'
 * UNet2DModel, whose checkpoints it loads: stages of residual blocks on the way down and up, skip connections between
 * them, self-attention where the configuration asks for it.
 */
import { ShapeError } from '../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../engine/index.ts'
import { at, formatShape } from '../engine/shape.ts'
import { Conv2d } from '../nn/conv.ts'
import { Module } from '../nn/module.ts'
import type { LayerOptions } from '../nn/module.ts'
import { checkPlace } from '../nn/options.ts'
import { GroupNorm } from '../nn/norm.ts'
import { TimestepEmbedding, timestepEmbedding } from './timestep.ts'
import { DownStage, MiddleStage, UpStage } from './unet-blocks.ts'
import { attends, checkConfig } from './unet-config.ts'
import type { UNet2DConfig } from './unet-config.ts'

export class UNet2D extends Module<[x: TensorLike, t: TensorLike], Tensor> {
  readonly config: UNet2DConfig
  readonly conv_in: Conv2d
  readonly time_embedding: TimestepEmbedding
  readonly down_blocks: readonly DownStage[]
  readonly up_blocks: readonly UpStage[]
  readonly mid_block: MiddleStage
  readonly conv_norm_out: GroupNorm
  readonly conv_out: Conv2d

  /** Throws ConfigError for a configuration that contradicts itself, or asks for what the network does not compute. Initial values are PyTorch's. */
  constructor(config: UNet2DConfig, options: LayerOptions = {}) {
    super()
    checkConfig(config)
    checkPlace('UNet2D', options)
    this.config = config
    const { block_out_channels: channels, norm_num_groups: groups, layers_per_block: layers, attention_head_dim: headSize } = config
    const [first, last] = [at(channels, 0), at(channels, channels.length - 1)]
    const block = { ...options, normGroups: groups, headSize, timeSize: 4 * first }
    this.conv_in = new Conv2d(config.in_channels, first, 3, { ...options, padding: 1 })
    this.time_embedding = new TimestepEmbedding(first, 4 * first, options)
    this.down_blocks = config.down_block_types.map((type, i) => {
      const final = i === channels.length - 1
      return new DownStage(channels[i - 1] ?? first, at(channels, i), { ...block, layers, attention: attends(type), resample: !final })
    })
    const upward = channels.toReversed()
    this.up_blocks = config.up_block_types.map((type, i) => {
      const final = i === channels.length - 1
      const skip = upward[i + 1] ?? first
      return new UpStage(upward[i - 1] ?? last, skip, at(upward, i), { ...block, layers: layers + 1, attention: attends(type), resample: !final })
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
