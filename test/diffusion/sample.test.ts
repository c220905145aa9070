/** Sampling as a whole: seeds, batches, resuming, stopping, memory, plans, and errors. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { add, device as openDevice, mul, normal, RandomGenerator, tensor } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import {
  ancestralDpm2, ancestralEuler, ddim, ddimInversion, ddpm, discretePath, dpm2, dpmSolver, dpmSolver2M, dpmSolver2S, dpmSolver3M, dpmSolver3S, dpmSolverAdaptive, dpmSolverSde, edmPath, edmStochastic, euler, flowPath, heun, ipndm, karras, laplacePath,
  annealedLangevin, consistency, consistencyBoundary, cosinePath, deis, inpainting, levels, linearBetas, lms, noiseRatio, restarting, sample, scaledLinearBetas, tcd, vePath, vpPath, withCorrector, dopri5, eulerInTime, heunInTime, loadState, midpoint, samplingPeak, saveState, slerp, startingNoise, plms, pndm, rk4, saSolver, unipc, withRestarts, zeroTerminalSnr,
} from '../../diffusion/index.ts'
import type { Denoiser, HostLevel, NoisePath, SampleOptions, Sampler, SamplerState, SavedState } from '../../diffusion/index.ts'
import { Prediction } from '../../diffusion/prediction.ts'
import { expectAll } from '../devices.ts'

const devices = await expectAll()

/** E[x₀ | x] of data N(mean, deviation²) in each coordinate. */
const gaussian = (mean: number, deviation: number): Denoiser => (x, { alpha, sigma, t }) => {
  const total = (alpha * deviation) ** 2 + sigma ** 2
  return Prediction.ofImage(add(mul(x, (alpha * deviation ** 2) / total), (mean * sigma ** 2) / total), x, { t, alpha, sigma })
}

const path = discretePath(scaledLinearBetas())
const samplers: readonly Sampler[] = [
  ddim(), ddim({ eta: 0.5 }), euler(), ancestralEuler(), ddpm(), ddpm({ variance: 'large' }), heun(), edmStochastic({ churn: 10 }), dpm2(), ancestralDpm2(), dpmSolver2M(), dpmSolver2M({ eta: 1 }), dpmSolver3M(), dpmSolver3M({ eta: 1 }),
  dpmSolver2S(), dpmSolver2S({ eta: 1 }), dpmSolver3S(), dpmSolver3S({ eta: 1 }), dpmSolverSde(), dpmSolver(), dpmSolver({ order: 2 }), ipndm(), lms(), deis(), tcd({ gamma: 0.02 }), withCorrector(ddim(), { snr: 0.05 }), eulerInTime(), midpoint(), heunInTime(), rk4(), plms(), pndm(),
  unipc(), unipc({ order: 3, variant: 'bh1' }), unipc({ order: 3, corrector: false }), saSolver(), saSolver({ tau: 0.5, predictor: 3, corrector: 3 }), saSolver({ corrector: 0, tau: ({ t }) => (t > 300 ? 1 : 0) }),
]
const named = samplers.map((sampler, i) => [`${sampler.name} (${i})`, sampler] as const)
const cpuDevice = (): Promise<Device> => openDevice('cpu')
const list = async (x: Tensor): Promise<number[]> => [...(await x.data())]

