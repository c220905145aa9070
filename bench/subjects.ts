/** The subjects: products, convolutions, norms, attention, the optimiser, an elementwise chain, and steps of two UNets. */
import { conv2d, customGradient, grad, groupNorm, matmul, mul, realize, scaledDotProductAttention, silu, sum, transpose } from '../engine/index.ts'
import type { Device, Tensor, Variable } from '../engine/index.ts'
import { AdamW, EMA } from '../nn/index.ts'
import type { Subject } from './subject.ts'
import { forwardSubject, trainStepSubject, unets } from './unets.ts'
import { count, input } from './values.ts'

/** y, and what its gradient g makes the gradients of the inputs. */
function withGradients(y: Tensor, g: Variable, inputs: readonly Variable[]): Tensor[] {
  const loss = customGradient([y], (t) => sum(t), () => [g.read()])
  return [y, ...grad(loss, inputs)]
}

/** a·b, aᵀ·b, a·bᵀ or aᵀ·bᵀ of n × n matrices. */
export function matmulSubject(n: number, mode: '' | 'aTb' | 'abT' | 'aTbT' = ''): Subject {
  return {
    name: `matmul_f32_${n}${mode === '' ? '' : `_${mode}`}`,
    prepare(device) {
      const [a, b] = [input(device, 1, n, n), input(device, 2, n, n)]
      const [left, right] = [mode.startsWith('aT'), mode.endsWith('bT')]
      return { flops: 2 * n ** 3, bytes: 12 * n ** 2, record: () => [matmul(left ? transpose(a, 0, 1) : a, right ? transpose(b, 0, 1) : b)] }
    },
  }
}

interface ConvSizes {
  readonly batch: number
  readonly channels: number
  /** Height and width. */
  readonly size: number
  readonly out: number
}

/** 3×3, padded; with the gradients of x, weight and bias if `backward`. */
export function convSubject({ batch, channels, size, out }: ConvSizes, backward: boolean): Subject {
  return {
    name: `conv2d_3x3_N${batch}_C${channels}_${size}x${size}_O${out}_forward${backward ? '_backward' : ''}`,
    prepare(device) {
      const [x, weight, bias, g] = [input(device, 1, batch, channels, size, size), input(device, 2, out, channels, 3, 3), input(device, 3, out), input(device, 4, batch, out, size, size)]
      const forward = (): Tensor => conv2d(x, weight, { bias, padding: 1 })
      // Forward reads x and writes y; backward reads both x and g, and writes the gradient of x.
      const [read, written] = [count(x.shape), count(g.shape)]
      return {
        flops: (backward ? 3 : 1) * 2 * written * channels * 9,
        bytes: 4 * (read + written + (backward ? 2 * read + written : 0)),
        record: () => (backward ? withGradients(forward(), g, [x, weight, bias]) : [forward()]),
      }
    },
  }
}

/** Group norm and SiLU, with gradients. */
export function groupNormSubject(groups: number, batch: number, channels: number, size: number): Subject {
  return {
    name: `group_norm${groups}_silu_forward_backward_N${batch}_C${channels}_${size}x${size}`,
    prepare(device) {
      const [x, g] = [input(device, 1, batch, channels, size, size), input(device, 4, batch, channels, size, size)]
      const [weight, bias] = [input(device, 2, channels), input(device, 3, channels)]
      // Forward reads x and writes y; backward reads x and g and writes the gradient of x. An exponential counts as one.
      return { flops: 30 * count(x.shape), bytes: 20 * count(x.shape), record: () => withGradients(groupNorm(x, groups, weight, bias, { silu: true }), g, [x, weight, bias]) }
    },
  }
}

export function attentionSubject(batch: number, heads: number, length: number, size: number): Subject {
  return {
    name: `attention_forward_backward_B${batch}_H${heads}_T${length}_D${size}`,
    prepare(device) {
      const [q, k, v, g] = [1, 2, 3, 4].map((seed) => input(device, seed, batch, heads, length, size)) as [Variable, Variable, Variable, Variable]
      // Two products forward, four backward; the scores, which have to be had again, are not counted twice.
      return { flops: 6 * 2 * batch * heads * length ** 2 * size, bytes: 48 * count(q.shape), record: () => withGradients(scaledDotProductAttention(q, k, v), g, [q, k, v]) }
    },
  }
}

/** AdamW with clipping by the norm of all gradients and a moving average of the parameters, in one pass. */
export const adamWSubject: Subject = {
  name: 'adamw_fused_10M_514_tensors',
  async prepare(device) {
    const shapes = [...Array<number[]>(8).fill([1000, 1000]), ...Array<number[]>(6).fill([500, 500]), ...Array<number[]>(500).fill([1000])]
    const named = (seed: number): [string, Variable][] => shapes.map((shape, i) => [`p${i}`, input(device, seed + i, ...shape)])
    const parameters = Object.fromEntries(named(0))
    const variables = named(shapes.length)
    await realize(...variables.map(([, g]) => g)) // Until then what is read is the host's data.
    const gradients = Object.fromEntries(variables.map(([name, g]) => [name, g.read()]))
    const optimizer = new AdamW(parameters, { lr: 1e-4, maxNorm: 1, ema: new EMA(parameters) })
    const size = count(...shapes)
    // The gradients twice, for the norm and for the step; parameters, two moments and the average are read and written.
    return { flops: 20 * size, bytes: 40 * size, parameters: size, record: () => [optimizer.update(gradients)] }
  },
}

/** silu(x·1.5 + y)·y of `millions` · 2²⁰ numbers. */
export function chainSubject(millions: number): Subject {
  return {
    name: `elementwise_chain_${millions}M`,
    prepare(device: Device) {
      const [x, y] = [input(device, 1, millions * 2 ** 20), input(device, 2, millions * 2 ** 20)]
      return { flops: 7 * count(x.shape), bytes: 12 * count(x.shape), record: () => [mul(silu(x.mul(1.5).add(y)), y)] }
    },
  }
}

const modes = ['', 'abT', 'aTb', 'aTbT'] as const
const large: readonly ConvSizes[] = [
  { batch: 8, channels: 64, size: 32, out: 64 },
  { batch: 1, channels: 64, size: 256, out: 128 },
  { batch: 4, channels: 320, size: 64, out: 320 },
]
const few: readonly ConvSizes[] = [
  { batch: 8, channels: 4, size: 32, out: 16 },
  { batch: 8, channels: 16, size: 32, out: 16 },
  { batch: 1, channels: 4, size: 256, out: 16 },
  { batch: 1, channels: 16, size: 256, out: 16 },
  { batch: 8, channels: 3, size: 64, out: 64 },
]

export const subjects: readonly Subject[] = [
  ...[512, 1024, 2048].flatMap((n) => modes.map((mode) => matmulSubject(n, mode))),
  ...large.flatMap((sizes) => [convSubject(sizes, false), convSubject(sizes, true)]),
  ...few.map((sizes) => convSubject(sizes, true)),
  groupNormSubject(8, 8, 64, 32),
  attentionSubject(4, 4, 256, 32),
  attentionSubject(2, 8, 1024, 64),
  adamWSubject,
  chainSubject(16),
  ...unets.flatMap((unet) => [trainStepSubject(unet), forwardSubject(unet)]),
]

/** What is measured on a device: on GPUs larger products, too. */
export function subjectsOf(device: 'cpu' | 'webgpu'): readonly Subject[] {
  return device === 'cpu' ? subjects : [...modes.map((mode) => matmulSubject(4096, mode)), ...subjects]
}
