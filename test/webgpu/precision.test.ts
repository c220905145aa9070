/** Mixed precision on the WebGPU device: products run on f16 operands, losses follow those of f32, and the scale what gradients bear. */
import { afterAll, expect, inject, test } from 'vitest'
import { RandomGenerator, device, explain, mean, mul, realize, scaledDotProductAttention, silu, sub, tensor, valueAndGrad } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../../engine/index.ts'
import { AdamW, Conv2d, GroupNorm, LayerNorm, Linear, LossScaler, Module, Sequential, mixedPrecision, namedParameters } from '../../nn/index.ts'
import type { LayerOptions } from '../../nn/index.ts'

const gpu = await device('webgpu', { makeDefault: false })
const reference = await device('reference', { makeDefault: false })
afterAll(async () => Promise.all([gpu.close(), reference.close()]))

const wave = (on: Device, shape: readonly number[], scale: number, phase = 0): Tensor => tensor(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => scale * Math.sin(phase + 0.7 * i)), shape, { device: on })

class Activation extends Module<[TensorLike], Tensor> {
  forward(x: TensorLike): Tensor {
    return silu(x)
  }
}

class Convolutional extends Module<[TensorLike], Tensor> {
  readonly conv: Conv2d
  readonly norm: GroupNorm
  readonly head: Linear

  constructor(options: LayerOptions) {
    super()
    this.conv = new Conv2d(2, 8, 3, { ...options, padding: 1 })
    this.norm = new GroupNorm(2, 8, options)
    this.head = new Linear(8, 3, options)
  }

  forward(x: TensorLike): Tensor {
    const h = silu(this.norm.call(this.conv.call(x))).reshape([4, 8, 16]).transpose(1, 2)
    return this.head.call(scaledDotProductAttention(h, h, h))
  }
}

const models: Readonly<Record<string, { readonly make: (options: LayerOptions) => Module<[TensorLike], Tensor>; readonly input: readonly number[]; readonly output: readonly number[]; readonly products: number }>> = {
  perceptron: {
    make: (options) => new Sequential(new Linear(32, 32, options), new LayerNorm(32, options), new Activation(), new Linear(32, 32, options)),
    input: [64, 32], output: [64, 32], products: 5,
  },
  // Its kernels take a software GPU long to compile.
  ...(inject('thorough') ? { convolutional: { make: (options: LayerOptions) => new Convolutional(options), input: [4, 2, 4, 4], output: [4, 16, 3], products: 6 } } : {}),
}
const steps = 14
/** Its input is so large that products overflow f16. */
const planted = 6

test.each(Object.entries(models))('a %s learns in f16', async (_, { make, input, output, products }) => {
  const run = async (half: boolean): Promise<{ losses: number[]; scales: number[]; plan: string; weights: number[] }> => {
    const on = half ? gpu : reference
    const model = make({ device: on, generator: new RandomGenerator(5) })
    if (half) mixedPrecision(model, 'f16')
    const parameters = namedParameters(model)
    const optimizer = new AdamW(parameters, { lr: 1e-2 })
    const scaler = new LossScaler({ device: on, initialScale: 2 ** 10, growthInterval: 4 })
    const [losses, scales]: [number[], number[]] = [[], []]
    let plan = ''
    for (let k = 0; k < steps; k++) {
      if (k === planted && !half) continue // There it would not overflow.
      const error = sub(model.call(wave(on, input, k === planted ? 1e6 : 1)), wave(on, output, 1, 2))
      const loss = mean(mul(error, error))
      const { value, grads } = valueAndGrad(scaler.scale(loss), parameters)
      if (k === 0 && half) plan = (await explain(value, ...Object.values(grads))).map(({ text }) => text).join('\n')
      scaler.update(optimizer.update(grads, { lossScale: scaler.factor }))
      await realize(loss)
      if (k !== planted) losses.push(await loss.item())
      scales.push(Math.log2(await scaler.factor.item()))
    }
    return { losses, scales, plan, weights: (await Promise.all(Object.values(parameters).map(async (p) => [...(await p.data())]))).flat() }
  }
  const [single, half] = [await run(false), await run(true)]
  const kernels = half.plan.split('\n').filter((line) => /\[(matmul|conv|attention)/.test(line))
  expect(kernels.length).toBeGreaterThanOrEqual(products)
  expect(kernels.filter((line) => !line.includes(', f16'))).toEqual([])
  expect(half.plan).not.toContain('widen for')

  expect(half.scales).toEqual([10, 10, 10, 11, 11, 11, 10, 10, 10, 10, 11, 11, 11, 11])
  expect(half.weights.every(Number.isFinite)).toBe(true)
  expect(half.losses.length).toBe(single.losses.length)
  half.losses.forEach((loss, k) => expect(Math.abs(loss / (single.losses[k] ?? Number.NaN) - 1), `step ${k}: ${loss}`).toBeLessThan(2 ** -7))
  expect(half.losses[0]).not.toBe(single.losses[0]) // Rounded it is.
  expect(half.losses.at(-1)).toBeLessThan(0.9 * (half.losses[0] ?? 0))
})