describe.each(devices.map((device) => [device.name, device] as const))('on %s', (_, device) => {
  const options = (sampler: Sampler, more: Partial<SampleOptions<Record<string, Tensor>>> = {}): SampleOptions<Record<string, Tensor>> => ({ path, levels: levels(path, 6), sampler, shape: [3], seeds: [7], device, ...more })
  const denoise = gaussian(0.4, 0.5)

  test.each(named)('%s: a sample is the same alone and in a batch, and the same again when the run goes on from a step', async (_, sampler) => {
    const alone = await list(await sample(denoise, options(sampler)))
    const batch = await list(await sample(denoise, options(sampler, { seeds: [1, 2, 7, 4] })))
    expect(batch.slice(6, 9)).toEqual(alone)
    const states: { step: number; x: number[]; memory: Record<string, number[]>; numbers: Record<string, number> }[] = []
    await sample(denoise, options(sampler, { async onStep({ state }) {
      states.push({ step: state.step, x: await list(state.x), memory: Object.fromEntries(await Promise.all(Object.entries(state.memory).map(async ([name, x]) => [name, await list(x)] as const))), numbers: { ...state.numbers } })
    } }))
    const back = (values: readonly number[]): Tensor => tensor([...values], [1, 3], { device })
    for (const { step, x, memory, numbers } of states.slice(0, -1)) {
      const from: SamplerState = { step, x: back(x), memory: Object.fromEntries(Object.entries(memory).map(([name, values]) => [name, back(values)])), numbers }
      const gone = await list(await sample(denoise, options(sampler, { from })))
      if (device.name !== 'reference') expect(gone, `from step ${step}`).toEqual(alone)
      else for (const [i, x] of gone.entries()) expect(x).toBeCloseTo(at(alone, i), 5) // It holds f32 as float64, which this way of storing states cuts off.
    }
  })

  test('more steps are no more plans, and no more memory', async () => {
    const run = async (steps: number, seed: number): Promise<void> => (await sample(denoise, options(dpmSolver3M({ eta: 1 }), { levels: levels(path, steps), seeds: [seed] }))).dispose()
    await run(20, 1)
    const used = device.bytesHeld
    device.resetCounters()
    await run(50, 2)
    expect(device.counters).toMatchObject({ plansCompiled: 0, submits: 50 })
    expect(device.bytesHeld).toBe(used)
  })

  test('peak memory is known before the run', async () => {
    const many = { shape: [10_000] }
    const before = device.bytesHeld
    const peaks: number[] = []
    for (const sampler of [ddim(), dpmSolver2M(), heun(), lms(), saSolver()]) peaks.push(await samplingPeak(denoise, options(sampler, many)))
    expect(device.bytesHeld).toBe(before)
    // At least x, the next x and what is remembered; of a multistep sampler more than of one without memory.
    const size = 10_000 * (device.name === 'reference' ? 8 : 4)
    for (const [i, held] of [2, 3, 3, 5, 4].entries()) expect(at(peaks, i)).toBeGreaterThanOrEqual(held * size)
    expect(at(peaks, 3)).toBeGreaterThan(at(peaks, 0))
    // What a run holds between its steps is less.
    let most = 0
    await sample(denoise, options(lms(), { ...many, onStep: () => { most = Math.max(most, device.bytesHeld - before) } }))
    expect(most).toBeLessThanOrEqual(at(peaks, 3) + size) // x0, of onStep
    await expect(samplingPeak(denoise, options(dopri5(), many))).rejects.toThrow('the steps of dopri5 depend on what they compute')
  })

  test('stopped by a signal: within a step, and the memory is back', async () => {
    const stopping = new AbortController()
    await (await sample(denoise, options(ddim()))).data()
    const used = device.bytesHeld
    let steps = 0
    const run = sample(denoise, options(dpmSolver2M(), { signal: stopping.signal, onStep: ({ state }) => {
      steps = state.step
      if (steps === 3) stopping.abort(new Error('enough'))
    } }))
    await expect(run).rejects.toThrow('enough')
    expect(steps).toBe(3)
    expect(device.bytesHeld).toBe(used)
    await expect(sample(denoise, options(ddim(), { signal: AbortSignal.abort(new Error('never begun')) }))).rejects.toThrow('never begun')
  })

  test('an image is noised to the first level; what is given is not disposed of', async () => {
    const image = tensor([1, 2, 3], [1, 3], { device })
    const grid = levels(path, 10).slice(8)
    const near = await list(await sample(gaussian(0, 100), options(ddim(), { levels: grid, from: { image } })))
    for (const [i, x] of near.entries()) expect(Math.abs(x - (i + 1))).toBeLessThan(1)
    expect(await list(image)).toEqual([1, 2, 3])
    const noisy = normal([1, 3], { device, generator: new RandomGenerator(3) })
    const before = await list(noisy)
    await sample(denoise, options(heun(), { from: { noisy } }))
    expect(await list(noisy)).toEqual(before)
  })
})

const [device] = devices as [Device, ...Device[]]

