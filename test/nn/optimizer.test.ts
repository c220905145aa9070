/** What all optimisers share: clipping, skipped steps, accumulation, groups, numbers that compile nothing, saving; and what they refuse. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, DTypeError, DeviceError, ShapeError, add, device as openDevice, mseLoss, mul, narrow, realize, sub, sum, tensor, valueAndGrad, variable } from '../../engine/index.ts'
import type { Device, Tensor, Variable } from '../../engine/index.ts'
import { Adafactor, Adagrad, Adam, AdamW, Buffer, EMA, Muon, RMSprop, SGD, readVariables, warmupDecay } from '../../nn/index.ts'
import type { AdamWOptions, OptimizerOptions } from '../../nn/index.ts'
import { gradientsAt, number, optimizers, parametersOn, snapshot } from './optimizers.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu', { threads: 1 })
})
afterAll(async () => device.close())

const names = Object.keys(optimizers)
const make = (name: string, ...[p, o]: Parameters<NonNullable<(typeof optimizers)[string]>>): ReturnType<NonNullable<(typeof optimizers)[string]>> => {
  const built = optimizers[name]?.(p, o)
  if (built === undefined) throw new RangeError(name)
  return built
}

describe('gradients', () => {
  const start = (options: OptimizerOptions): { w: Variable; optimizer: SGD } => {
    const w = variable(tensor([3, 4], null, { device }))
    return { w, optimizer: new SGD({ w }, { lr: 1, ...options }) }
  }

  test('are scaled down to a norm, and the norm before is returned', async () => {
    const { w, optimizer } = start({ maxNorm: 1 })
    const norm = optimizer.update({ w: tensor([3, 4], null, { device }) })
    await realize(norm)
    expect(await norm.item()).toBeCloseTo(5, 5)
    expect([...(await w.data())]).toEqual([expect.closeTo(2.4, 5), expect.closeTo(3.2, 5)])
  })

  test('below the norm are left alone', async () => {
    const { w, optimizer } = start({ maxNorm: 6 })
    await realize(optimizer.update({ w: tensor([3, 4], null, { device }) }))
    expect([...(await w.data())]).toEqual([0, 0])
  })

  test('are clamped by value, and the norm is of what they were', async () => {
    const { w, optimizer } = start({ clipValue: 2 })
    const norm = optimizer.update({ w: tensor([-30, 1], null, { device }) })
    await realize(norm)
    expect(await norm.item()).toBeCloseTo(Math.hypot(30, 1), 4)
    expect([...(await w.data())]).toEqual([5, 3])
  })

  test('that are infinite are not made finite by clamping', async () => {
    const { w, optimizer } = start({ clipValue: 2 })
    await realize(optimizer.update({ w: tensor([Infinity, 1], null, { device }) }))
    expect([...(await w.data())]).toEqual([3, 4])
    expect(await optimizer.skipped.item()).toBe(1)
  })
})

describe.each(names)('%s', (name) => {
  test('a step that is skipped leaves no trace but its count', async () => {
    const run = async (poison: readonly number[]): Promise<{ state: Record<string, readonly number[]>; skipped: number; step: number }> => {
      const parameters = parametersOn(device)
      const ema = new EMA(parameters, { decay: warmupDecay(0.9) })
      // Numbers stand still, for they follow the steps that were asked for.
      const optimizer = make(name, parameters, { ema, maxNorm: 2 })
      for (let i = 0, k = 0; k < 4; i++) {
        optimizer.step = 3
        const bad = poison.includes(i)
        await realize(optimizer.update(bad ? { ...gradientsAt(k, device), b: tensor([0, i % 2 === 0 ? Number.NaN : Infinity, 1], null, { device }) } : gradientsAt(k, device)))
        if (!bad) k++
      }
      const { skipped, ...state } = optimizer.stateDict()
      return { state: await snapshot({ ...parameters, ...state, ...ema.stateDict() }), skipped: (await skipped?.item()) ?? Number.NaN, step: optimizer.step }
    }
    const [whole, poisoned] = [await run([]), await run([0, 2, 3])]
    expect(poisoned.state).toEqual(whole.state)
    expect([whole.skipped, poisoned.skipped]).toEqual([0, 3])
  })

  test('numbers that change compile nothing, nor do steps that are skipped', async () => {
    const parameters = parametersOn(device)
    const optimizer = make(name, parameters, { maxNorm: (k) => 2 + k, ema: new EMA(parameters, { decay: number(0.9, device) }) })
    const step = async (k: number): Promise<void> => realize(optimizer.update(gradientsAt(k, device, k === 3 ? Number.NaN : 1)))
    await step(0)
    await step(1)
    device.resetCounters()
    for (let k = 2; k < 6; k++) await step(k)
    expect(device.counters).toMatchObject({ submits: 4, plansCompiled: 0 })
  })

  test('goes on bit for bit from a state dict', async () => {
    const run = async (stop?: number): Promise<Record<string, readonly number[]>> => {
      let parameters = parametersOn(device)
      const build = (): { optimizer: ReturnType<typeof make>; ema: EMA } => {
        const ema = new EMA(parameters, { decay: warmupDecay(0.99) })
        return { ema, optimizer: make(name, parameters, { ema, clipValue: 0.9 }) }
      }
      let { optimizer, ema } = build()
      for (let k = 0; k < 7; k++) {
        if (k === stop) {
          const [weights, state, averages] = await Promise.all([readVariables(parameters), readVariables(optimizer.stateDict(), 'optimizer.'), readVariables(ema.stateDict())])
          parameters = parametersOn(device)
          for (const [key, p] of Object.entries(parameters)) p.assign(tensor(weights.get(key)?.data ?? [], p.shape, { device }))
          ;({ optimizer, ema } = build())
          optimizer.loadStateDict(new Map([...state, ...weights]), { prefix: 'optimizer.' })
          ema.loadStateDict(averages)
        }
        await realize(optimizer.update(gradientsAt(k, device, k === 1 ? Infinity : 1)))
      }
      expect(optimizer.step).toBe(7)
      return snapshot({ ...parameters, ...optimizer.stateDict(), ...ema.stateDict() })
    }
    expect(await run(4)).toEqual(await run())
  })

  test('finds the bottom of a bowl', async () => {
    const parameters = parametersOn(device)
    const optimizer = make(name, parameters)
    const bottom = gradientsAt(8, device)
    const loss = (): Tensor => sum(mul(add(sum(mul(sub(parameters.w, bottom.w), sub(parameters.w, bottom.w))), sum(mul(sub(parameters.b, bottom.b), sub(parameters.b, bottom.b)))), 0.5))
    const losses: number[] = []
    for (let k = 0; k < 150; k++) {
      const { value, grads } = valueAndGrad(loss(), parameters)
      await realize(value, optimizer.update(grads))
      losses.push(await value.item())
    }
    expect(losses.at(-1)).toBeLessThan(0.03 * (losses[0] ?? 0))
  })
})

test('accumulated micro-batches are one step of the whole batch', async () => {
  const x = tensor(Float32Array.from({ length: 36 }, (_, i) => Math.sin(i)), [12, 3], { device })
  const y = tensor(Float32Array.from({ length: 12 }, (_, i) => Math.cos(i)), [12, 1], { device })
  const run = async (micro: number): Promise<{ w: number[]; norm: number[]; optimizer: AdamW }> => {
    const w = variable(tensor([0.5, -0.2, 0.1], [3, 1], { device }))
    const optimizer = new AdamW({ w }, { lr: 0.1, maxNorm: 0.3 })
    const norms: number[] = []
    const gradients = (from: number, count: number): { w: Tensor } => valueAndGrad(mseLoss(narrow(x, 0, from, count).matmul(w), narrow(y, 0, from, count)), { w }).grads
    for (let k = 0; k < 4; k++) {
      for (let i = 0; i + 1 < micro; i++) {
        optimizer.accumulate(gradients((12 / micro) * i, 12 / micro))
        if (k % 2 === 0) await realize() // The sums may be computed on the way, or with the step.
      }
      const norm = optimizer.update(gradients(12 - 12 / micro, 12 / micro))
      await realize(norm)
      norms.push(await norm.item())
    }
    return { w: [...(await w.data())], norm: norms, optimizer }
  }
  const whole = await run(1)
  for (const micro of [2, 3, 6]) {
    const parts = await run(micro)
    parts.w.forEach((v, i) => expect(v).toBeCloseTo(whole.w[i] ?? Number.NaN, 5))
    parts.norm.forEach((v, i) => expect(v).toBeCloseTo(whole.norm[i] ?? Number.NaN, 5))
    expect([parts.optimizer.step, await parts.optimizer.applied.item()]).toEqual([4, 4])
  }
})

test('a micro-batch that is not finite skips its step and leaves nothing for the next', async () => {
  const run = async (poison: boolean): Promise<number[]> => {
    const w = variable(tensor([1, 2], null, { device }))
    const optimizer = new AdamW({ w }, { lr: 0.1 })
    const g = (...values: number[]): { w: Tensor } => ({ w: tensor(values, null, { device }) })
    if (poison) {
      optimizer.accumulate(g(Number.NaN, 1))
      optimizer.accumulate(g(1, 1))
      await realize(optimizer.update(g(1, 1)))
      expect([...(await w.data())]).toEqual([1, 2])
    }
    optimizer.accumulate(g(3, 1))
    await realize(optimizer.update(g(1, 5)))
    return [...(await w.data())]
  }
  expect(await run(true)).toEqual(await run(false))
})

test('groups have options of their own before the general ones', async () => {
  const parameters = parametersOn(device)
  const before = await snapshot(parameters)
  const { w, b } = parameters
  const optimizer = new SGD([{ parameters: { w }, lr: (k) => (k === 0 ? 0.5 : 0) }, { parameters: { b }, weightDecay: 1 }], { lr: 0.25 })
  expect(Object.keys(optimizer.parameters)).toEqual(['w', 'b'])
  const gradients = gradientsAt(0, device)
  const moved = async (): Promise<Record<string, readonly number[]>> => {
    await realize(optimizer.update(gradients))
    return snapshot(parameters)
  }
  const [gw, gb] = [[...(await gradients.w.data())], [...(await gradients.b.data())]]
  const after = await moved()
  after['w']?.forEach((x, i) => expect(x).toBeCloseTo((before['w']?.[i] ?? 0) - 0.5 * (gw[i] ?? 0), 6))
  after['b']?.forEach((x, i) => expect(x).toBeCloseTo(0.75 * (before['b']?.[i] ?? 0) - 0.25 * (gb[i] ?? 0), 6))
  expect((await moved())['w']).toEqual(after['w'])
})

test('the norm and the decision to skip are over all groups', async () => {
  const { w, b } = parametersOn(device)
  const before = await snapshot({ w, b })
  const optimizer = new AdamW([{ parameters: { w } }, { parameters: { b }, lr: 1 }])
  await realize(optimizer.update({ ...gradientsAt(0, device), b: tensor([1, 2, Number.NaN], null, { device }) }))
  expect(await snapshot({ w, b })).toEqual(before)
})

test("Adam's penalty is not clipped", async () => {
  const w = variable(tensor([3, 4], null, { device }))
  const optimizer = new Adam({ w }, { betas: [0, 0], weightDecay: 0.5, maxNorm: 1 })
  await realize(optimizer.update({ w: tensor([30, -40], null, { device }) }))
  const moment = await optimizer.stateDict()['exp_avg.w']?.data()
  expect([...(moment ?? [])]).toEqual([expect.closeTo(0.6 + 1.5, 5), expect.closeTo(-0.8 + 2, 5)])
})

test('Adafactor moves parameters that are 0, as if their size were eps[1]', async () => {
  const w = variable(tensor([0, 0], null, { device }))
  await realize(new Adafactor({ w }, { lr: 0.5, eps: [null, 0.1] }).update({ w: tensor([7, -7], null, { device }) }))
  expect([...(await w.data())]).toEqual([expect.closeTo(-0.05, 6), expect.closeTo(0.05, 6)])
})

test('a centred RMSprop whose gradients stand still divides by no root of a rounding error below 0', async () => {
  const w = variable(tensor(new Float32Array(64), null, { device }))
  const optimizer = new RMSprop({ w }, { alpha: 0.5, centered: true, eps: 1 })
  const gradient = Float32Array.from({ length: 64 }, (_, i) => 0.1 + i / 7)
  for (let k = 0; k < 60; k++) await realize(optimizer.update({ w: tensor(gradient, null, { device }) }))
  for (const x of await w.data()) expect(x).toSatisfy(Number.isFinite)
})

test("Muon's group of other parameters takes AdamW's steps", async () => {
  const [mixed, alone] = [parametersOn(device), parametersOn(device)]
  const muon = new Muon([{ parameters: { w: mixed.w } }, { parameters: { b: mixed.b }, useMuon: false, lr: 0.01 }], { lr: 0.5, weightDecay: 0.9 })
  const adamw = new AdamW({ b: alone.b }, { lr: 0.01 })
  for (let k = 0; k < 3; k++) await realize(muon.update(gradientsAt(k, device)), adamw.update({ b: gradientsAt(k, device).b }))
  expect(await snapshot({ b: mixed.b })).toEqual(await snapshot({ b: alone.b }))
  expect(Object.keys(muon.stateDict())).toEqual(['step', 'skipped', 'momentum_buffer.w', 'exp_avg.b', 'exp_avg_sq.b'])
})

test('a number may be a tensor, such as a variable that the program moves', async () => {
  const w = variable(tensor([1], null, { device }))
  const lr = variable(tensor(0.5, [], { device }))
  const optimizer = new SGD({ w }, { lr })
  const step = async (): Promise<number> => {
    await realize(optimizer.update({ w: tensor([1], null, { device }) }))
    return w.item()
  }
  expect(await step()).toBe(0.5)
  lr.assign(tensor(0.25, [], { device }))
  expect(await step()).toBe(0.25)
})

test('the state may be loaded past the optimiser, which then counts anew', async () => {
  const { w } = parametersOn(device)
  const optimizer = new AdamW({ w })
  optimizer.applied.assign(tensor(new Int32Array([5]), [], { device }))
  optimizer.skipped.assign(tensor(new Int32Array([2]), [], { device }))
  await optimizer.recount()
  expect(optimizer.step).toBe(7)
})

describe('refuses', () => {
  const w = (): { w: Variable } => ({ w: parametersOn(device).w })
  const adamw = (options: AdamWOptions & OptimizerOptions) => (): unknown => new AdamW(w(), options)
  test.each<[string, new () => Error, () => unknown]>([
    ['AdamW: lr is -1; use a number of at least 0', ConfigError, adamw({ lr: -1 })],
    ['AdamW: betas[0] is 1; use a number of at least 0 and below 1', ConfigError, adamw({ betas: [1, 0.9] })],
    ['AdamW: betas[1] is NaN; use a number of at least 0 and below 1', ConfigError, adamw({ betas: [0.9, Number.NaN] })],
    ['AdamW: weightDecay is Infinity; use a number of at least 0', ConfigError, adamw({ weightDecay: Infinity })],
    ['AdamW: maxNorm is 0; use a positive number', ConfigError, adamw({ maxNorm: 0 })],
    ['AdamW: there are both maxNorm and clipValue; choose one', ConfigError, adamw({ maxNorm: 1, clipValue: 1 })],
    ['AdamW: eps has shape [2], but must be a number or a scalar []', ShapeError, () => new AdamW(w(), { eps: tensor([1, 2], null, { device }) })],
    ['AdamW: the schedule of lr is -1 at step 0; use a number of at least 0', ConfigError, () => new AdamW(w(), { lr: () => -1 }).update(gradientsAt(0, device))],
    ['AdamW: there are no parameters; pass namedParameters(model)', ConfigError, () => new AdamW({})],
    ['AdamW: there are no parameters; pass namedParameters(model)', ConfigError, () => new AdamW([])],
    ["AdamW: two parameters are called w; give them prefixes, as in namedParameters(model.encoder, 'encoder.')", ConfigError, () => new AdamW([{ parameters: w() }, { parameters: w() }])],
    ['Muon: adjustLr is match_rms_adamw; use original or matchRmsAdamW', ConfigError, () => new Muon(w(), { adjustLr: 'match_rms_adamw' as 'original' })],
    ['SGD: nesterov goes with a momentum and without dampening; set momentum, and dampening to 0', ConfigError, () => new SGD(w(), { nesterov: true })],
    ['SGD: nesterov goes with a momentum and without dampening; set momentum, and dampening to 0', ConfigError, () => new SGD(w(), { nesterov: true, momentum: 0.9, dampening: 0.1 })],
    ['Adagrad: initialAccumulatorValue is -1; use a number of at least 0', ConfigError, () => new Adagrad(w(), { initialAccumulatorValue: -1 })],
    ['Muon: nsSteps is 0; use a positive integer, such as 5', ConfigError, () => new Muon(w(), { nsSteps: 0 })],
    ['Muon: parameter b is [3], but Muon takes matrices; put it into a group with useMuon: false', ShapeError, () => new Muon(parametersOn(device))],
    ['AdamW: no gradient for w; pass one for each parameter', ConfigError, () => new AdamW(w()).update({})],
    ['AdamW: parameter w is [3,2,1,2] but its gradient is [3]; make their shapes equal', ShapeError, () => new AdamW(w()).update({ w: gradientsAt(0, device).b })],
    ['AdamW: parameter h is bf16; keep parameters in f32, and cast them where they are used', DTypeError, () => new AdamW({ h: variable(tensor([1], null, { dtype: 'bf16', device })) })],
  ])('%s', (message, kind, act) => {
    expect(act).toThrow(kind)
    expect(act).toThrow(message)
  })

  test('what is not trained', () => {
    const [frozen, steps, mean] = [variable(tensor([1], null, { device }), { trainable: false }), new Buffer(tensor(new Int32Array(1), [], { device })), new Buffer(tensor([1], null, { device }))]
    const make = (): unknown => new SGD([{ parameters: w() }, { parameters: { frozen, steps, mean } }])
    expect(make).toThrow(ConfigError)
    expect(make).toThrow('SGD: frozen, steps, mean cannot be trained (a buffer, or frozen); pass namedParameters(model)')
  })

  test('one variable under two names, or twice under one', () => {
    const { w: shared } = w()
    expect(() => new AdamW([{ parameters: { w: shared } }, { parameters: { w: shared } }])).toThrow('AdamW: parameter w is listed again as w; list each once, in one group')
    expect(() => new AdamW({ a: shared, b: shared })).toThrow('AdamW: parameter a is listed again as b; list each once, in one group')
  })

  test('parameters of two types or devices', async () => {
    await using reference = await openDevice('reference', { makeDefault: false })
    const on = (place: Device, dtype: 'f32' | 'f64'): Variable => variable(tensor([1], null, { dtype, device: place }))
    expect(() => new AdamW({ a: on(reference, 'f32'), b: on(reference, 'f64') })).toThrow('AdamW: parameter a is f32 but b is f64; keep them in one type')
    expect(() => new AdamW({ a: on(reference, 'f32'), b: on(device, 'f32') })).toThrow(DeviceError)
    expect(() => new AdamW({ a: on(reference, 'f32'), b: on(device, 'f32') })).toThrow('AdamW: parameter a lives on reference but b on cpu; move one with .to(device)')
    await using another = await openDevice('reference', { makeDefault: false })
    expect(() => new AdamW({ a: on(another, 'f32'), b: on(reference, 'f32') })).toThrow('AdamW: parameter a lives on reference (opened later) but b on reference (opened earlier); move one with .to(device)')
  })

  test('to be saved in the middle of a step', () => {
    const optimizer = new AdamW(w())
    optimizer.accumulate(gradientsAt(0, device))
    expect(() => optimizer.stateDict()).toThrow('AdamW: 1 micro-batches were accumulated and are in no step yet; update before the state is read or loaded')
  })

  test('a step that fails changes nothing', async () => {
    const parameters = parametersOn(device)
    const optimizer = new AdamW([{ parameters: { w: parameters.w } }, { parameters: { b: parameters.b }, lr: (k) => (k === 0 ? -1 : 1) }])
    await realize(...Object.values(parameters), ...Object.values(optimizer.stateDict()))
    expect(() => optimizer.update(gradientsAt(0, device))).toThrow(ConfigError)
    expect([...Object.values(parameters), ...Object.values(optimizer.stateDict())].every((v) => v.move === undefined)).toBe(true)
    expect(optimizer.step).toBe(0)
  })
})
