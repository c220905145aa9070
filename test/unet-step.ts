/** The small UNet and its training steps, as the tests of plans and counts take them. */
import { UNet2D } from '../diffusion/unet.ts'
import type { UNet2DConfig } from '../diffusion/unet-config.ts'
import { RandomGenerator, mean, mul, sub, tensor, valueAndGrad } from '../engine/index.ts'
import type { Device, Tensor } from '../engine/index.ts'
import { EMA } from '../nn/ema.ts'
import { namedParameters } from '../nn/module.ts'
import { AdamW } from '../nn/optim/adam.ts'

const config: UNet2DConfig = {
  sample_size: 8, in_channels: 1, out_channels: 1, block_out_channels: [32, 64], layers_per_block: 1, norm_num_groups: 8, attention_head_dim: 8,
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
}

export interface Step {
  readonly loss: Tensor
  readonly norm: Tensor
}

/** A model on a device, and the steps it takes. */
export function training(device: Device): (k: number) => Step {
  const model = new UNet2D(config, { device, generator: new RandomGenerator(1) })
  const parameters = namedParameters(model)
  const optimizer = new AdamW(parameters, { lr: 3e-4, maxNorm: 1, ema: new EMA(parameters, { decay: 0.99 }) })
  return (k) => {
    const x = tensor(Float32Array.from({ length: 32 * 64 }, (_, i) => Math.sin(i + k)), [32, 1, 8, 8], { device })
    const t = tensor(Float32Array.from({ length: 32 }, (_, i) => (389 * i + k) % 1000), null, { device })
    const error = sub(model.call(x, t), x)
    const { value, grads } = valueAndGrad(mean(mul(error, error)), parameters)
    return { loss: value, norm: optimizer.update(grads) }
  }
}