describe('on every path, with pure noise at the beginning or not, nothing is NaN', () => {
  const paths: readonly NoisePath[] = [path, zeroTerminalSnr(path), zeroTerminalSnr(vpPath()), vpPath(), vePath(), edmPath(), cosinePath(), laplacePath(), flowPath(), flowPath({ shift: 3 }), discretePath(linearBetas())]
  test.each(paths.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    for (const sampler of samplers) {
      for (const steps of [1, 2, 5].filter((n) => n >= (sampler.least ?? 1))) {
        const x = await list(await sample(gaussian(0.4, 0.5), { path: one, levels: levels(one, steps), sampler, shape: [2], seeds: [1, 2], device }))
        expect(x.every(Number.isFinite), `${sampler.name}, ${steps} steps: ${x.join()}`).toBe(true)
      }
    }
  })
})

describe('the samples have the distribution of the data', () => {
  const [mean, deviation, count] = [0.4, 0.5, 4000]
  const cases: readonly (readonly [NoisePath, number])[] = [[path, 200], [zeroTerminalSnr(path), 200], [edmPath(), 300], [flowPath(), 200], [vpPath(), 200]]
  test.each(cases.flatMap(([one, steps]) => named.map(([name, sampler]) => [`${one.name}: ${name}`, one, steps, sampler] as const)))('%s', async (_, one, steps, sampler) => {
    const grid = one.name === 'edmPath' ? levels(one, steps, karras()) : levels(one, steps)
    const cpu = devices.find(({ name }) => name === 'cpu') ?? device
    const x = await list(await sample(gaussian(mean, deviation), { path: one, levels: grid, sampler, shape: [count], seeds: [11], device: cpu }))
    const found = x.reduce((sum, v) => sum + v, 0) / count
    const variance = x.reduce((sum, v) => sum + (v - found) ** 2, 0) / count
    // Three standard errors, and what the steps leave.
    expect(Math.abs(found - mean)).toBeLessThan((3 * deviation) / Math.sqrt(count) + 0.01)
    expect(Math.abs(variance / deviation ** 2 - 1)).toBeLessThan(3 * Math.sqrt(2 / count) + 0.04)
  })
})

test('DDIM’s inversion finds the noise that DDIM makes the image of', async () => {
  const grid = levels(path, 400)
  const noise = tensor([0.3, -1.2], [1, 2], { device })
  const options = { path, shape: [2], seeds: [1], device }
  const image = await sample(gaussian(0.1, 0.7), { ...options, levels: grid.slice(0, -1), sampler: ddim(), from: { noisy: noise } })
  const back = await list(await sample(gaussian(0.1, 0.7), { ...options, levels: grid.slice(0, -1).toReversed(), sampler: ddimInversion(), from: { noisy: image } }))
  for (const [i, x] of back.entries()) expect(Math.abs(x - at(await list(noise), i))).toBeLessThan(0.02)
})

test('restarts go back up as often as they say, and keep the distribution', async () => {
  const edm = edmPath()
  const grid = levels(edm, 40, karras())
  const again = withRestarts(grid, [{ least: 0.2, most: 2, times: 2 }])
  const rises = again.filter((level, i) => i > 0 && noiseRatio(level) > noiseRatio(at(again, i - 1)))
  expect(rises.length).toBe(2)
  expect(rises.every((level) => noiseRatio(level) <= 2 && noiseRatio(level) > 1.2)).toBe(true)
  const x = await list(await sample(gaussian(0.4, 0.5), { path: edm, levels: again, sampler: restarting(heun()), shape: [4000], seeds: [5], device: devices.find(({ name }) => name === 'cpu') ?? device }))
  const found = x.reduce((sum, v) => sum + v, 0) / x.length
  expect(Math.abs(found - 0.4)).toBeLessThan(0.035)
  expect(Math.abs(Math.sqrt(x.reduce((sum, v) => sum + (v - found) ** 2, 0) / x.length) - 0.5)).toBeLessThan(0.03)
  expect(() => withRestarts(grid, [{ least: 0.2, most: 0.21 }])).toThrow('there is no level between')
  await expect(sample(gaussian(0, 1), { path: edm, levels: again, sampler: heun(), shape: [2], seeds: [5], device })).rejects.toThrow('levels go one way')
})

