/** Moving averages: what they follow, how their decays age, evaluation with them, and other widths after the fact. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, DTypeError, ShapeError, device as openDevice, isFinite, mul, realize, scalar, tensor, variable, withValues } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike, Variable } from '../../engine/index.ts'
import { AdamW, Buffer, EMA, Linear, Module, SGD, encodeSafetensors, gammaOf, halfLifeDecay, loadCheckpoint, namedParameters, posthocEMA, posthocWeights, powerFunctionDecay, powerWarmupDecay, readVariables, sigmaRelOf, warmupDecay } from '../../nn/index.ts'
import type { DecayProfile, EMAOptions, EMASnapshot, HostTensor } from '../../nn/index.ts'
import { gradientsAt, parametersOn, snapshot } from './optimizers.ts'

let device: Device
let reference: Device
beforeAll(async () => {
  device = await openDevice('cpu', { threads: 1 })
  reference = await openDevice('reference', { makeDefault: false })
})
afterAll(async () => {
  await device.close()
  await reference.close()
})

const oracle = JSON.parse(readFileSync(path.join(import.meta.dirname, '../oracles/nn/edm2_phema.json'), 'utf8')) as {
  readonly std_to_exp: Readonly<Record<string, number>>
  readonly exp_to_std: Readonly<Record<string, number>>
  readonly [name: string]: unknown
}

const start = (options: EMAOptions): { w: Variable; ema: EMA; optimizer: SGD } => {
  const w = variable(tensor([3, 4], null, { device }))
  const ema = new EMA({ w }, options)
  return { w, ema, optimizer: new SGD({ w }, { lr: 1, ema }) }
}
const gradient = (...values: number[]): { w: ReturnType<typeof tensor> } => ({ w: tensor(values, null, { device }) })
const averageOf = async (ema: EMA): Promise<number[]> => [...((await ema.average['w']?.data()) ?? [])]

describe('an average', () => {
  test('starts at the parameters and follows them, skipped steps apart', async () => {
    const { ema, optimizer } = start({ decay: 0.25 })
    expect(await averageOf(ema)).toEqual([3, 4])
    await realize(optimizer.update(gradient(1, 2)))
    expect(await averageOf(ema)).toEqual([2.25, 2.5])
    await realize(optimizer.update(gradient(Number.NaN, 0)))
    expect(await averageOf(ema)).toEqual([2.25, 2.5])
    expect(await ema.step.item()).toBe(1)
  })

  test('takes the place of the parameters in an evaluation, with the same plan and no copy', async () => {
    const { w, ema, optimizer } = start({ decay: 0.25 })
    await realize(optimizer.update(gradient(1, 2)))
    const evaluate = (): Tensor => mul(w, 2)
    expect([...(await evaluate().data())]).toEqual([4, 4])
    device.resetCounters()
    expect([...(await withValues(ema.values, evaluate).data())]).toEqual([4.5, 5])
    expect(device.counters.plansCompiled).toBe(0)
    expect([...(await evaluate().data())]).toEqual([4, 4])
  })

  test('may be updated by hand, in the plan of the step', async () => {
    const run = async (byHand: boolean): Promise<Record<string, readonly number[]>> => {
      const parameters = parametersOn(device)
      const ema = new EMA(parameters, { decay: powerFunctionDecay(0.1) })
      const optimizer = new AdamW(parameters, { lr: 0.1, amsgrad: true, ...(byHand ? {} : { ema }) })
      for (let k = 0; k < 5; k++) {
        const norm = optimizer.update(gradientsAt(k, device, k === 3 ? Number.NaN : 1))
        if (byHand) ema.update(isFinite(norm))
        device.resetCounters()
        await realize(norm)
        expect(device.counters.submits).toBe(1)
      }
      return snapshot(ema.stateDict())
    }
    expect(await run(true)).toEqual(await run(false))
    expect((await run(true))['step']).toEqual([4])
  })

  test('several follow one optimiser, each in its own way, the first inside the kernel of AdamW', async () => {
    const run = async (decays: readonly number[]): Promise<(readonly number[] | undefined)[]> => {
      const parameters = parametersOn(device)
      const ema = decays.map((decay) => new EMA(parameters, { decay }))
      const optimizer = new AdamW([{ parameters: { w: parameters.w } }, { parameters: { b: parameters.b }, lr: 0.1 }], { ema })
      for (let k = 0; k < 4; k++) await realize(optimizer.update(gradientsAt(k, device)))
      return Promise.all(ema.map(async (e) => (await snapshot(e.average))['w']))
    }
    const [first, second] = await run([0.5, 0.9])
    const [swapped, kernel] = await run([0.9, 0.5])
    // Both are a + w·(p − a) with each operation rounded, so the kernel's bits are the composition's.
    expect([first, second]).toEqual([kernel, swapped])
    expect(first).not.toEqual(second)
  })

  test("costs no launch but its count's where AdamW's kernel takes it along", async () => {
    const launches = async (follow: boolean): Promise<number> => {
      const parameters = parametersOn(device)
      const optimizer = new AdamW(parameters, follow ? { ema: new EMA(parameters) } : {})
      for (let k = 0; k < 3; k++) {
        device.resetCounters()
        await realize(optimizer.update(gradientsAt(k, device)))
      }
      return device.counters.launches
    }
    expect((await launches(true)) - (await launches(false))).toBe(1)
  })

  test('of some of the parameters leaves the others out', async () => {
    const { w, b } = parametersOn(device)
    const ema = new EMA({ w }, { decay: 0.5 })
    const optimizer = new AdamW({ w, b }, { ema })
    const before = await snapshot({ w })
    await realize(optimizer.update(gradientsAt(0, device)))
    const after = await snapshot({ w, average: ema.average['w'] ?? w })
    after['average']?.forEach((x, i) => expect(x).toBeCloseTo(0.5 * ((before['w']?.[i] ?? 0) + (after['w']?.[i] ?? 0)), 6))
    expect(Object.keys(ema.stateDict())).toEqual(['step', 'average.w'])
  })

  test('stands still while its parameters are frozen out of the optimiser', async () => {
    const { w, b } = parametersOn(device)
    const ema = new EMA({ w, b }, { decay: 0.5 })
    const before = await snapshot(ema.average)
    await realize(new SGD({ w }, { lr: 1, ema }).update(gradientsAt(0, device)))
    const after = await snapshot(ema.average)
    expect(after['b']).toEqual(before['b'])
    expect(after['w']).not.toEqual(before['w'])
  })
})

describe('of a model', () => {
  /** A tied weight, a buffer and a frozen parameter. */
  class Tied extends Module<[TensorLike], Tensor> {
    readonly embed = new Linear(2, 2, { device, bias: false })
    readonly head = this.embed.weight
    readonly count = new Buffer(tensor([7], null, { device }))
    readonly fixed = variable(tensor([5], null, { device }), { trainable: false })
    forward(x: TensorLike): Tensor {
      return mul(this.embed.call(x), this.fixed)
    }
  }

  test('it is saved whole, tied names and buffers too, and loads as a model', async () => {
    const model = new Tied()
    const ema = new EMA(namedParameters(model), { decay: 0.5 })
    const optimizer = new SGD(namedParameters(model), { lr: 1, ema })
    await realize(optimizer.update({ 'embed.weight': tensor([[1, 2], [3, 4]], null, { device }) }))
    const state = ema.modelState(model, 'net.')
    expect(Object.keys(state)).toEqual(Object.keys(model.stateDict('net.')))
    expect(Object.keys(state)).toEqual(['net.embed.weight', 'net.head', 'net.count', 'net.fixed'])
    const again = new Tied()
    again.count.assign(tensor([0], null, { device }))
    await loadCheckpoint(again.stateDict(), new Blob([encodeSafetensors(await readVariables(state))]), { prefix: 'net.' })
    const averages = [...((await ema.average['embed.weight']?.data()) ?? [])]
    expect([...(await again.head.data())]).toEqual(averages)
    expect(averages).not.toEqual([...(await model.head.data())])
    expect([await again.count.item(), await again.fixed.item()]).toEqual([7, 5])
  })

  test('it has nothing of is an error', () => {
    const ema = new EMA(namedParameters(new Tied()))
    expect(() => ema.modelState(new Tied())).toThrow(ConfigError)
    expect(() => ema.modelState(new Tied())).toThrow('EMA: the module has none of the averaged parameters; pass the one whose namedParameters the EMA was made with')
  })
})

