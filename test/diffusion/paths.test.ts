/** Paths and grids against tables of other programs (test/oracles/diffusion), and what every path promises. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { at } from '../../engine/shape.ts'
import { betaProbability, betaQuantile } from '../../diffusion/paths/betaQuantile.ts'
import { cosineBetas, jabriBetas, linearBetas, scaledLinearBetas, sigmoidBetas } from '../../diffusion/paths/betas.ts'
import { cosinePath, edmPath, flowPath, fluxShift, laplacePath, vePath, vpPath } from '../../diffusion/paths/continuous.ts'
import { discretePath, zeroTerminalSnr } from '../../diffusion/paths/discrete.ts'
import { atRatios, atTimes, beta, evenly, exponential, karras, leading, levels, lu, trailing, uniformTimes } from '../../diffusion/paths/levels.ts'
import type { Spacing } from '../../diffusion/paths/levels.ts'
import { levelOf, logSnr, noiseRatio } from '../../diffusion/paths/path.ts'
import type { NoisePath } from '../../diffusion/paths/path.ts'

interface Table {
  readonly index: readonly number[]
  readonly alphas_cumprod: readonly number[]
  readonly betas: readonly number[]
}
const tables = JSON.parse(readFileSync(new URL('../oracles/diffusion/schedule_tables.json', import.meta.url), 'utf8')) as Record<string, Table> & {
  float64: Record<string, { alphas_cumprod: readonly number[]; sigma: readonly number[] }>
  karras_tables: Record<string, readonly number[]>
  timestep_spacing: Record<string, readonly number[]>
} & Record<string, { timesteps: readonly number[]; sigmas: readonly number[] }>

const relative = (x: number, y: number): number => (x === y ? 0 : Math.abs(x - y) / Math.max(Math.abs(x), Math.abs(y)))
function expectNear(found: Iterable<number>, wanted: readonly number[], tolerance: number): void {
  const list = [...found]
  expect(list.length).toBe(wanted.length)
  expect(Math.max(...list.map((x, i) => relative(x, at(wanted, i))))).toBeLessThan(tolerance)
}

const tableOf = { linear: linearBetas(), scaled_linear: scaledLinearBetas(), cosine: cosineBetas() }
const stableDiffusion = discretePath(scaledLinearBetas())

describe('discrete paths', () => {
  const { index } = tables['scaled_linear-SD'] as Table
  test.each(Object.entries(tableOf))('%s is that of exact arithmetic', (name, betas) => {
    const path = discretePath(betas)
    const wanted = tables.float64[name]
    expectNear(index.map((t) => path.at(t).alpha ** 2), wanted?.alphas_cumprod ?? [], 1e-12)
    expectNear(index.map((t) => noiseRatio(path.at(t))), wanted?.sigma ?? [], 1e-12)
  })

  test.each([
    ['linear-1e-4-0.02', linearBetas()], ['scaled_linear-SD', scaledLinearBetas()], ['squaredcos_cap_v2', cosineBetas()], ['sigmoid', sigmoidBetas()],
  ])('%s is that of diffusers, and so with zero terminal SNR', (name, betas) => {
    const path = discretePath(betas)
    // Its tables are products in float32.
    expectNear(index.map((t) => path.at(t).alpha ** 2), tables[name]?.alphas_cumprod ?? [], 3e-5)
    const zero = zeroTerminalSnr(path)
    const wanted = tables[`${name}-zsnr`]?.alphas_cumprod ?? []
    expect(Math.max(...index.map((t, i) => Math.abs(zero.at(t).alpha ** 2 - at(wanted, i))))).toBeLessThan(2e-5)
    expect(zero.at(999)).toEqual({ t: 999, alpha: 0, sigma: 1 })
    expect(zero.at(0).alpha).toBeCloseTo(path.at(0).alpha, 14)
  })

  test('other numbers of timesteps, and the other sigmoid', () => {
    expect(linearBetas(100)[99]).toBeCloseTo(0.2, 14)
    const jabri = discretePath(jabriBetas())
    const s = (x: number): number => 1 / (1 + Math.exp(-x))
    expect(jabri.at(499).alpha ** 2).toBeCloseTo((s(3) - s(0)) / (s(3) - s(-3)), 12)
    expect(jabri.at(999).alpha ** 2).toBeLessThan(1e-4)
  })

  test('a table that ends in 1 is all noise at the end, and has its times back', () => {
    const path = discretePath([0.1, 0.5, 1])
    expect(path.at(2)).toEqual({ t: 2, alpha: 0, sigma: 1 })
    for (const t of [0, 0.25, 1, 1.5, 1.9, 2]) expect(path.timeOf(logSnr(path.at(t)))).toBeCloseTo(t, 12)
  })

  test.each([[[], 'discretePath: the table of betas is empty'], [[0.1, 0], 'beta 1 is 0'], [[1.5], 'beta 0 is 1.5'], [[NaN], 'beta 0 is NaN']])('%j is no table', (betas, message) => {
    expect(() => discretePath(betas)).toThrow(message)
  })
})

const paths: readonly NoisePath[] = [
  discretePath(), stableDiffusion, discretePath(cosineBetas(50)), zeroTerminalSnr(stableDiffusion), zeroTerminalSnr(vpPath()),
  vpPath(), vePath(), edmPath(), cosinePath(), cosinePath({ size: 256 }), laplacePath(), flowPath(), flowPath({ shift: 3 }), flowPath({ shift: fluxShift(4096) }),
]

describe.each(paths.map((path) => [path.name, path] as const))('%s', (_, path) => {
  const [first, last] = [path.range[0], Math.min(path.range[1], 1e4)]
  const time = fc.double({ min: 0, max: 1, noNaN: true }).map((share) => first + share * (last - first))

  test('times and log-SNR are each other’s', () => {
    fc.assert(fc.property(time, (t) => {
      const level = path.at(t)
      expect(Number.isNaN(level.alpha) || Number.isNaN(level.sigma)).toBe(false)
      const back = path.at(path.timeOf(logSnr(level)))
      expect(Math.abs(back.alpha - level.alpha) / Math.max(1e-3, level.alpha)).toBeLessThan(1e-9)
      expect(Math.abs(back.sigma - level.sigma) / Math.max(1e-3, level.sigma)).toBeLessThan(1e-9)
    }))
  })

  test('noise grows with time', () => {
    fc.assert(fc.property(time, time, (s, t) => {
      if (s < t) expect(noiseRatio(path.at(s))).toBeLessThanOrEqual(noiseRatio(path.at(t)))
    }))
  })

  test('outside there is no level', () => {
    expect(() => path.at(first - 0.1)).toThrow(/: time -?[\d.]+ is outside the path, which goes from/)
    if (Number.isFinite(path.range[1])) expect(() => path.at(path.range[1] + 0.1)).toThrow('use a time in that range')
    expect(() => path.at(NaN)).toThrow('time NaN is outside')
  })

  test('a grid begins at the end of the span, descends, and ends clean', () => {
    const grid = levels(path, 7)
    expect(grid.length).toBe(8)
    expect(at(grid, 0)).toEqual(path.at(path.span[1]))
    expect(at(grid, 7)).toEqual(path.clean)
    expect(levels(path, 7, undefined, { end: 'last' }).length).toBe(at(grid, 7) === path.clean ? 7 : 8)
    expect(levels(path, 1).length).toBe(2)
  })
})

test('the paths have the values that their papers state', () => {
  expect(noiseRatio(vpPath().at(1))).toBeCloseTo(152.167, 3)
  expect(vePath().at(0.5).sigma).toBeCloseTo(Math.sqrt(0.02 * 100), 12)
  expect(noiseRatio(flowPath({ shift: 3 }).at(0.5)) / 3).toBeCloseTo(1, 12)
  expect(Math.log(fluxShift(4096))).toBeCloseTo(1.15, 12)
  expect(Math.log(fluxShift(256))).toBeCloseTo(0.5, 12)
  expect(logSnr(cosinePath({ size: 256 }).at(0.5))).toBeCloseTo(2 * Math.log(64 / 256), 9)
  expect(logSnr(laplacePath({ mean: 1 }).at(0.5))).toBeCloseTo(1, 12)
  expect(() => zeroTerminalSnr(edmPath())).toThrow('edmPath does not keep the variance')
})

describe('spacings', () => {
  const timesOf = (path: NoisePath, steps: number, spacing: Spacing): number[] => spacing(path, steps).map(({ t }) => t)
  const ratios = (path: NoisePath, steps: number, spacing: Spacing): number[] => levels(path, steps, spacing).map(noiseRatio)

  test('in timesteps', () => {
    expect(timesOf(stableDiffusion, 10, leading())).toEqual(tables.timestep_spacing['leading'])
    expect(timesOf(stableDiffusion, 10, trailing())).toEqual(tables.timestep_spacing['trailing'])
    expect(timesOf(stableDiffusion, 10, evenly())).toEqual(tables.timestep_spacing['linspace'])
    expect(timesOf(stableDiffusion, 10, leading({ offset: 1 }))[0]).toBe(901)
    // 1000 − i·1000/16 is 937.5, 812.5, …: halves go to the even neighbour.
    expect(timesOf(stableDiffusion, 16, trailing()).slice(0, 4)).toEqual([999, 937, 874, 811])
  })

  test.each([
    ['linspace', evenly({ round: false })], ['leading', leading()], ['trailing', trailing()], ['use_karras_sigmas', karras()], ['use_exponential_sigmas', exponential()], ['use_beta_sigmas', beta()],
  ])('%s has the levels of diffusers', (name, spacing) => {
    const wanted = tables[`euler_sd_${name}_20`]?.sigmas ?? []
    expectNear(ratios(stableDiffusion, 20, spacing).slice(0, 20), wanted.slice(0, 20), name === 'linspace' ? 2e-4 : 5e-5)
  })

  test('Karras’s tables', () => {
    const edm = edmPath()
    expectNear(ratios(edm, 18, karras()).slice(0, 18), tables.karras_tables['edm_0.002_80_rho7_n18_float64'] ?? [], 1e-12)
    expectNear(ratios(edm, 32, karras()).slice(0, 32), tables.karras_tables['edm2_0.002_80_rho7_n32_float64'] ?? [], 1e-12)
    expectNear(ratios(vpPath(), 10, uniformTimes()).slice(0, 10), tables.karras_tables['vp_n10']?.slice(0, 10) ?? [], 1e-3)
    expectNear(ratios(stableDiffusion, 20, lu()), ratios(stableDiffusion, 20, exponential()), 1e-9)
  })

  test('given ones', () => {
    expect(timesOf(stableDiffusion, 0, atTimes([999, 500.5]))).toEqual([999, 500.5])
    expectNear(ratios(edmPath(), 2, atRatios([80, 1])), [80, 1, 0], 1e-12)
    expect(levelOf(stableDiffusion, 0)).toBe(stableDiffusion.clean)
  })

  test.each<[string, () => unknown]>([
    ['levels: 0 steps', () => levels(stableDiffusion, 0)],
    ['trailing: 1001 steps through 1000 timesteps; use at most 1000', () => levels(stableDiffusion, 1001)],
    ['leading: edmPath does not count timesteps', () => levels(edmPath(), 5, leading())],
    ['karras: the grid would go from σ/α = Infinity to', () => levels(zeroTerminalSnr(stableDiffusion), 5, karras())],
    ['discretePath: no time has the log-SNR', () => levels(stableDiffusion, 5, karras({ most: 100 }))],
    ['step 1 begins at σ/α = 2, which is no less than 1 before it', () => levels(edmPath(), 2, atRatios([1, 2]))],
  ])('%s', (message, run) => {
    expect(run).toThrow(message)
  })
})

test('quantiles of the Beta distribution', () => {
  expect(betaProbability(0.5, 0.6, 0.6)).toBeCloseTo(0.5, 13)
  expect(betaProbability(0.3, 2, 3)).toBeCloseTo(0.3483, 10) // 6x² − 8x³ + 3x⁴
  fc.assert(fc.property(fc.double({ min: 0.001, max: 0.999, noNaN: true }), fc.double({ min: 0.5, max: 5, noNaN: true }), fc.double({ min: 0.5, max: 5, noNaN: true }), (p, a, b) => {
    expect(betaProbability(betaQuantile(p, a, b), a, b)).toBeCloseTo(p, 9)
  }))
})

describe('slopes are the derivatives of levels', () => {
  const paths: readonly NoisePath[] = [stableDiffusion, zeroTerminalSnr(stableDiffusion), discretePath(cosineBetas()), vpPath(), zeroTerminalSnr(vpPath()), vePath(), edmPath(), cosinePath(), cosinePath({ size: 256 }), laplacePath(), flowPath(), flowPath({ shift: 3 })]
  test.each(paths.map((path, i) => [`${path.name} (${i})`, path] as const))('%s', (_, path) => {
    const [first, last] = path.span
    fc.assert(fc.property(fc.double({ min: 0.01, max: 0.99, noNaN: true }), (share) => {
      const exact = first + share * (last - first)
      const t = path.timesteps === undefined ? exact : Math.floor(exact) + 0.5 // within a table's interval
      const h = 1e-5 * (path.timesteps === undefined ? t : 1)
      const [before, after, slope] = [path.at(t - h), path.at(t + h), path.slope(t)]
      for (const factor of ['alpha', 'sigma'] as const) expect(Math.abs((after[factor] - before[factor]) / (2 * h) - slope[factor])).toBeLessThan(1e-5 * Math.max(1e-3, Math.abs(slope[factor])))
    }))
  })
  test('at a timestep, that of the interval below', () => {
    for (const t of [1, 500, 999]) {
      const [slope, below] = [stableDiffusion.slope(t), stableDiffusion.slope(t - 1e-7)]
      expect(relative(slope.alpha, below.alpha)).toBeLessThan(1e-5)
      expect(relative(slope.sigma, below.sigma)).toBeLessThan(1e-5)
    }
    expect(() => discretePath([0.1]).slope(0)).toThrow('a path of one timestep has no slope')
    expect(() => flowPath().slope(1.1)).toThrow('time 1.1 is outside the path')
  })
})
