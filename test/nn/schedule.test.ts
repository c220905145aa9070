/** Learning rates at the steps where something changes, and beyond the end. */
import { expect, test } from 'vitest'
import { ConfigError } from '../../engine/index.ts'
import { constantSchedule, cosineSchedule } from '../../nn/schedule.ts'

test('constant', () => {
  expect([0, 1, 1e6].map(constantSchedule(0.1))).toEqual([0.1, 0.1, 0.1])
})

test('cosine with warm-up', () => {
  const rate = cosineSchedule(1, { steps: 14, warmup: 4, final: 0.5 })
  const expected = [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.5]
  ;[0, 1, 2, 3, 4, 9, 14, 20].forEach((k, i) => expect(rate(k)).toBeCloseTo(expected[i] ?? Number.NaN, 12))
})

test('a run that is all warm-up ends at the rate', () => {
  expect(cosineSchedule(2, { steps: 4, warmup: 4 })(3)).toBe(2)
})

test('a warm-up longer than the run is an error', () => {
  expect(() => cosineSchedule(1, { steps: 3, warmup: 4 })).toThrow(ConfigError)
  expect(() => cosineSchedule(1, { steps: 3, warmup: 4 })).toThrow('cosineSchedule: a warm-up of 4 steps does not fit into 3 steps; make it shorter')
})
