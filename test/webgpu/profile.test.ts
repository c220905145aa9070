/** Profiles: every launch has a time, rows and totals agree, and the trace is what trace viewers read. */
import { afterAll, expect, test } from 'vitest'
import { cumsum, device, exp, mul, profile, realize, sum, tensor, uniform } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'

const gpu = await device('webgpu', { makeDefault: false })
afterAll(async () => gpu.close())

const peaks = { flopsPerSecond: 1e12, bytesPerSecond: 1e11 }

function work(on: Device): Tensor {
  const x = uniform([64, 300], { device: on })
  return on.scope('head', () => exp(mul(x, sum(x))))
}

test('launches of all runs have times', async () => {
  const before = gpu.counters.launches
  const { rows, runs, seconds, value } = await profile(gpu, async () => {
    for (let i = 0; i < 3; i++) await realize(work(gpu))
    return 'done'
  }, { peaks })
  expect([runs, value]).toEqual([3, 'done'])
  expect(rows.length).toBeGreaterThanOrEqual(3 * 2)
  expect(gpu.counters.launches - before).toBeGreaterThanOrEqual(rows.length)
  expect(new Set(rows.map(({ path }) => path))).toContain('head')
  expect(rows.find(({ op }) => op === 'exp')).toMatchObject({ path: 'head', run: 0 })
  for (const { seconds: took, start, flops, bytes, flopsPerSecond, bytesPerSecond, roofline } of rows) {
    expect(took).toBeGreaterThan(0)
    expect(start).toBeGreaterThanOrEqual(0)
    expect(flopsPerSecond).toBeCloseTo(flops / took, 0)
    expect(bytesPerSecond).toBeCloseTo(bytes / took, 0)
    expect(roofline).toBeCloseTo(Math.max(flops / 1e12, bytes / 1e11) / took)
  }
  // Dawn rounds to 2¹⁶ ns unless it is told not to.
  expect(rows.some(({ seconds: took }) => Math.round(took * 1e9) % 2 ** 16 !== 0)).toBe(true)
  expect(rows.reduce((total, row) => total + row.seconds, 0)).toBeCloseTo(seconds)
})

test('launches have the paths of the graph that runs, not of the one that its plan was compiled for', async () => {
  const run = (path: string): Tensor => gpu.scope(path, () => exp(sum(uniform([70, 300], { device: gpu }), 0)))
  await realize(run('encoder'))
  const compiled = gpu.plans.compiled
  const { rows } = await profile(gpu, async () => {
    for (const path of ['decoder', 'unet.up', 'encoder']) await realize(run(path))
  }, { peaks })
  expect([0, 1, 2].map((n) => [...new Set(rows.filter((row) => row.run === n && row.path !== '').map(({ path }) => path))])).toEqual([['decoder'], ['unet.up'], ['encoder']])
  expect(gpu.plans.compiled).toBe(compiled)
})

test('the table has a line for each step, then for each op', async () => {
  const result = await profile(gpu, async () => realize(work(gpu)), { peaks })
  const [summary, ...lines] = result.table().split('\n')
  expect(summary).toMatch(/^\d+ launches in 1 runs, \d+\.\d{3} ms; peaks 1000 GFLOP\/s, 100\.0 GB\/s$/)
  const table = lines.join('\n')
  expect(table).toMatch(/ +\d+ head\/exp\n/)
  expect(table).toMatch(/\n[ \d.%]+ {2}exp(?:\n|$)/)
  const times = lines.slice(2, 2 + result.rows.length).map((line) => Number(line.trim().split(/\s+/)[0]))
  expect(times).toEqual(times.toSorted((x, y) => y - x))
  expect(result.table({ lines: 1 })).toContain(`\n${result.rows.length - 1} more\n`)
})

test('the trace', async () => {
  const result = await profile(gpu, async () => realize(work(gpu)), { peaks })
  const { traceEvents } = JSON.parse(result.trace()) as { traceEvents: { ph: string; tid: number; name: string; ts: number; dur: number; args: { path?: string } }[] }
  const [runs, launches] = [0, 1].map((tid) => traceEvents.filter((event) => event.ph === 'X' && event.tid === tid))
  expect(runs?.map(({ name }) => name)).toEqual(['run 0'])
  expect(launches?.map(({ name }) => name)).toContain('head/exp')
  const [run] = runs ?? []
  for (const { ts, dur } of launches ?? []) {
    expect(ts).toBeGreaterThanOrEqual(run?.ts ?? Infinity)
    expect(ts + dur).toBeLessThanOrEqual((run?.ts ?? 0) + (run?.dur ?? 0) + 1)
  }
})

test('peaks are measured', async () => {
  const { peaks: { flopsPerSecond, bytesPerSecond } } = await profile(gpu, () => undefined)
  expect(flopsPerSecond).toBeGreaterThan(1e8)
  expect(flopsPerSecond).toBeLessThan(1e13)
  expect(bytesPerSecond).toBeGreaterThan(1e7)
  expect(bytesPerSecond).toBeLessThan(1e12)
})

test('nothing is timed afterwards, and values are the same', async () => {
  const x = tensor(3, null, { device: gpu })
  const { value } = await profile(gpu, async () => mul(x, x).item(), { peaks })
  expect(value).toBe(9)
  await expect(profile(gpu, () => Promise.reject(new RangeError('mine')), { peaks })).rejects.toThrow('mine')
  expect(gpu.watch).toBeUndefined()
  expect(await mul(x, x).item()).toBe(9)
})

test('one watcher at a time', async () => {
  await expect(profile(gpu, async () => profile(gpu, () => undefined, { peaks }), { peaks })).rejects.toThrow('profile: the webgpu device is watched already, and by one at a time; wait for the profile or detectAnomaly before')
})

test('peaks that make no sense', async () => {
  await expect(profile(gpu, () => undefined, { peaks: { flopsPerSecond: 0 } })).rejects.toThrow('profile: the peak flopsPerSecond is 0, but must be above 0')
})

test('a run of more dispatches than a query set holds times of', async () => {
  let x = tensor([1, 0, 0, 0], null, { device: gpu })
  for (let i = 0; i < 2100; i++) x = cumsum(x, 0)
  const { rows } = await profile(gpu, async () => realize(x), { peaks })
  const scans = rows.filter(({ op }) => op === 'cumsum')
  expect(scans.length).toBe(2100)
  expect(scans.every(({ seconds, start }, i) => seconds > 0 && start >= (scans[i - 1]?.start ?? 0))).toBe(true)
})
