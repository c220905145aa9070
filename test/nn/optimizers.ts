/** Every optimiser with each of its numbers changing from step to step, for tests of what they share. */
import { scalar, tensor, variable } from '../../engine/index.ts'
import type { Device, Tensor, Variable } from '../../engine/index.ts'
import { Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lion, Muon, NAdam, RAdam, RMSprop, SGD } from '../../nn/index.ts'
import type { Optimizer, OptimizerOptions } from '../../nn/index.ts'

export type Named = Readonly<Record<string, Variable>>

/** Numbers fall by a half over the first steps. */
const falling = (x: number) => (k: number): number => x * (1 - 0.5 * Math.min(1, k / 10))
const betas = [falling(0.9), falling(0.99)] as const
const decay = { weightDecay: falling(0.02) }

export const optimizers: Readonly<Record<string, (parameters: Named, options?: OptimizerOptions) => Optimizer>> = {
  SGD: (p, o) => new SGD(p, { lr: falling(0.1), momentum: falling(0.9), dampening: falling(0.2), ...decay, ...o }),
  Adam: (p, o) => new Adam(p, { lr: falling(0.1), betas, eps: falling(1e-6), ...decay, ...o }),
  'Adam, AMSGrad': (p, o) => new Adam(p, { lr: falling(0.1), betas, eps: falling(1e-6), amsgrad: true, ...decay, ...o }),
  AdamW: (p, o) => new AdamW(p, { lr: falling(0.1), betas, eps: falling(1e-6), ...decay, ...o }),
  RMSprop: (p, o) => new RMSprop(p, { lr: falling(0.03), alpha: falling(0.99), eps: falling(1e-6), momentum: falling(0.5), centered: true, ...decay, ...o }),
  Adagrad: (p, o) => new Adagrad(p, { lr: falling(0.5), lrDecay: falling(0.01), eps: falling(1e-6), ...decay, ...o }),
  Adadelta: (p, o) => new Adadelta(p, { lr: falling(2), rho: falling(0.9), eps: falling(1e-3), ...decay, ...o }),
  Adamax: (p, o) => new Adamax(p, { lr: falling(0.1), betas, eps: falling(1e-6), ...decay, ...o }),
  NAdam: (p, o) => new NAdam(p, { lr: falling(0.1), betas, eps: falling(1e-6), momentumDecay: falling(0.01), ...decay, ...o }),
  RAdam: (p, o) => new RAdam(p, { lr: falling(0.2), betas: [falling(0.9), falling(0.97)], eps: falling(1e-6), ...decay, ...o }),
  Adafactor: (p, o) => new Adafactor(p, { lr: falling(0.2), beta2Decay: falling(-0.8), eps: [falling(1e-6), falling(1e-2)], d: falling(2), ...decay, ...o }),
  Lion: (p, o) => new Lion(p, { lr: falling(0.03), betas, ...decay, ...o }),
  Muon: (p, o) => new Muon(Object.entries(p).map(([name, v]) => ({ parameters: { [name]: v }, lr: falling(0.1), ...decay, ...(v.shape.length > 1 ? { momentum: falling(0.9), eps: falling(1e-6) } : { useMuon: false, betas }) })), o),
}

/** A convolution's weight and a bias, with values that differ. */
export function parametersOn(device: Device): { readonly w: Variable; readonly b: Variable } {
  const wave = (n: number, phase: number): Float32Array<ArrayBuffer> => Float32Array.from({ length: n }, (_, i) => Math.sin(1.7 * i + phase) + 0.3)
  return { w: variable(tensor(wave(12, 0.1), [3, 2, 1, 2], { device })), b: variable(tensor(wave(3, 0.8), [3], { device })) }
}

/** Gradients of step k, which the parameters have no part in. */
export function gradientsAt(k: number, device: Device, factor = 1): { readonly w: Tensor; readonly b: Tensor } {
  const wave = (n: number, phase: number): Float32Array<ArrayBuffer> => Float32Array.from({ length: n }, (_, i) => factor * Math.cos(0.9 * i + 1.1 * k + phase))
  return { w: tensor(wave(12, 0.2), [3, 2, 1, 2], { device }), b: tensor(wave(3, 0.5), [3], { device }) }
}

export const number = (x: number, device: Device): Tensor => scalar(x, { device })

/** The values of variables, bit for bit comparable. */
export async function snapshot(variables: Named): Promise<Record<string, readonly number[]>> {
  return Object.fromEntries(await Promise.all(Object.entries(variables).map(async ([name, v]): Promise<[string, readonly number[]]> => [name, [...(await v.data())]])))
}