describe('what drives it', () => {
  const message = 'EMA: two optimisers, or one and update(), move the same averages in turns, and each step would count twice; give each optimiser an EMA of its own parameters, and call update() for averages that none has'

  test('may be one optimiser after another', async () => {
    const { w, ema, optimizer } = start({ decay: 0.5 })
    await realize(optimizer.update(gradient(1, 1)))
    const next = new SGD({ w }, { lr: 1, ema })
    for (let k = 0; k < 2; k++) await realize(next.update(gradient(1, 1)))
    expect(await ema.step.item()).toBe(3)
  })

  test('may not be two in turns, nor one and the hand', async () => {
    const { w, ema, optimizer } = start({ decay: 0.5 })
    optimizer.update(gradient(1, 1))
    new SGD({ w }, { lr: 1, ema }).update(gradient(1, 1))
    await realize(w)
    expect(() => optimizer.update(gradient(1, 1))).toThrow(ConfigError)
    expect(() => optimizer.update(gradient(1, 1))).toThrow(message)
    expect([w.move, ema.step.move, optimizer.step]).toEqual([undefined, undefined, 1])
    const other = start({ decay: 0.5 })
    other.optimizer.update(gradient(1, 1))
    other.ema.update()
    expect(() => other.optimizer.update(gradient(1, 1))).toThrow(message)
  })
})