test('inpainting keeps what it keeps to the bit, and draws the rest as the data have it', async () => {
  const image = normal([2, 500], { device, generator: new RandomGenerator(9) })
  const keep = tensor(Uint8Array.from({ length: 500 }, (_, i) => i % 2), null, { dtype: 'bool', device })
  for (const inner of [ddim(), dpmSolver2M(), restarting(ancestralEuler())]) {
    const grid = inner.name.startsWith('restarting') ? withRestarts(levels(path, 30), [{ least: 1, most: 3 }]) : levels(path, 30)
    const x = await list(await sample(gaussian(0.4, 0.5), { path, levels: grid, sampler: inpainting(inner, { image, keep }), shape: [500], seeds: [1, 2], device }))
    const wanted = await list(image)
    expect(x.filter((_, i) => i % 2 === 1)).toEqual(wanted.filter((_, i) => i % 2 === 1))
    const rest = x.filter((_, i) => i % 2 === 0)
    expect(Math.abs(rest.reduce((sum, v) => sum + v, 0) / rest.length - 0.4)).toBeLessThan(0.12)
  }
  await expect(sample(gaussian(0, 1), { path, levels: levels(path, 3), sampler: inpainting(ddim(), { image, keep }), shape: [500], seeds: [1], device })).rejects.toThrow('inpainting: the image is [2,500] but images of [1,500] are sampled')
})

test('dopri5: one step is enough; its own are resumed with the length that they had; all levels give nearly the same', async () => {
  for (const one of [path, edmPath(), flowPath(), vpPath()]) {
    const options = { path: one, shape: [3], seeds: [7, 8], device }
    const denoise = gaussian(0.4, 0.5)
    const exact = await list(await sample(denoise, { ...options, levels: levels(one, 400, one.name === 'edmPath' ? karras() : undefined), sampler: heun() }))
    const states: SamplerState[] = []
    const five = await list(await sample(denoise, { ...options, levels: levels(one, 5), sampler: dopri5(), async onStep({ state }) {
      states.push({ ...state, x: tensor(await state.x.data(), state.x.shape, { device }) })
    } }))
    for (const found of [await list(await sample(denoise, { ...options, levels: levels(one, 1), sampler: dopri5() })), five]) {
      for (const [i, x] of found.entries()) expect(Math.abs(x - at(exact, i))).toBeLessThan(one === path ? 4e-3 : 5e-4) // a table's last step is long
    }
    expect(at(states, 1).numbers['h']).not.toBe(0)
    const resumed = await list(await sample(denoise, { ...options, levels: levels(one, 5), sampler: dopri5(), from: at(states, 1) }))
    for (const [i, x] of resumed.entries()) expect(Math.abs(x - at(five, i))).toBeLessThan(device.name === 'reference' ? 1e-5 : 1e-9)
  }
  await expect(sample(gaussian(0, 1), { path, levels: levels(path, 2), sampler: dopri5({ rtol: 0, atol: 1e-30 }), shape: [2], seeds: [1], device: devices.find(({ name }) => name === 'cpu') ?? device })).rejects.toThrow('is above the tolerance')
})

test('dpmSolverAdaptive: one step is enough, as near as the tolerance asks; errors where it cannot', async () => {
  const denoise = gaussian(0.4, 0.5)
  for (const one of [path, edmPath(), vpPath()]) {
    const options = { path: one, shape: [3], seeds: [7, 8], device }
    const exact = await list(await sample(denoise, { ...options, levels: levels(one, 400, one.name === 'edmPath' ? karras() : undefined), sampler: heun() }))
    const distance = async (steps: number, tolerance: number): Promise<number> => {
      const found = await list(await sample(denoise, { ...options, levels: levels(one, steps), sampler: dpmSolverAdaptive({ rtol: tolerance, atol: tolerance / 5 }) }))
      return Math.max(...found.map((x, i) => Math.abs(x - at(exact, i))))
    }
    expect(await distance(1, 0.05)).toBeLessThan(0.2)
    for (const steps of [1, 4]) expect(await distance(steps, 1e-3)).toBeLessThan(5e-3)
  }
  await expect(sample(denoise, { path: flowPath(), levels: levels(flowPath(), 4), sampler: dpmSolverAdaptive(), shape: [2], seeds: [1], device })).rejects.toThrow('it cannot begin at noise alone')
  await expect(sample(denoise, { path, levels: levels(path, 2), sampler: dpmSolverAdaptive({ rtol: 0, atol: 1e-30 }), shape: [2], seeds: [1], device })).rejects.toThrow('is above the tolerance')
  expect(() => dpmSolverAdaptive({ first: 0 })).toThrow('dpmSolverAdaptive: a first step of 0')
})

