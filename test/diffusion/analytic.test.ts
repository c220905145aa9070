/** Samplers on Gaussian data, whose denoiser and whose ODE are known: against k-diffusion's numbers and the exact solution. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { add, device, div, mul, realize, sub, tensor } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { edmPath } from '../../diffusion/paths/continuous.ts'
import { exponential, karras, levels } from '../../diffusion/paths/levels.ts'
import { noiseRatio } from '../../diffusion/paths/path.ts'
import type { HostLevel } from '../../diffusion/paths/path.ts'
import { Prediction } from '../../diffusion/prediction.ts'
import { ancestralEuler, ddim, euler } from '../../diffusion/samplers/ancestral.ts'
import { dpmSolver2M, dpmSolver2S, dpmSolver3M, dpmSolver3S, dpmSolverSde, thirdOrder } from '../../diffusion/samplers/dpmSolver.ts'
import { deis, ipndm, lms } from '../../diffusion/samplers/multistep.ts'
import type { Problem, Sampler, SamplerState } from '../../diffusion/samplers/sampler.ts'
import { dpmSolver, fastOrders } from '../../diffusion/samplers/singlestep.ts'
import { dopri5, eulerInTime, heunInTime, midpoint, rk4 } from '../../diffusion/samplers/integrators.ts'
import { integrate } from '../../diffusion/samplers/rungeKutta.ts'
import { saSolver } from '../../diffusion/samplers/saSolver.ts'
import { unipc } from '../../diffusion/samplers/unipc.ts'
import { ancestralDpm2, dpm2, edmStochastic, heun } from '../../diffusion/samplers/secondOrder.ts'

interface Oracle {
  readonly mu: readonly (readonly number[])[]
  readonly x_init: readonly (readonly number[])[]
  readonly exact_ode_solution_at_sigma0: readonly (readonly number[])[]
  readonly results: Readonly<Record<string, { readonly x: readonly (readonly number[])[]; readonly max_err_vs_exact_ode: number }>>
}
const oracle = JSON.parse(readFileSync(new URL('../oracles/diffusion/analytic_oracles.json', import.meta.url), 'utf8')) as Oracle
const reference = await device('reference')
const doubles = (rows: readonly (readonly number[])[]): Tensor => tensor(Float64Array.from(rows.flat()), [rows.length, at(rows, 0).length], { device: reference, dtype: 'f64' })
const path = edmPath()
const mu = doubles(oracle.mu)
/** The ODE's solution at a level: μ + (x − μ)·√((s² + σ²)/(s² + σ_T²)). */
const exactAt = ({ sigma }: HostLevel): number[][] => oracle.x_init.map((row, i) => row.map((x, j) => at(at(oracle.mu, i), j) + (x - at(at(oracle.mu, i), j)) * Math.sqrt((0.25 + sigma ** 2) / (0.25 + 80 ** 2))))

/** E[x₀ | x] for data N(μ, ¼): (α·s²·x + σ²·μ)/(α²·s² + σ²). */
function denoise(x: Tensor, level: HostLevel): Prediction {
  const [a, s] = [level.alpha ** 2 / 4, level.sigma ** 2]
  return Prediction.ofImage(add(mul(x, level.alpha / 4 / (a + s)), mul(mu, s / (a + s))), x, level)
}

/** √2·sin(0.5 + 1.7i + 0.9k), i counting elements. */
const wave = (k: number): Tensor => doubles([0, 4].map((first) => [0, 1, 2, 3].map((i) => Math.SQRT2 * Math.sin(0.5 + 1.7 * (first + i) + 0.9 * k))))

/** What `dpmSolverSde` must be given so that the noise of its whole step, and not that of the second half, is the next one. */
const ofHalves = (grid: readonly HostLevel[]): Problem['noise'] => (step, draw = 0) => {
  if (draw === 0) return wave(2 * step)
  const [s, end] = [noiseRatio(at(grid, step)), noiseRatio(at(grid, step + 1))]
  const share = (s - Math.sqrt(s * end)) / (s - end)
  return div(sub(wave(2 * step + 1), mul(wave(2 * step), Math.sqrt(share))), Math.sqrt(1 - share))
}

async function run(sampler: Sampler, grid: readonly HostLevel[], from?: SamplerState): Promise<number[]> {
  const problem: Problem = { path, levels: grid, denoise, noise: sampler.name === 'dpmSolverSde' ? ofHalves(grid) : wave }
  let state: SamplerState = from ?? { step: 0, x: doubles(oracle.x_init), memory: {}, numbers: {} }
  while (state.step + 1 < grid.length) {
    const { memory = {}, numbers = {}, step, x } = await sampler.step(state, problem)
    state = { step, x, memory, numbers }
    await realize(x, ...Object.values(memory))
  }
  return [...(await state.x.data())]
}

const samplers: Readonly<Record<string, Sampler>> = {
  sample_euler: euler(), sample_heun: heun(), sample_dpm_2: dpm2(), sample_lms: lms(), sample_dpmpp_2m: dpmSolver2M(),
  sample_euler_ancestral: ancestralEuler(), sample_dpm_2_ancestral: ancestralDpm2(), sample_dpmpp_2s_ancestral: dpmSolver2S({ eta: 1 }),
  sample_dpmpp_sde: dpmSolverSde(), sample_dpmpp_2m_sde: dpmSolver2M({ eta: 1 }), sample_dpmpp_3m_sde: thirdOrder(1, 0.5),
  'sample_heun churn40 tmin.05 tmax50 noise1.003': edmStochastic({ churn: 40, least: 0.05, most: 50, noise: 1.003 }),
}

