/**
 * The configuration of UNet2D: the keys and defaults of diffusers' UNet2DModel, as its config.json has them. What the
 * network does not compute is refused, for the weights would load all the same.
 */
import { ConfigError } from '../engine/index.ts'
import { at } from '../engine/shape.ts'

/** Keys of which the network computes one value, with the ways to write it; left out, they mean the first. */
const fixed = {
  _class_name: ['UNet2DModel'],
  center_input_sample: [false],
  time_embedding_type: ['positional'],
  flip_sin_to_cos: [true],
  freq_shift: [0],
  class_embed_type: [null],
  num_class_embeds: [null],
  act_fn: ['silu', 'swish'],
  norm_eps: [1e-5],
  resnet_time_scale_shift: ['default'],
  dropout: [0],
  downsample_type: ['conv', null],
  upsample_type: ['conv', null],
  downsample_padding: [1],
  mid_block_type: ['UNetMidBlock2D'],
  mid_block_scale_factor: [1],
  add_attention: [true],
} as const

const downTypes = ['DownBlock2D', 'AttnDownBlock2D'] as const
const upTypes = ['UpBlock2D', 'AttnUpBlock2D'] as const

type Fixed = { readonly [Key in keyof typeof fixed]?: (typeof fixed)[Key][number] }

export interface UNet2DConfig extends Fixed {
  /** Height and width of the images, for whoever samples; the network takes any that its downsampling divides. */
  readonly sample_size?: number | readonly [height: number, width: number] | null
  readonly in_channels: number
  readonly out_channels: number
  /** Channels of each stage, from the finest. */
  readonly block_out_channels: readonly number[]
  /** Residual blocks a stage on the way down; one more on the way up. */
  readonly layers_per_block: number
  readonly norm_num_groups: number
  /** A stage each, from the finest. */
  readonly down_block_types: readonly (typeof downTypes)[number][]
  /** A stage each, from the coarsest. */
  readonly up_block_types: readonly (typeof upTypes)[number][]
  /** Channels of one attention head; null for a single head of all channels. */
  readonly attention_head_dim: number | null
  /** Size of the time embedding: four times the channels of the first stage, and so far nothing else. */
  readonly time_embedding_dim?: number | null
  /** Groups of the group norm before the attention in the middle: `norm_num_groups`, and so far nothing else. */
  readonly attn_norm_num_groups?: number | null
  /** Means something to learned time embeddings only, which are none of these. */
  readonly num_train_timesteps?: number | null
  readonly _diffusers_version?: string
  readonly _name_or_path?: string
}

/** Keys of which any value will do: what becomes of them is seen from the other checks, or is nothing to the network. */
const free: readonly string[] = [
  'sample_size', 'in_channels', 'out_channels', 'block_out_channels', 'layers_per_block', 'norm_num_groups', 'down_block_types', 'up_block_types',
  'attention_head_dim', 'num_train_timesteps', '_diffusers_version', '_name_or_path',
] satisfies (keyof UNet2DConfig)[]

/** Whether a stage of that type has attention. */
export const attends = (type: string): boolean => type.startsWith('Attn')

/** Throws ConfigError for a configuration that contradicts itself, or that means another network than this one. */
export function checkConfig(config: UNet2DConfig): void {
  checkValues(config)
  const { block_out_channels: channels, down_block_types: down, up_block_types: up, norm_num_groups: groups, attention_head_dim: headSize } = config
  if (channels.length === 0 || down.length !== channels.length || up.length !== channels.length) {
    throw new ConfigError(`UNet2D: there are ${channels.length} stages of channels, ${down.length} down and ${up.length} up blocks; give one of each per stage`)
  }
  for (const [list, types] of [[down, downTypes], [up, upTypes]] as const) {
    for (const type of list) if (!types.some((known) => known === type)) throw new ConfigError(`UNet2D: block type ${type} is not one of ${types.join(', ')}`)
  }
  for (const c of channels) if (c % groups !== 0) throw new ConfigError(`UNet2D: ${c} channels do not divide into ${groups} groups; choose norm_num_groups that divides every stage`)
  const deepest = channels.length - 1
  for (const [i, c] of channels.entries()) {
    const attention = i === deepest || attends(at(down, i)) || attends(at(up, deepest - i)) // The middle has it, too.
    if (attention && headSize !== null && c % headSize !== 0) throw new ConfigError(`UNet2D: ${c} channels do not divide into heads of ${headSize}; choose attention_head_dim that divides every stage with attention and the last, or null for one head`)
  }
}

/** Each key by itself. All that would make another network are named at once. */
function checkValues(config: UNet2DConfig): void {
  const { block_out_channels: channels, norm_num_groups: groups, attention_head_dim: headSize } = config
  for (const key of ['block_out_channels', 'down_block_types', 'up_block_types'] as const) {
    if (!Array.isArray(config[key])) throw new ConfigError(`UNet2D: ${key} is ${said(config[key])}; give a list with an item for each stage`)
  }
  const counts = [...(['in_channels', 'out_channels', 'layers_per_block', 'norm_num_groups'] as const).map((key) => [key, config[key]] as const), ...channels.map((c) => ['block_out_channels', c] as const)]
  for (const [key, count] of counts) if (!isCount(count)) throw new ConfigError(`UNet2D: ${key} is ${said(count)}; use a positive integer`)
  if (headSize !== null && !isCount(headSize)) throw new ConfigError(`UNet2D: attention_head_dim is ${said(headSize)}; use a positive integer, or null for one head`)
  const taken = new Map<string, readonly unknown[]>(Object.entries({ ...fixed, time_embedding_dim: [null, 4 * at(channels, 0)], attn_norm_num_groups: [null, groups] }))
  const others = Object.entries(config).flatMap(([key, value]) => {
    const values = taken.get(key)
    if (value === undefined || free.includes(key) || values?.includes(value) === true) return []
    return [`${key} is ${said(value)} (${values === undefined ? 'a key that it does not know' : `it takes ${values.map(said).join(' or ')}`})`]
  })
  if (others.length > 0) throw new ConfigError(`UNet2D: the configuration asks for what this network does not compute: ${others.join(', ')}; use weights that were trained without it, and leave out keys that have no part in it`)
}

const isCount = (value: unknown): boolean => Number.isInteger(value) && Number(value) > 0
const said = (value: unknown): string => JSON.stringify(value) ?? String(value)