test('a run saved after each step of a multistep sampler goes on in another process with the same bits', async () => {
  const script = new URL('resume.ts', import.meta.url)
  const options = { path, levels: levels(path, 6), sampler: dpmSolver3M({ eta: 1 }), shape: [3], seeds: [7, 8], device: await cpuDevice() }
  const states: SavedState[] = []
  const whole = await list(await sample(gaussian(0.4, 0.5), { ...options, onStep: async ({ state }) => void states.push(await saveState(state)) }))
  expect(states.map(({ step, memory }) => [step, Object.keys(memory).length])).toEqual([[1, 1], [2, 2], [3, 2], [4, 2], [5, 2], [6, 2]])
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(script), JSON.stringify(states.slice(1, 3))])
  expect(JSON.parse(stdout)).toEqual([whole, whole])
  const state = await loadState(at(states, 2), { device: options.device })
  expect(await list(await sample(gaussian(0.4, 0.5), { ...options, from: state }))).toEqual(whole)
})

test('between the noise of two seeds: both ends are those of the seeds, and the middle is as long as they are', async () => {
  const grid = levels(path, 5)
  const cpu = await cpuDevice()
  const options = { path, levels: grid, shape: [400], device: cpu }
  const [one, two] = [startingNoise({ ...options, seeds: [1, 3] }), startingNoise({ ...options, seeds: [2, 4] })]
  const run = async (share: number): Promise<number[]> => list(await sample(gaussian(0, 1), { ...options, seeds: [0, 0], sampler: ddim(), from: { noisy: slerp(one, two, share) } }))
  const near = (x: readonly number[], y: readonly number[]): number => Math.max(...x.map((v, i) => Math.abs(v - at(y, i))))
  expect(near(await run(0), await list(await sample(gaussian(0, 1), { ...options, seeds: [1, 3], sampler: ddim() })))).toBeLessThan(1e-5)
  expect(near(await run(1), await list(await sample(gaussian(0, 1), { ...options, seeds: [2, 4], sampler: ddim() })))).toBeLessThan(1e-5)
  const size = (x: readonly number[]): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length)
  expect(size(await list(slerp(one, two, 0.5)))).toBeGreaterThan(0.95)
  expect(size((await list(add(one, two))).map((v) => v / 2))).toBeLessThan(0.78)
  // Of a vector with itself, and of opposite ones, of which no way is the shortest, there is no NaN.
  expect(near(await list(slerp(one, one, 0.3)), await list(one))).toBeLessThan(1e-6)
  expect((await list(slerp(one, one.neg(), 0.5))).every(Number.isFinite)).toBe(true)
  expect(() => slerp(one, tensor([1, 2], [1, 2], { device: cpu }), 0.5)).toThrow('slerp: [2,400] and [1,2]; pass two batches')
  expect(() => startingNoise({ ...options, seeds: [] })).toThrow('startingNoise: 0 seeds')
})

test('noise to begin with is as strong as the path says', async () => {
  const still = (one: NoisePath): Promise<Tensor> => sample(gaussian(0, 1e6), { path: one, levels: [path.at(999), path.at(998)], sampler: ddim(), shape: [1000], seeds: [1], device })
  const [unit, half] = [await list(await still(path)), await list(await still({ ...path, beginning: () => 0.5 }))]
  for (const [i, x] of half.entries()) expect(x).toBeCloseTo(at(unit, i) / 2, 5)
})

