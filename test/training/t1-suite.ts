/** A multilayer perceptron learns a spiral as PyTorch's did, step by step, and samples the same points. */
import { expect, test } from 'vitest'
import { denoiserOf } from '../../diffusion/denoiser.ts'
import type { Denoiser, Network } from '../../diffusion/denoiser.ts'
import { epsPrediction } from '../../diffusion/parameterization.ts'
import { discretePath } from '../../diffusion/paths/discrete.ts'
import { leading, levels } from '../../diffusion/paths/levels.ts'
import { sample } from '../../diffusion/sample.ts'
import { ddim } from '../../diffusion/samplers/ancestral.ts'
import { timestepEmbedding } from '../../diffusion/timestep.ts'
import { concat, linear, silu, tensor, withValues } from '../../engine/index.ts'
import type { Device, Tensor, Variable } from '../../engine/index.ts'
import { expectSameCourse, expectSameEnd, follow, normalAt, parametersOf, readOracle, uniformAt } from './trajectory.ts'

const oracle = await readOracle('t1_mlp_eps_adamw')

const spiral = Float32Array.from({ length: 1024 }, (_, i) => {
  const v = (Math.floor(i / 2) + 0.5) / 512
  const [r, theta] = [0.2 + 0.8 * v, 4 * Math.PI * v]
  return r * (i % 2 === 0 ? Math.cos(theta) : Math.sin(theta))
})

function start(device: Device): { network: Network; parameters: Record<string, Variable> } {
  const parameters = parametersOf(oracle, device, (ordinal, name, shape) => {
    const scale = name.endsWith('bias') ? 0.05 : 1 / Math.sqrt(shape[1] ?? 1)
    return (i) => (2 * uniformAt(ordinal, i) - 1) * scale
  })
  const layer = (n: number, x: Tensor): Tensor => {
    const [weight, bias] = [parameters[`l.${n}.weight`], parameters[`l.${n}.bias`]]
    if (weight === undefined || bias === undefined) throw new RangeError(`no layer ${n}`)
    return linear(x, weight, bias)
  }
  const width = (parameters['l.0.weight']?.shape[1] ?? 0) - 2
  // The oracle's embedding is [sin, cos], ours [cos, sin]: the halves change places.
  const network: Network = (x, t) => {
    const [cos, sin] = timestepEmbedding(t, width).split(2, 1)
    if (cos === undefined || sin === undefined) throw new RangeError('two halves')
    let h = concat([x, sin, cos], 1)
    for (let n = 0; n < 3; n++) h = silu(layer(n, h))
    return layer(3, h)
  }
  return { network, parameters }
}

/** All steps, the state that they end in and samples drawn from it; or the first `steps`. */
export function testT1(device: Device, steps: number = oracle.config.steps): void {
  test(`${steps} steps on ${device.name}`, { timeout: 600_000 }, async () => {
    const { network, parameters } = start(device)
    const recorded = await follow(oracle, { network, parameters, device, data: { shape: [2], values: spiral }, steps })
    expectSameCourse(recorded, oracle.f64)
    if (steps < oracle.config.steps) return
    await expectSameEnd(recorded.optimizer, oracle.f64)
    await expectSameSamples(device, network, recorded.optimizer.averages[0]?.values ?? new Map())
  })
}

async function expectSameSamples(device: Device, network: Network, values: ReadonlyMap<Variable, Variable>): Promise<void> {
  const path = discretePath()
  const denoise = denoiserOf(network, epsPrediction())
  const noisy = tensor(Float32Array.from({ length: 32 }, (_, i) => normalAt(99999, i)), [16, 2], { device })
  const averaged: Denoiser = (...asked) => withValues(values, () => denoise(...asked))
  const x = await sample(averaged, { path, levels: levels(path, 10, leading()), sampler: ddim(), shape: [2], seeds: Array.from({ length: 16 }, (_, i) => i), from: { noisy } })
  const samples = [...(await x.data())]
  samples.forEach((v, i) => expect(Math.abs(v - (oracle.f64.ddim_sample?.[i] ?? Number.NaN)), `coordinate ${i}`).toBeLessThan(2e-3))
}
