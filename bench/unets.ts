/**
 * Two UNets in diffusers' layout, their forward and their training step: gradients of the mean squared error, clipping
 * to a norm of 1, AdamW. Parameters are `values` under diffusers' names, so that another library can start from the same.
 */
import { metaDevice, mseLoss, realize, tensor, valueAndGrad } from '../engine/index.ts'
import type { Device, Tensor, Variable } from '../engine/index.ts'
import { UNet2D } from '../diffusion/index.ts'
import type { UNet2DConfig } from '../diffusion/index.ts'
import { AdamW, namedParameters, parameterCount, summary } from '../nn/index.ts'
import type { Subject } from './subject.ts'
import { count, input, values } from './values.ts'

export interface UNetSubject {
  readonly name: string
  readonly batch: number
  readonly config: UNet2DConfig & { readonly sample_size: number }
}

/** Attention in the deepest stage and in the middle, with heads of 8 channels. */
function unet(name: string, batch: number, size: number, channels: number, stages: readonly number[], groups: number): UNetSubject {
  const deepest = (i: number, count: number): boolean => i === count - 1
  const config: UNetSubject['config'] = {
    sample_size: size, in_channels: channels, out_channels: channels, block_out_channels: stages, layers_per_block: 1, norm_num_groups: groups, attention_head_dim: 8,
    down_block_types: stages.map((_, i) => (deepest(i, stages.length) ? 'AttnDownBlock2D' : 'DownBlock2D')),
    up_block_types: stages.map((_, i) => (i === 0 ? 'AttnUpBlock2D' : 'UpBlock2D')),
  }
  return { name: `${name}_${size}x${size}x${channels}_ch${stages.join('_')}_batch${batch}`, batch, config }
}

/** The model that `langevin train digits` trains, and one for small pictures. */
export const unets: readonly UNetSubject[] = [unet('unet_t2_digits', 32, 8, 1, [32, 64], 8), unet('unet', 8, 32, 3, [64, 128, 128], 32)]

interface Model {
  readonly model: UNet2D
  readonly x: Variable
  readonly target: Variable
  readonly t: Tensor
  /** Of one forward. */
  readonly flops: number
  readonly parameters: number
}

async function load({ batch, config }: UNetSubject, device: Device): Promise<Model> {
  const { in_channels: channels, sample_size: size } = config
  const shape = [batch, channels, size, size]
  const model = new UNet2D(config, { device })
  const named = Object.entries(namedParameters(model)).sort(([a], [b]) => (a < b ? -1 : 1))
  named.forEach(([name, p], i) => {
    const around = name.endsWith('weight') && p.shape.length === 1 ? 1 : 0 // Norms scale by about one.
    p.assign(tensor(values(count(p.shape), i).map((v) => around + v / 20), p.shape, { device }))
  })
  await realize(...named.map(([, p]) => p))
  const timesteps = Float32Array.from({ length: batch }, (_, i) => (389 * i + 557) % 1000)
  const traced = summary(new UNet2D(config, { device: metaDevice() }), shape, [batch])
  return {
    model, x: input(device, 1001, ...shape), target: input(device, 1002, ...shape), t: tensor(timesteps, [batch], { device }),
    flops: traced.flops, parameters: parameterCount(model),
  }
}

export function forwardSubject(unet: UNetSubject): Subject {
  return {
    name: `forward_${unet.name}`,
    async prepare(device) {
      const { model, x, t, flops, parameters } = await load(unet, device)
      return { flops, bytes: 4 * parameters, parameters, record: () => [model.call(x, t)] }
    },
  }
}

export function trainStepSubject(unet: UNetSubject): Subject {
  return {
    name: `train_step_${unet.name}`,
    async prepare(device) {
      const { model, x, target, t, flops, parameters } = await load(unet, device)
      const trained = namedParameters(model)
      const optimizer = new AdamW(trained, { lr: 1e-4, maxNorm: 1 })
      // Weights, read forward and backward, and their gradients; parameters and moments are read and written.
      return {
        flops: 3 * flops, bytes: 4 * 10 * parameters, parameters,
        record() {
          const { value, grads } = valueAndGrad(mseLoss(model.call(x, t), target), trained)
          return [value, optimizer.update(grads)]
        },
      }
    },
  }
}
