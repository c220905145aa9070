/** A benchmark of small subjects from beginning to end, and how its results are shown. */
import { expect, test } from 'vitest'
import { choose, run } from '../../bench/run.ts'
import type { Report } from '../../bench/run.ts'
import { convSubject, matmulSubject, subjects } from '../../bench/subjects.ts'
import { cpuTarget } from '../../bench/target.ts'
import { header, line, markdown, row, widthsFor } from '../../bench/table.ts'

const peak = { of: '2 threads', flops: 200e9, bandwidth: 50e9 }
const ours = { median: 2, p10: 1.5, p90: 12.34, least: 1.4, calls: 9 }
const peer = { median: 4, p10: 3.999, p90: 123.4, least: 3.9, calls: 9 }

test('a row has the rate of the work that limits, and its share of the peak', () => {
  expect(row({ name: 'compute', flops: 2e8, bytes: 1e6, ours, peer }, peak)).toEqual(['compute', '2.00', '1.50–12.3', '100 GFLOP/s', '50 %', '4.00', '4.00–123', '0.50'])
  expect(row({ name: 'memory', flops: 2e6, bytes: 1e7, ours }, peak)).toEqual(['memory', '2.00', '1.50–12.3', '5.00 GB/s', '10 %'])
})

test('rows stand under the header', () => {
  const widths = widthsFor(['longest'])
  expect(line(header(false), widths)).toBe('subject       ms        p10–p90           rate  of peak')
  expect(line(row({ name: 'memory', flops: 2e6, bytes: 1e7, ours }, peak), widths)).toBe('memory      2.00      1.50–12.3      5.00 GB/s     10 %')
})

test('the page', () => {
  const report: Report = { facts: [['device', 'CPU']], peaks: [{ of: '1 thread', flops: 99.9e9, bandwidth: 30e9 }, peak], measurements: [{ name: 'a', flops: 2e8, bytes: 0, ours, peer }] }
  const page = markdown(report, 'Results', 'langevin bench cpu --torch').split('\n')
  expect(page[0]).toBe('# Results')
  expect(page).toContain('- device: CPU')
  expect(page).toContain('- peak, 1 thread: 99.9 GFLOP/s, 30.0 GB/s')
  expect(page).toContain('- made by `langevin bench cpu --torch`')
  expect(page.slice(-4)).toEqual([
    '| subject | ms | p10–p90 | rate | of peak | PyTorch ms | p10–p90 | ratio |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    '| a | 2.00 | 1.50–12.3 | 100 GFLOP/s | 50 % | 4.00 | 4.00–123 | 0.50 |',
    '',
  ])
})

test('subjects are chosen by parts of their names', () => {
  expect(new Set(subjects.map(({ name }) => name)).size).toBe(subjects.length)
  expect(choose(subjects, undefined)).toEqual(subjects)
  expect(choose(subjects, 'matmul_f32_1024,adamw').map(({ name }) => name)).toEqual(['matmul_f32_1024', 'matmul_f32_1024_abT', 'matmul_f32_1024_aTb', 'matmul_f32_1024_aTbT', 'adamw_fused_10M_514_tensors'])
  expect(() => choose(subjects, 'fft')).toThrow('no subject\'s name contains "fft"; there are matmul_f32_512, ')
})

test('small subjects, beside a peer', { timeout: 120_000 }, async () => {
  const shown: string[] = []
  const asked: string[] = []
  const small = [matmulSubject(16), convSubject({ batch: 1, channels: 2, size: 4, out: 3 }, true)]
  const time = async (name: string, seconds: number): Promise<readonly number[]> => {
    asked.push(`${name} for ${seconds} s`)
    return [1, 2, 30]
  }
  const report = await run({ subjects: small, target: cpuTarget({ threads: 1, level: 'relaxed', experimental: false }), seconds: 0.01, peer: { time }, facts: [['date', 'today']], show: (text) => shown.push(text) })
  expect(asked).toEqual(small.flatMap(({ name }) => Array.from({ length: 5 }, () => `${name} for 0.002 s`)))
  expect(report.facts).toEqual([['date', 'today'], ['device', 'CPU, WebAssembly relaxed SIMD on 1 worker thread'], ['instructions', 'relaxed: asked for']])
  expect(report.peaks.map(({ of }) => of)).toEqual(['1 thread'])
  for (const { flops, bandwidth } of report.peaks) expect([flops > 1e9, bandwidth > 1e8]).toEqual([true, true])
  expect(report.measurements.map(({ name, flops, bytes, peer }) => ({ name, flops, bytes, peer }))).toEqual([
    { name: 'matmul_f32_16', flops: 2 * 16 ** 3, bytes: 12 * 16 ** 2, peer: { median: 2, p10: 1, p90: 30, least: 1, calls: 15 } },
    { name: 'conv2d_3x3_N1_C2_4x4_O3_forward_backward', flops: 3 * 2 * 48 * 18, bytes: 4 * (3 * 32 + 2 * 48), peer: { median: 2, p10: 1, p90: 30, least: 1, calls: 15 } },
  ])
  for (const { ours: { least, p10, median, p90, calls } } of report.measurements) expect([calls >= 5, least > 0, least <= p10, p10 <= median, median <= p90]).toEqual([true, true, true, true, true])
  expect(shown.at(-1)).toMatch(/^conv2d_3x3_N1_C2_4x4_O3_forward_backward {2}/)
})
