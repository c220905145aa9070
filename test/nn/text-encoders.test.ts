/** Text encoders built from the modules: names, outputs, loss and gradients against transformers' CLIP and T5. */
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { mean, mul, realize, tensor, valueAndGrad } from '../../engine/index.ts'
import type { Shape, Tensor, TensorLike } from '../../engine/index.ts'
import { sizeOf } from '../../engine/shape.ts'
import { namedParameters } from '../../nn/index.ts'
import type { LayerOptions, Module } from '../../nn/index.ts'
import { closeAll, onEach, openAll } from '../devices.ts'
import { ClipText, ClipTextWithProjection, T5Encoder, relativeBucket } from './text-encoders.ts'
import type { ClipConfig, T5Config } from './text-encoders.ts'

interface Golden {
  readonly config: ClipConfig & T5Config
  readonly state_dict_order: readonly (readonly [name: string, shape: Shape])[]
  readonly untouched_buffers: readonly string[]
  readonly out_shape: Shape
  readonly out: readonly number[]
  readonly loss: number
  readonly grads_sum_abssum: Readonly<Record<string, readonly [sum: number, absolute: number]>>
}

const devices = await openAll()
afterAll(async () => closeAll(devices))

const clipIds = [[0, 5, 7, 9, 31, 31, 31, 31], [0, 3, 4, 31, 31, 31, 31, 31]]
type Make = (config: ClipConfig & T5Config, options: LayerOptions) => Module<[TensorLike], Tensor>
const cases: readonly (readonly [file: string, ids: number[][], make: Make])[] = [
  ['clip_text_tiny_gelu', clipIds, (config, options) => new ClipText(config, options)],
  ['clip_text_tiny_quick_gelu', clipIds, (config, options) => new ClipText(config, options)],
  ['clip_text_proj_tiny', clipIds, (config, options) => new ClipTextWithProjection(config, options)],
  ['t5_encoder_tiny', [[3, 4, 5, 6, 7, 8, 1, 0]], (config, options) => new T5Encoder(config, options)],
]

/** The weights that the oracle's formula gives entry p. */
function weights(name: string, shape: Shape, p: number): Float32Array<ArrayBuffer> {
  const wave = (i: number): number => Math.sin(0.1 + 0.37 * i + 1.3 * p)
  const scale = 1 / Math.sqrt(sizeOf(shape.slice(1)))
  return Float32Array.from({ length: sizeOf(shape) }, (_, i) => (shape.length > 1 ? scale * wave(i) : name.endsWith('.weight') ? 1 + 0.1 * wave(i) : 0.05 * wave(i)))
}

describe.each(cases)('%s', (file, ids, make) => {
  const golden = JSON.parse(readFileSync(new URL(`../oracles/golden/${file}.json`, import.meta.url), 'utf8')) as Golden

  onEach(devices, 'names, values and gradients', async (device) => {
    const model = make(golden.config, { device })
    const state = model.stateDict()
    expect(Object.keys(state).toSorted()).toEqual([...golden.state_dict_order.map(([name]) => name), ...golden.untouched_buffers].toSorted())
    golden.state_dict_order.forEach(([name, shape], p) => {
      if (!golden.untouched_buffers.includes(name)) state[name]?.assign(tensor(weights(name, shape, p), shape, { device }))
    })

    const out = model.call(tensor(Int32Array.from(ids.flat()), [ids.length, ids[0]?.length ?? 0], { device }))
    expect(out.shape).toEqual(golden.out_shape)
    const cotangent = tensor(Float32Array.from({ length: out.size }, (_, i) => Math.cos(0.2 + 0.61 * i)), out.shape, { device })
    const { value, grads } = valueAndGrad(mean(mul(out, cotangent)), namedParameters(model))
    await realize(out, value, ...Object.values(grads))

    const got = await out.data()
    golden.out.forEach((want, i) => expect(Math.abs((got[i] ?? Number.NaN) - want), `out[${i}]`).toBeLessThan(2e-4))
    expect(await value.item()).toBeCloseTo(golden.loss, 4)
    expect(Object.keys(grads).toSorted()).toEqual(Object.keys(golden.grads_sum_abssum).toSorted())
    const largest = Math.max(...Object.values(golden.grads_sum_abssum).map(([, absolute]) => absolute))
    for (const [name, [, want]] of Object.entries(golden.grads_sum_abssum)) {
      if (want < 1e-6 * largest) continue
      const absolute = [...((await grads[name]?.data()) ?? [])].reduce((sum, x) => sum + Math.abs(x), 0)
      expect(Math.abs(absolute - want), `gradient of ${name}: ${absolute} for ${want}`).toBeLessThan(1e-3 * want)
    }
  })
})

test('distances fall into buckets as in T5: eight to each side of sixteen, the far ones logarithmically', () => {
  expect([-40, -20, -5, -4, -3, -1, 0, 1, 3, 4, 5, 20, 40].map((d) => relativeBucket(d, 16, 32))).toEqual([7, 7, 4, 4, 3, 1, 0, 9, 11, 12, 12, 15, 15])
})
