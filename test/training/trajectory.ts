/** PyTorch's training runs in test/oracles/training, whose weights, data, timesteps and noise are formulas (see the README there). */
import { expect } from 'vitest'
import { diffusionLoss } from '../../diffusion/loss.ts'
import type { Network } from '../../diffusion/denoiser.ts'
import { discretePath } from '../../diffusion/paths/discrete.ts'
import { realize, tensor, valueAndGrad, variable } from '../../engine/index.ts'
import type { Device, Variable } from '../../engine/index.ts'
import { EMA } from '../../nn/ema.ts'
import { AdamW } from '../../nn/optim/adam.ts'
import { readJson } from '../read.ts'

type Pair = readonly [sum: number, abs: number]

interface Trajectory {
  readonly loss: readonly number[]
  readonly grad_norm: readonly number[]
  readonly params_final: Readonly<Record<string, Pair>>
  readonly ema_final: Readonly<Record<string, Pair>>
  readonly optimizer_state: Readonly<Record<string, { readonly exp_avg: Pair; readonly exp_avg_sq: Pair }>>
  readonly ddim_sample?: readonly number[]
}

export interface Oracle<Unet = unknown> {
  readonly config: {
    readonly unet: Unet
    readonly steps: number
    readonly batch: number
    readonly index: { readonly mul: number; readonly add: number }
    readonly t: { readonly mul_b: number; readonly mul_k: number; readonly add: number }
    readonly noise_stream: number
    readonly optimizer: { readonly betas: readonly [number, number]; readonly eps: number; readonly weight_decay: number }
    readonly clip?: number
    readonly ema: { readonly decay: number }
  }
  readonly params: readonly (readonly [name: string, shape: readonly number[]])[]
  readonly lr: readonly number[]
  readonly f64: Trajectory
}

export async function readOracle<Unet>(name: string): Promise<Oracle<Unet>> {
  return (await readJson(`test/oracles/training/${name}.json`)) as Oracle<Unet>
}

const mix = (x: number): number => {
  let y = x >>> 0
  y = Math.imul(y ^ (y >>> 16), 0x7feb352d)
  y = Math.imul(y ^ (y >>> 15), 0x846ca68b)
  return (y ^ (y >>> 16)) >>> 0
}
/** A 32-bit hash of stream `s` and index `i`. */
export const hash = (s: number, i: number): number => mix((mix(s) + Math.imul(i, 0x9e3779b9)) >>> 0)
export const uniformAt = (s: number, i: number): number => (hash(s, i) + 0.5) / 4294967296
export const normalAt = (s: number, i: number): number => Math.sqrt(-2 * Math.log(uniformAt(s, 2 * i))) * Math.cos(2 * Math.PI * uniformAt(s, 2 * i + 1))

/** The parameters as variables, with weights by formula: `weight(p, i)` of element i of parameter number p. */
export function parametersOf(oracle: Oracle, device: Device, weight: (ordinal: number, name: string, shape: readonly number[]) => (i: number) => number): Record<string, Variable> {
  return Object.fromEntries(oracle.params.map(([name, shape], ordinal) => {
    const at = weight(ordinal, name, shape)
    return [name, variable(tensor(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => at(i)), shape, { device }))]
  }))
}

export interface Data {
  /** Of one example. */
  readonly shape: readonly number[]
  readonly values: Float32Array
}

export interface Recorded {
  readonly loss: number[]
  readonly norm: number[]
  readonly optimizer: AdamW
}

/** The run's first `steps` steps. */
export async function follow(oracle: Oracle, { network, parameters, data, device, steps = oracle.config.steps }: { network: Network; parameters: Readonly<Record<string, Variable>>; data: Data; device: Device; steps?: number }): Promise<Recorded> {
  const { batch, index, t, noise_stream: stream, optimizer: adam, clip, ema } = oracle.config
  const path = discretePath()
  const optimizer = new AdamW(parameters, {
    lr: (k) => oracle.lr[k] ?? 0,
    betas: adam.betas,
    eps: adam.eps,
    weightDecay: adam.weight_decay,
    ema: new EMA(parameters, ema),
    ...(clip === undefined ? {} : { maxNorm: clip }),
  })
  const size = data.shape.reduce((n, d) => n * d, 1)
  const count = data.values.length / size
  const recorded: Recorded = { loss: [], norm: [], optimizer }
  for (let k = 0; k < steps; k++) {
    const rows = Array.from({ length: batch }, (_, b) => (index.mul * (k * batch + b) + index.add) % count)
    const x0 = Float32Array.from({ length: batch * size }, (_, i) => data.values[(rows[Math.floor(i / size)] ?? 0) * size + (i % size)] ?? 0)
    const eps = Float32Array.from(x0, (_, i) => normalAt(stream + k, i))
    const times = Int32Array.from(rows, (_, b) => (t.mul_b * b + t.mul_k * k + t.add) % 1000)
    const shape = [batch, ...data.shape]
    const loss = diffusionLoss(network, tensor(x0, shape, { device }), { path, t: tensor(times, null, { device }), eps: tensor(eps, shape, { device }) })
    const { value, grads } = valueAndGrad(loss, parameters)
    const norm = optimizer.update(grads)
    await realize(value, norm)
    recorded.loss.push(await value.item())
    recorded.norm.push(await norm.item())
  }
  return recorded
}

const relative = (got: number, want: number): number => Math.abs(got - want) / Math.abs(want)

/** Losses within 1e-5 of float64's for 20 steps and 1e-4 after, gradient norms within 2e-3. */
export function expectSameCourse(recorded: Recorded, { loss, grad_norm: norm }: Trajectory): void {
  recorded.loss.forEach((x, k) => expect(relative(x, loss[k] ?? Number.NaN), `loss of step ${k}: ${x} for ${loss[k]}`).toBeLessThan(k < 20 ? 1e-5 : 1e-4))
  recorded.norm.forEach((x, k) => expect(relative(x, norm[k] ?? Number.NaN), `norm of step ${k}: ${x} for ${norm[k]}`).toBeLessThan(2e-3))
}

async function absSum(v: Variable | undefined): Promise<number> {
  return v === undefined ? Number.NaN : [...(await v.data())].reduce((sum, x) => sum + Math.abs(x), 0)
}

/** Absolute sums after the last step within 2e-4; but softmax ignores key biases, whose gradients are rounding noise. */
export async function expectSameEnd(optimizer: AdamW, end: Trajectory): Promise<void> {
  const { parameters, averages: [ema] } = optimizer
  const state = optimizer.stateDict()
  for (const name of Object.keys(parameters).filter((n) => !n.endsWith('to_k.bias'))) {
    const pairs: [what: string, got: Variable | undefined, want: Pair | undefined, tolerance: number][] = [
      ['parameter', parameters[name], end.params_final[name], 2e-4],
      ['average', ema?.average[name], end.ema_final[name], 2e-4],
      ['first moment', state[`exp_avg.${name}`], end.optimizer_state[name]?.exp_avg, 2e-2],
      ['second moment', state[`exp_avg_sq.${name}`], end.optimizer_state[name]?.exp_avg_sq, 2e-2],
    ]
    for (const [what, got, want, tolerance] of pairs) expect(relative(await absSum(got), want?.[1] ?? Number.NaN), `${what} ${name}`).toBeLessThan(tolerance)
  }
}