test('annealed Langevin dynamics ends in the distribution', async () => {
  const ve = vePath({ sigmaMin: 0.01, sigmaMax: 10 })
  const x = await list(await sample(gaussian(0.4, 0.5), { path: ve, levels: levels(ve, 60), sampler: annealedLangevin({ snr: 0.3, steps: 3 }), shape: [2000], seeds: [5], device: devices.find(({ name }) => name === 'cpu') ?? device }))
  const found = x.reduce((sum, v) => sum + v, 0) / x.length
  expect(Math.abs(found - 0.4)).toBeLessThan(0.1)
  expect(Math.abs(Math.sqrt(x.reduce((sum, v) => sum + (v - found) ** 2, 0) / x.length) - 0.5)).toBeLessThan(0.1)
})

test('a consistency function is x itself at time 0, and is gone through up and down', async () => {
  const said = consistencyBoundary()(gaussian(0.4, 0.5))
  const x = tensor([1, -2], [1, 2], { device })
  expect(await list(said(x, { t: 0, alpha: 1, sigma: 0.1 }, {}).x0)).toEqual([1, -2])
  expect((await list(said(x, path.at(999), {}).x0)).map((v, i) => Math.abs(v - 0.4) < 0.1 && i < 2)).toEqual([true, true])
  const y = await list(await sample(said, { path, levels: levels(path, 4), sampler: consistency(), shape: [100], seeds: [3], device }))
  expect(y.every((v) => Math.abs(v) < 3)).toBe(true)
})

describe('wrong use', () => {
  const denoise = gaussian(0, 1)
  const options = { path, levels: levels(path, 4), sampler: ddim(), shape: [2], seeds: [1, 2], device }
  const up: readonly HostLevel[] = [path.at(500), path.at(600), path.at(400)]
  test.each<[string, () => Promise<unknown>]>([
    ['sample: there are no seeds', () => sample(denoise, { ...options, seeds: [] })],
    ['sample: ddim takes at least 1 steps, but 1 levels are 0', () => sample(denoise, { ...options, levels: [path.at(999)] })],
    ['sample: pndm takes at least 4 steps, but 4 levels are 3', () => sample(denoise, { ...options, sampler: pndm(), levels: levels(path, 3) })],
    ['sample: level 1 has σ/α = ', () => sample(denoise, { ...options, levels: up })],
    ['sample: condition labels is [3] but there are 2 seeds; its first axis must count the images', () => sample(denoise, { ...options, conditions: { labels: tensor([1, 2, 3], null, { device }) } })],
    ['sample: images [1,2] to begin with, but seeds and shape ask for [2,2]', () => sample(denoise, { ...options, from: { noisy: tensor([1, 2], [1, 2], { device }) } })],
    ['sample: a state after step 9 of 4', () => sample(denoise, { ...options, from: { step: 9, x: tensor([1, 2, 3, 4], [2, 2], { device }), memory: {}, numbers: {} } })],
    ['dpmSolver: 2 orders for 4 steps; give one for each', () => sample(denoise, { ...options, sampler: dpmSolver({ order: [1, 2] }) })],
    ['ddpm: the network says nothing of the variance', () => sample(denoise, { ...options, sampler: ddpm({ variance: 'learned' }) })],
  ])('%s', async (message, run) => {
    await expect(run()).rejects.toThrow(message)
  })
  test.each<[string, () => unknown]>([
    ['ddim: eta is -1', () => ddim({ eta: -1 })],
    ['dpmSolver2M: eta is NaN', () => dpmSolver2M({ eta: NaN })],
    ['dpmSolver: order 4', () => dpmSolver({ order: 4 as 3 })],
    ['lms: order 5; use 1 to 4', () => lms({ order: 5 })],
    ['unipc: order 0; use 1 to 4', () => unipc({ order: 0 })],
    ['unipc: variant bh3; use bh1 or bh2', () => unipc({ variant: 'bh3' as 'bh1' })],
    ['saSolver: predictor of order 0', () => saSolver({ predictor: 0 })],
    ['saSolver: tau is -1', () => saSolver({ tau: -1 })],
    ['edmStochastic: churn -1', () => edmStochastic({ churn: -1 })],
  ])('%s', (message, run) => {
    expect(run).toThrow(message)
  })
})
