/** Mixed precision: which types meet where, what stays f32, and the scale that follows what gradients bear. */
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError, DTypeError, cast, device as openDevice, grad, linear, mean, mul, realize, scaledDotProductAttention, silu, sub, sum, tensor, valueAndGrad, variable } from '../../engine/index.ts'
import type { DType, Device, Tensor, TensorLike } from '../../engine/index.ts'
import { AdamW, Conv2d, GroupNorm, Linear, LossScaler, Module, SGD, Sequential, mixedPrecision, namedParameters } from '../../nn/index.ts'
import type { HalfType, LayerOptions } from '../../nn/index.ts'

const reference = await openDevice('reference', { makeDefault: false })
const cpu = await openDevice('cpu', { makeDefault: false, threads: 1 })
afterAll(async () => Promise.all([reference.close(), cpu.close()]))

/** Where each type exists. */
const places: readonly (readonly [string, Device, HalfType])[] = [['f16 on reference', reference, 'f16'], ['bf16 on reference', reference, 'bf16'], ['bf16 on cpu', cpu, 'bf16']]

const wave = (device: Device, ...shape: number[]): Tensor => tensor(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(1 + 0.7 * i)), shape, { device })

/** Convolution, norm, SiLU, attention over positions, linear layer; notes the types it meets. */
class Small extends Module<[TensorLike], Tensor> {
  readonly conv: Conv2d
  readonly norm: GroupNorm
  readonly head: Linear
  readonly #seen: Record<string, DType>

  constructor(options: LayerOptions, seen: Record<string, DType>) {
    super()
    this.conv = new Conv2d(3, 8, 3, { ...options, padding: 1 })
    this.norm = new GroupNorm(2, 8, options)
    this.head = new Linear(8, 4, options)
    this.#seen = seen
  }

  forward(x: TensorLike): Tensor {
    const note = (name: string, t: Tensor): Tensor => {
      this.#seen[name] = t.dtype
      return t
    }
    const h = silu(note('norm', this.norm.call(note('conv', this.conv.call(x))))).reshape([2, 8, 16]).transpose(1, 2)
    return note('head', this.head.call(note('attention', scaledDotProductAttention(h, h, h))))
  }
}

async function values(...list: readonly Tensor[]): Promise<number[][]> {
  await realize(...list)
  return Promise.all(list.map(async (t) => [...(await t.data())]))
}

function distance(x: readonly number[] = [], y: readonly number[] = []): number {
  const largest = Math.max(...y.map(Math.abs))
  return Math.max(...x.map((v, i) => Math.abs(v - (y[i] ?? Number.NaN)))) / largest
}

describe.each(places)('%s', (_, device, type) => {
  test('layers multiply and store in it, results and gradients are f32 and near those of f32', async () => {
    const seen: Record<string, DType> = {}
    const model = new Small({ device }, seen)
    const x = wave(device, 2, 3, 4, 4)
    const parameters = namedParameters(model)
    const run = (): { value: Tensor; grads: Record<string, Tensor>; y: Tensor } => {
      const y = model.call(x)
      return { y, ...valueAndGrad(mean(mul(y, y)), parameters) }
    }
    const plain = run()
    expect(seen).toEqual({ conv: 'f32', norm: 'f32', attention: 'f32', head: 'f32' })
    const undo = mixedPrecision(model, type)
    const mixed = run()
    expect(seen).toEqual({ conv: type, norm: type, attention: type, head: type })
    expect([mixed.y, ...Object.values(mixed.grads), ...Object.values(parameters)].map((t) => t.dtype)).toEqual(new Array(13).fill('f32'))
    const want = await values(plain.y, ...Object.values(plain.grads))
    const got = await values(mixed.y, ...Object.values(mixed.grads))
    const [nearest, farthest] = type === 'f16' ? [2 ** -14, 2 ** -7] : [2 ** -11, 2 ** -4]
    got.forEach((list, i) => expect(distance(list, want[i]), `${i}`).toBeLessThan(farthest))
    expect(distance(got[0], want[0])).toBeGreaterThan(nearest) // Rounded it is.
    undo()
    model.call(x)
    expect(seen['conv']).toBe('f32')
    expect(device.productType).toBeUndefined()
  })

  test('what it does is casts: the same bits as written out', async () => {
    const layer = new Linear(5, 3, { device })
    mixedPrecision(layer, type)
    const x = wave(device, 2, 5)
    const half = (t: TensorLike): Tensor => cast(t, type)
    const [got, want] = await values(layer.call(x), cast(linear(half(x), half(layer.weight), half(layer.bias ?? x)), 'f32'))
    expect(got).toEqual(want)
  })

  test('norms sum in f32: squares beyond the range of f16 do no harm', async () => {
    const norm = new GroupNorm(1, 4, { device })
    const x = cast(mul(wave(device, 1, 4, 8), 600), type)
    const [y] = await values(cast(norm.call(x), 'f32'))
    expect(Math.max(...(y ?? []).map(Math.abs))).toBeLessThan(2)
    expect(y?.reduce((s, v) => s + v * v, 0)).toBeCloseTo(32, 0)
  })
})