describe('decays', () => {
  const beta = async (profile: DecayProfile, k: number): Promise<number> => {
    const weight = profile.weight(scalar(k, { dtype: 'f64', device: reference }))
    return 1 - (typeof weight === 'number' ? weight : await weight.item())
  }
  const expectBetas = async (profile: DecayProfile, formula: (k: number) => number): Promise<void> => {
    for (const k of [0, 1, 2, 9, 31, 1000, 215_443, 1_000_000]) expect(await beta(profile, k)).toBeCloseTo(formula(k), 12)
  }

  test('warm-up', async () => {
    await expectBetas(warmupDecay(0.999), (k) => Math.min(0.999, (1 + k) / (10 + k)))
  })

  test('power warm-up', async () => {
    await expectBetas(powerWarmupDecay(0.9999, { invGamma: 2, power: 0.75, minDecay: 0.1 }), (k) => Math.min(0.9999, Math.max(0.1, 1 - (1 + k / 2) ** -0.75)))
    // diffusers' documentation: 0.999 at 31.6 thousand steps and 0.9999 at a million with power 2/3.
    expect(await beta(powerWarmupDecay(1), 31_600)).toBeCloseTo(0.999, 5)
    expect(await beta(powerWarmupDecay(1), 1e6)).toBeCloseTo(0.9999, 6)
  })

  test('half-life in images', async () => {
    await expectBetas(halfLifeDecay(500_000, { batch: 512 }), (k) => 0.5 ** (512 / Math.max(Math.min(500_000, k * 512 * 0.05), 1e-8)))
    await expectBetas(halfLifeDecay(100, { batch: 1, rampUp: 0.5 }), (k) => 0.5 ** (1 / Math.max(Math.min(100, k * 0.5), 1e-8)))
    await expectBetas(halfLifeDecay(1000, { batch: 10, rampUp: null }), () => 0.5 ** (10 / 1000))
  })

  test('power function', async () => {
    const profile = powerFunctionDecay(0.05)
    await expectBetas(profile, (k) => (1 - 1 / (k + 1)) ** (gammaOf(0.05) + 1))
    expect(await beta(profile, 99)).toBeCloseTo(Number(oracle['beta(std=0.05,t_next=2048*100,t_delta=2048)']), 12)
    expect(await beta(powerFunctionDecay(0.1), 99)).toBeCloseTo(Number(oracle['beta(std=0.1,t_next=2048*100,t_delta=2048)']), 12)
  })

  test('keep their digits in float32, where 1 − β is a millionth', async () => {
    const weight = powerFunctionDecay(0.05).weight(scalar(1e7, { device }))
    const expected = -Math.expm1((gammaOf(0.05) + 1) * Math.log1p(-1 / (1e7 + 1)))
    expect(typeof weight === 'number' ? weight : await weight.item()).toBeCloseTo(expected, 12)
  })

  test('of a number and of a tensor are the same', async () => {
    const run = async (decay: NonNullable<EMAOptions['decay']>): Promise<number[]> => {
      const { ema, optimizer } = start({ decay })
      for (let k = 0; k < 3; k++) await realize(optimizer.update(gradient(1, 2)))
      return averageOf(ema)
    }
    expect(await run(0.75)).toEqual(await run(tensor(0.75, [], { device })))
  })
})