/** The sampler and the levels behind a key of the oracle. */
function setup(key: string): readonly [Sampler, readonly HostLevel[]] {
  const [name = '', n = ''] = key.split('|')
  const count = Number(n.split('=')[1])
  if (name === 'sample_dpm_fast') {
    const order = fastOrders(count)
    return [dpmSolver({ order }), levels(path, order.length + 1, exponential(), { end: 'last' })]
  }
  const sampler = samplers[name]
  if (sampler === undefined) throw new Error(`${name} is not tested`)
  return [sampler, levels(path, count, karras())]
}

const worst = (found: readonly number[], wanted: readonly (readonly number[])[]): number => Math.max(...wanted.flat().map((x, i) => Math.abs(at(found, i) - x)))

describe('k-diffusion’s numbers, in float64', () => {
  test.each(Object.entries(oracle.results))('%s', async (key, { x }) => {
    expect(worst(await run(...setup(key)), x)).toBeLessThan(key.startsWith('sample_dpm_fast') ? 2e-5 : 1e-9) // whose levels are float32 there
  })
})

describe('the error of the ODE’s solution falls with the number of steps as the order says', () => {
  const orders: readonly (readonly [Sampler, number])[] = [
    [euler(), 1], [ddim(), 1], [heun(), 2], [dpm2(), 2], [dpmSolver2M(), 2], [dpmSolver2M({ solver: 'heun' }), 2], [dpmSolver2S(), 2],
    [dpmSolver({ order: 1 }), 1], [dpmSolver({ order: 2 }), 2], [dpmSolver(), 3], [ipndm({ order: 2 }), 1], [deis({ order: 2 }), 2],
    [unipc({ order: 1, corrector: false }), 1], [unipc({ order: 1 }), 2], [unipc({ order: 2, corrector: false }), 2], [unipc({ order: 2 }), 3], [unipc({ order: 3, variant: 'bh1' }), 4], [saSolver({ tau: 0, predictor: 1, corrector: 0 }), 1], [saSolver({ tau: 0, corrector: 0 }), 2],
    [saSolver({ tau: 0, predictor: 1 }), 2], [saSolver({ tau: 0, predictor: 3, corrector: 0 }), 3], [saSolver({ tau: 0, predictor: 3, corrector: 3 }), 4],
    [dpmSolver3S(), 3], [eulerInTime(), 1], [midpoint(), 2], [heunInTime(), 2], [rk4(), 4],
  ]
  const gain = async (error: (grid: readonly HostLevel[]) => Promise<number>): Promise<number> => {
    const [coarse, fine] = [await error(levels(path, 80, karras(), { end: 'last' })), await error(levels(path, 160, karras(), { end: 'last' }))]
    return Math.log2(coarse / fine)
  }
  const end = (grid: readonly HostLevel[]): number[][] => exactAt(at(grid, grid.length - 1))

  test.each(orders.map(([sampler, order]) => [sampler.name, order, sampler] as const))('%s, %s', async (_, order, sampler) => {
    expect(await gain(async (grid) => worst(await run(sampler, grid), end(grid)))).toBeGreaterThan(order - 0.3)
  })

  // A first step of first order leaves an error of second: methods of more begin with what is exact.
  test.each([['dpmSolver3M', 3, dpmSolver3M(), ['x0', 'older'] as const], ['lms', 4, lms(), ['eps1', 'eps2', 'eps3'] as const], ['deis', 3, deis(), ['eps1', 'eps2'] as const]] as const)('%s, %s, well begun', async (_, order, sampler, names) => {
    const begun = (grid: readonly HostLevel[]): SamplerState => {
      const step = names.length
      const said = (k: number): Prediction => denoise(doubles(exactAt(at(grid, step - k))), at(grid, step - k))
      return { step, x: doubles(exactAt(at(grid, step))), memory: Object.fromEntries(names.map((name, k) => [name, sampler.name === 'dpmSolver3M' ? said(k + 1).x0 : said(k + 1).eps])), numbers: {} }
    }
    expect(await gain(async (grid) => worst(await run(sampler, grid, begun(grid)), end(grid)))).toBeGreaterThan(order - 0.4)
    // What other programs compute as 3M is of second order.
    if (sampler.name === 'dpmSolver3M') expect(await gain(async (grid) => worst(await run(thirdOrder(0, 0.5), grid, begun(grid)), end(grid)))).toBeLessThan(2.2)
  })

  test('dopri5: within its tolerance over one step or many, and as far as its tolerance says', async () => {
    for (const tolerance of [1e-3, 1e-5, 1e-7]) {
      for (const steps of [2, 5]) {
        const grid = levels(path, steps, karras(), { end: 'last' })
        expect(worst(await run(dopri5({ rtol: tolerance, atol: tolerance }), grid), end(grid))).toBeLessThan(20 * tolerance)
      }
    }
  })

  test('dopri5: the unit of time does not matter to its error', async () => {
    const flat = (t: number): readonly Tensor[] => [doubles([[Math.cos(t)]])]
    for (const scale of [1, 1000]) {
      const { y: [end] } = await integrate((t) => flat(t / scale).map((x) => mul(x, 1 / scale)), 0, 3 * scale, [doubles([[0]])], { rtol: 1e-6, atol: 1e-6 })
      expect(Math.abs(at([...(await (end ?? mu).data())], 0) - Math.sin(3))).toBeLessThan(1e-5)
    }
  })
})