test('a device without the type says so', () => {
  const layer = new Linear(2, 2, { device: cpu })
  mixedPrecision(layer, 'f16')
  expect(() => layer.call(wave(cpu, 1, 2))).toThrow(DTypeError)
  expect(() => layer.call(wave(cpu, 1, 2))).toThrow('withProductType: device cpu has no f16; it has f32, bf16, i32, u32, u8, bool')
  expect(cpu.productType).toBeUndefined()
})

test('a policy inside another holds for its own part, lists and records are widened', () => {
  const inner = new Linear(2, 2, { device: reference })
  const seen: DType[] = []
  class Outer extends Module<[TensorLike], { list: Tensor[]; n: number }> {
    readonly inner = inner
    readonly other = new Linear(2, 2, { device: reference })
    forward(x: TensorLike): { list: Tensor[]; n: number } {
      const list = [this.inner.call(x), this.other.call(x)]
      seen.push(...list.map((t) => t.dtype))
      return { list, n: 1 }
    }
  }
  const outer = new Outer()
  mixedPrecision(inner, 'bf16')
  mixedPrecision(outer, 'f16')
  const { list, n } = outer.call(wave(reference, 1, 2))
  expect([seen, list.map((t) => t.dtype), n]).toEqual([['f32', 'f16'], ['f32', 'f32'], 1])
})

test('what an instance of a class holds stays as it is', () => {
  class Output {
    readonly sample: Tensor
    constructor(sample: Tensor) {
      this.sample = sample
    }
  }
  class Wrapping extends Module<[TensorLike], { output: Output; bare: Record<string, Tensor> }> {
    readonly inner = new Linear(2, 2, { device: reference })
    forward(x: TensorLike): { output: Output; bare: Record<string, Tensor> } {
      const y = this.inner.call(x)
      return { output: new Output(y), bare: Object.assign(Object.create(null) as Record<string, Tensor>, { y }) }
    }
  }
  const model = new Wrapping()
  mixedPrecision(model, 'f16')
  const { output, bare } = model.call(wave(reference, 1, 2))
  expect([output instanceof Output, output.sample.dtype, bare['y']?.dtype]).toEqual([true, 'f16', 'f32'])
})

test('a part that is sensitive stays in f32', () => {
  const model = new Sequential(new Linear(2, 2, { device: reference }), new Linear(2, 2, { device: reference }), new Linear(2, 2, { device: reference }))
  const seen: DType[] = []
  for (const layer of Object.values(model)) if (layer instanceof Linear) Module.wrap(layer, (forward, x) => {
    const y = forward(x)
    seen.push(y.dtype)
    return y
  })
  mixedPrecision(model, 'f16')
  const second = model[1]
  if (second instanceof Linear) mixedPrecision(second, 'f32')
  model.call(wave(reference, 1, 2))
  expect(seen).toEqual(['f16', 'f32', 'f16'])
})