describe('a power-function average', () => {
  test("has EDM2's exponents and widths", () => {
    for (const [std, exponent] of Object.entries(oracle.std_to_exp)) expect(gammaOf(Number(std))).toBeCloseTo(exponent, 9)
    for (const [exponent, std] of Object.entries(oracle.exp_to_std)) expect(sigmaRelOf(Number(exponent))).toBeCloseTo(std, 12)
    fc.assert(fc.property(fc.double({ min: 1e-4, max: 0.288, noNaN: true }), (sigma) => Math.abs(sigmaRelOf(gammaOf(sigma)) / sigma - 1) < 1e-9))
  })

  test('weighs step t by tᵞ', async () => {
    const parameter = variable(tensor([0], null, { dtype: 'f64', device: reference }))
    const ema = new EMA({ parameter }, { decay: powerFunctionDecay(0.2) })
    const gamma = gammaOf(0.2)
    const values = Array.from({ length: 12 }, (_, k) => Math.sin(3 * k) + 2)
    for (const value of values) {
      parameter.assign(tensor([value], null, { dtype: 'f64', device: reference }))
      ema.update()
      await realize(parameter)
    }
    // Its weights are those of ∫ tᵞ over each step.
    const shares = values.map((_, k) => ((k + 1) ** (gamma + 1) - k ** (gamma + 1)) / values.length ** (gamma + 1))
    expect(await ema.average['parameter']?.item()).toBeCloseTo(values.reduce((sum, x, k) => sum + x * (shares[k] ?? 0), 0), 12)
  })

  test("is combined with EDM2's weights", () => {
    const profiles = [1, 1, 2, 2, 3, 3].map((step, i) => ({ step, sigmaRel: i % 2 === 0 ? 0.05 : 0.1 }))
    const expected = oracle['solve_posthoc(in_ofs=[1,1,2,2,3,3],in_std=[.05,.1]*3,out_ofs=3,out_std=.075)'] as readonly number[]
    posthocWeights(profiles, { step: 3, sigmaRel: 0.075 }).forEach((w, i) => expect(w).toBeCloseTo(expected[i] ?? Number.NaN, 9))
  })

  test('of another width, from snapshots of two, is nearly the one that was not kept', async () => {
    const parameter = variable(tensor([0, 0], null, { device }))
    const track = (sigmaRel: number): EMA => new EMA({ parameter }, { decay: powerFunctionDecay(sigmaRel) })
    const [narrow, wide, kept] = [track(0.05), track(0.1), track(0.075)]
    const snapshots: EMASnapshot[] = []
    for (let k = 0; k < 256; k++) {
      parameter.assign(tensor([Math.sin(k / 9), k / 100], null, { device }))
      for (const ema of [narrow, wide, kept]) ema.update()
      await realize(parameter)
      if ((k + 1) % 32 === 0) for (const [ema, sigmaRel] of [[narrow, 0.05], [wide, 0.1]] as const) snapshots.push({ step: k + 1, sigmaRel, values: await readVariables(ema.average) })
    }
    const found = posthocEMA(snapshots, { step: 256, sigmaRel: 0.075 }).get('parameter')
    const wanted = [...((await kept.average['parameter']?.data()) ?? [])]
    const distance = (a: ArrayLike<number>): number => Math.max(...wanted.map((x, i) => Math.abs(x - (a[i] ?? Number.NaN))))
    expect(found?.shape).toEqual([2])
    expect(distance(found?.data ?? [])).toBeLessThan(5e-3)
    expect(distance([...((await wide.average['parameter']?.data()) ?? [])])).toBeGreaterThan(5e-2)
  })
})

