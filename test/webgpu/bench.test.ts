/** The benchmark of the WebGPU device: facts, a peak, and a subject that is held to it. */
import { expect, test } from 'vitest'
import { run } from '../../bench/run.ts'
import { matmulSubject, subjectsOf } from '../../bench/subjects.ts'
import { webgpuTarget } from '../../bench/target.ts'

test('a small subject', async () => {
  const shown: string[] = []
  const { facts, peaks, measurements } = await run({ subjects: [matmulSubject(16)], target: webgpuTarget(), seconds: 0.01, facts: [], show: (text) => shown.push(text) })
  expect(facts.map(([name]) => name)).toEqual(['device', 'features'])
  expect(facts[0]?.[1]).toMatch(/^WebGPU, .* \(software\)$/)
  expect(peaks.map(({ of, flops, bandwidth }) => [of, flops > 1e6, bandwidth > 1e6])).toEqual([['f32', true, true]])
  expect(measurements.map(({ name, flops, ours }) => [name, flops, ours.calls >= 5])).toEqual([['matmul_f32_16', 2 * 16 ** 3, true]])
  expect(shown.at(-1)).toMatch(/^matmul_f32_16 +[\d.]+ +[\d.]+–[\d.]+ +[\d.]+ G(?:FLOP|B)\/s +\d+ %$/)
})

test('GPUs have larger products to do', () => {
  const names = subjectsOf('webgpu').map(({ name }) => name)
  expect(names.slice(0, 4)).toEqual(['', '_abT', '_aTb', '_aTbT'].map((mode) => `matmul_f32_4096${mode}`))
  expect(names.slice(4)).toEqual(subjectsOf('cpu').map(({ name }) => name))
})
