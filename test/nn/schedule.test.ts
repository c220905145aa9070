/** Schedules against torch.optim.lr_scheduler, and what they do at their ends and where numbers make no sense. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../engine/index.ts'
import {
  constantSchedule, cosineRestartsSchedule, cosineSchedule, exponentialSchedule, inverseSqrtSchedule, linearSchedule, multiStepSchedule, oneCycle, polynomialSchedule, sequentialSchedule, stepSchedule,
  withWarmup,
} from '../../nn/learningRate.ts'
import type { Schedule } from '../../nn/learningRate.ts'

interface Case {
  readonly id: string
  readonly lr: readonly number[]
  readonly momentum?: readonly number[]
}
const { cases } = JSON.parse(readFileSync(path.join(import.meta.dirname, '../oracles/ops/lr_schedules.json'), 'utf8')) as { cases: Case[] }

const linearCycle = oneCycle(5e-3, { steps: 30, rise: 0.4, anneal: 'linear', divFactor: 10, finalDivFactor: 100 })
const cosineCycle = oneCycle(1e-2, { steps: 40 })
const schedules: Readonly<Record<string, Schedule>> = {
  'lr/cosine': cosineSchedule(1e-3, { steps: 40, final: 1e-5 }),
  'lr/cosine_restarts': cosineRestartsSchedule(1e-2, { steps: 10, factor: 2 }),
  'lr/linear_warmup': withWarmup(constantSchedule(2e-3), 8, { start: 0.1 }),
  'lr/warmup_then_cosine': withWarmup(cosineSchedule(3e-4, { steps: 40 }), 10),
  'lr/inverse_sqrt': withWarmup(inverseSqrtSchedule(1e-3, { timescale: 10 }), 10),
  'lr/onecycle_cos': cosineCycle.lr,
  'lr/onecycle_linear': linearCycle.lr,
  'lr/step': stepSchedule(1e-2, { size: 7, gamma: 0.3 }),
  'lr/exponential': exponentialSchedule(1e-2, { gamma: 0.93 }),
  'lr/polynomial': polynomialSchedule(1e-2, { steps: 20, power: 2 }),
}
const momenta: Readonly<Record<string, Schedule>> = { 'lr/onecycle_cos': cosineCycle.momentum, 'lr/onecycle_linear': linearCycle.momentum }

test.each(cases.map((c) => [c.id, c] as const))('%s', (id, { lr, momentum }) => {
  const schedule = schedules[id] ?? (() => Number.NaN)
  // torch's cosine rises again after its end; ours stays there.
  const upTo = id === 'lr/cosine' ? 41 : lr.length
  lr.slice(0, upTo).forEach((x, k) => expect(Math.abs(schedule(k) - x), `step ${k}`).toBeLessThan(1e-11))
  momentum?.forEach((x, k) => expect(Math.abs((momenta[id]?.(k) ?? Number.NaN) - x), `momentum of step ${k}`).toBeLessThan(1e-11))
})

test('what the oracles do not hold', () => {
  expect([0, 5, 10, 99].map(linearSchedule(1, { steps: 10, final: 0.5 }))).toEqual([1, 0.75, 0.5, 0.5])
  expect([1, 2, 3, 5, 9].map(multiStepSchedule(1, { milestones: [5, 2], gamma: 0.5 }))).toEqual([1, 0.5, 0.5, 0.25, 0.25])
  expect([0, 2, 3, 4, 9].map(sequentialSchedule([constantSchedule(7), linearSchedule(1, { steps: 2 }), (k) => -k], [2, 4]))).toEqual([7, 1, 0.5, -0, -5])
  expect([0, 1, 2].map(withWarmup(constantSchedule(1), 0))).toEqual([1, 1, 1])
})

test('they stay where they end', () => {
  const ending = { cosine: cosineSchedule, linear: linearSchedule, polynomial: polynomialSchedule }
  for (const make of Object.values(ending)) expect([10, 11, 1e9].map(make(1, { steps: 10, final: 0.25 }))).toEqual([0.25, 0.25, 0.25])
  expect(cosineCycle.lr(1e6)).toBeCloseTo(4e-8, 15)
  expect(cosineCycle.momentum(1e6)).toBeCloseTo(0.95, 12)
})

test('between their ends they stay between their ends', () => {
  const number = fc.double({ min: 0, max: 1, noNaN: true })
  fc.assert(fc.property(number, number, fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 5000 }), (lr, final, steps, factor, k) => {
    const [low, high] = [Math.min(lr, final) - 1e-12, Math.max(lr, final) + 1e-12]
    for (const schedule of [linearSchedule(lr, { steps, final }), cosineSchedule(lr, { steps, final }), cosineRestartsSchedule(lr, { steps, factor, final })]) {
      expect(schedule(k)).toBeGreaterThanOrEqual(low)
      expect(schedule(k)).toBeLessThanOrEqual(high)
      expect(schedule(0)).toBeCloseTo(lr, 12)
    }
    expect(withWarmup(cosineSchedule(lr, { steps, final }), 17)(17 + k)).toBe(cosineSchedule(lr, { steps, final })(k))
  }))
})

describe('refuses', () => {
  test.each<[string, () => unknown]>([
    ['cosineSchedule: steps is 0; use a positive number of steps', () => cosineSchedule(1, { steps: 0 })],
    ['linearSchedule: steps is NaN; use a positive number of steps', () => linearSchedule(1, { steps: Number.NaN })],
    ['polynomialSchedule: steps is -2; use a positive number of steps', () => polynomialSchedule(1, { steps: -2 })],
    ['cosineRestartsSchedule: steps is -1; use a positive number of steps', () => cosineRestartsSchedule(1, { steps: -1 })],
    ['cosineRestartsSchedule: factor is 0.5; use a number of at least 1', () => cosineRestartsSchedule(1, { steps: 2, factor: 0.5 })],
    ['inverseSqrtSchedule: timescale is 0; use a positive number of steps', () => inverseSqrtSchedule(1, { timescale: 0 })],
    ['stepSchedule: size is Infinity; use a positive number of steps', () => stepSchedule(1, { size: Infinity })],
    ['withWarmup: a warm-up of -1 steps is none; use a number of at least 0', () => withWarmup(constantSchedule(1), -1)],
    ['sequentialSchedule: 2 schedules cannot change at the steps [3,2]; give one step between every two, in rising order', () => sequentialSchedule([constantSchedule(1), constantSchedule(2)], [3, 2])],
    ['sequentialSchedule: 3 schedules cannot change at the steps [3,3]; give one step between every two, in rising order', () => sequentialSchedule([constantSchedule(1), constantSchedule(2), constantSchedule(3)], [3, 3])],
    ['oneCycle: a rise of 0.3 of 3 steps leaves nothing to rise or to fall in; use more steps, or a share nearer to 0.3', () => oneCycle(1, { steps: 3 })],
  ])('%s', (message, make) => {
    expect(make).toThrow(ConfigError)
    expect(make).toThrow(message)
  })
})