describe('refuses', () => {
  const values = (shape: readonly number[]): ReadonlyMap<string, HostTensor> => new Map([['w', { dtype: 'f32', shape, data: new Float32Array(shape.reduce((n, d) => n * d, 1)) }]])
  const at = (step: number, sigmaRel = 0.05): { step: number; sigmaRel: number } => ({ step, sigmaRel })
  const w = (): { w: Variable } => ({ w: parametersOn(device).w })
  test.each<[string, new () => Error, () => unknown]>([
    ['EMA: the decay is 1.5; use a number from 0 to 1', ConfigError, () => new EMA(w(), { decay: 1.5 })],
    ['EMA: the decay has shape [1], but must be a number or a scalar []', ShapeError, () => new EMA(w(), { decay: tensor([0.5], null, { device }) })],
    ['EMA: the decay is a function; use a number, a scalar tensor, or a profile such as warmupDecay(), for updates are counted on the device', ConfigError, () => new EMA(w(), { decay: (() => 0.5) as unknown as number })],
    ['EMA: there are no parameters; pass namedParameters(model)', ConfigError, () => new EMA({})],
    ['EMA: parameter i is i32; keep parameters in f32, and cast them where they are used', DTypeError, () => new EMA({ i: variable(new Int32Array(2), { device }) })],
    ['warmupDecay: decay is 2; use a number from 0 to 1', ConfigError, () => warmupDecay(2)],
    ['powerWarmupDecay: decay is 0.1; use a number from minDecay, 0.5, to 1', ConfigError, () => powerWarmupDecay(0.1, { minDecay: 0.5 })],
    ['powerWarmupDecay: invGamma is 0; use a positive number', ConfigError, () => powerWarmupDecay(0.9, { invGamma: 0 })],
    ['powerWarmupDecay: power is -1; use a positive number', ConfigError, () => powerWarmupDecay(0.9, { power: -1 })],
    ['halfLifeDecay: halfLife is 0; use a positive number of images', ConfigError, () => halfLifeDecay(0, { batch: 1 })],
    ['halfLifeDecay: batch is 0; use a positive number of images', ConfigError, () => halfLifeDecay(1, { batch: 0 })],
    ['halfLifeDecay: rampUp is 0; use a positive number, or null', ConfigError, () => halfLifeDecay(1, { batch: 1, rampUp: 0 })],
    ['sigmaRel is 0.3; use a positive number of at most 0.2887, such as 0.05', ConfigError, () => powerFunctionDecay(0.3)],
    ['sigmaRel is 0; use a positive number of at most 0.2887, such as 0.05', ConfigError, () => posthocWeights([at(1)], at(1, 0))],
    ['posthocWeights: two snapshots have the same step and sigmaRel; pass each once', ConfigError, () => posthocWeights([at(1), at(2), at(1)], at(2))],
    ['posthocWeights: there is a profile at step 0, where there is no average yet; use positive numbers of steps', ConfigError, () => posthocWeights([at(0), at(1)], at(2))],
    ['posthocWeights: there is a profile at step 0, where there is no average yet; use positive numbers of steps', ConfigError, () => posthocWeights([at(1), at(2)], at(0))],
    ['posthocEMA: there are no snapshots; pass at least two', ConfigError, () => posthocEMA([], at(1))],
    ['posthocEMA: w is [2] in snapshot 0 but [3] in snapshot 1; pass snapshots of one model', ConfigError, () => posthocEMA([{ ...at(1), values: values([2]) }, { ...at(2), values: values([3]) }], at(2))],
    ['posthocEMA: w is [2] in snapshot 0 but missing in snapshot 1; pass snapshots of one model', ConfigError, () => posthocEMA([{ ...at(1), values: values([2]) }, { ...at(2), values: new Map() }], at(2))],
  ])('%s', (message, kind, act) => {
    expect(act).toThrow(kind)
    expect(act).toThrow(message)
  })
})