describe('loss scaling', () => {
  test('gradients too small for f16 survive it', async () => {
    const layer = new Linear(1, 1, { device: reference, bias: false })
    mixedPrecision(layer, 'f16')
    const scaler = new LossScaler({ device: reference })
    const loss = mul(sum(layer.call(wave(reference, 1, 1))), 1e-9)
    const [lost, kept] = await values(grad(loss, layer.weight), grad(scaler.scale(loss), layer.weight))
    expect(lost).toEqual([0])
    expect((kept?.[0] ?? 0) / 65536).toBeCloseTo(1e-9 * Math.sin(1), 12)
  })

  test('a step that overflows changes nothing but the factor, which falls until gradients fit and grows again after', async () => {
    const layer = new Linear(4, 4, { device: reference })
    mixedPrecision(layer, 'f16')
    const parameters = namedParameters(layer)
    const optimizer = new AdamW(parameters, { lr: 1e-2 })
    const scaler = new LossScaler({ device: reference, initialScale: 2 ** 18, growthInterval: 3 })
    const x = wave(reference, 8, 4)
    const trace: { factor: number; moved: boolean; skipped: number }[] = []
    for (let k = 0; k < 8; k++) {
      const before = await values(...Object.values(parameters).map((p) => p.read()))
      const { value, grads } = valueAndGrad(scaler.scale(sum(layer.call(x))), parameters)
      scaler.update(optimizer.update(grads, { lossScale: scaler.factor }))
      await realize(value)
      const after = await values(...Object.values(parameters).map((p) => p.read()))
      trace.push({ factor: await scaler.factor.item(), moved: JSON.stringify(before) !== JSON.stringify(after), skipped: await optimizer.skipped.item() })
    }
    // The bias's gradient is 8 · factor, which f16 holds below 65520: from 2¹² on.
    expect(trace.map(({ factor }) => Math.log2(factor))).toEqual([17, 16, 15, 14, 13, 12, 12, 12])
    expect(trace.map(({ moved }) => moved)).toEqual([false, false, false, false, false, false, true, true])
    expect(trace.map(({ skipped }) => skipped)).toEqual([1, 2, 3, 4, 5, 6, 6, 6])
    expect([await scaler.steady.item(), await optimizer.applied.item()]).toEqual([2, 2])
  })

  test('the factor grows after steady steps, in no new plan, and stops below infinity', async () => {
    const scaler = new LossScaler({ device: cpu, initialScale: 2 ** 126, growthInterval: 2 })
    const factors: number[] = []
    for (let k = 0; k < 6; k++) {
      if (k === 2) cpu.resetCounters()
      scaler.update(tensor(1, null, { device: cpu }))
      await realize(scaler.factor)
      factors.push(Math.log2(await scaler.factor.item()))
    }
    expect(factors).toEqual([126, 127, 127, 127, 127, 127])
    expect(cpu.counters.plansCompiled).toBe(0)
    expect(Object.keys(scaler.stateDict())).toEqual(['scale', 'growth_tracker'])
  })

  test.each([{ maxNorm: 0.5 }, { clipValue: 0.01 }, {}])('a factor that is a power of two leaves every bit of an f32 step as it is: %o', async (clipping) => {
    const trained = await Promise.all([undefined, 1024].map(async (initialScale) => {
      const w = variable(wave(cpu, 7))
      const target = wave(cpu, 7)
      const optimizer = new AdamW({ w }, { lr: 0.1, ...clipping })
      const scaler = initialScale === undefined ? undefined : new LossScaler({ device: cpu, initialScale })
      const norms: number[] = []
      for (let k = 0; k < 4; k++) {
        const error = sub(mul(w, w), target)
        const loss = mean(mul(error, error))
        const norm = optimizer.update(grad(scaler?.scale(loss) ?? loss, { w }), scaler && { lossScale: scaler.factor })
        scaler?.update(norm)
        norms.push(await norm.item())
      }
      return { w: [...(await w.data())], norms }
    }))
    expect(trained[1]).toEqual(trained[0])
  })

  test('micro-batches share the factor', async () => {
    const steps = await Promise.all([false, true].map(async (scaled) => {
      const w = variable(wave(cpu, 3))
      const optimizer = new SGD({ w }, { lr: 0.1 })
      const lossScale = tensor(scaled ? 64 : 1, null, { device: cpu })
      const gradient = (n: number): { w: Tensor } => grad(mul(mul(sum(mul(w, w)), n), lossScale), { w })
      optimizer.accumulate(gradient(1))
      await realize(optimizer.update(gradient(2), { lossScale }))
      return [...(await w.data())]
    }))
    expect(steps[1]).toEqual(steps[0])
  })

  test.each([
    [{ initialScale: 0 }, 'LossScaler: initialScale is 0; use a positive number'],
    [{ growthFactor: 0.5 }, 'LossScaler: growthFactor is 0.5; use a number of at least 1'],
    [{ backoffFactor: 1 }, 'LossScaler: backoffFactor is 1; use a number between 0 and 1'],
    [{ growthInterval: 0 }, 'LossScaler: growthInterval is 0; use a positive integer'],
  ])('%o is refused', (options, message) => {
    expect(() => new LossScaler({ device: cpu, ...options })).toThrow(ConfigError)
    expect(() => new LossScaler({ device: cpu, ...options })).toThrow(message)
  })
})
