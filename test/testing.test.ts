/** The checks of `langevin/testing` find what is wrong, and say where. */
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { abs, add, cast, customGradient, exp, matmul, mul } from '../engine/index.ts'
import type { Tensor } from '../engine/index.ts'
import { broadcastShapes, sameShape, sizeOf } from '../engine/shape.ts'
import { broadcastablePairs, checkAgainstReference, checkGradients, longSize, shapes, tensors, tolerance } from '../testing/index.ts'
import type { Sample } from '../testing/index.ts'
import { closeAll, onEach, openAll } from './devices.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

const counts: Sample = { shape: [2], dtype: 'i32', seed: 3 }

describe('checkGradients', () => {
  test('gives a derivative for each float input, and of its gradient', async () => {
    const fn = (x: Tensor, i: Tensor, y: Tensor): Tensor => add(mul(x, mul(x, x)), mul(y, cast(i, y.dtype)))
    const found = await checkGradients(fn, [[1, 2], counts, [3, 4]], { order: 2 })
    expect(found.map(({ input, order }) => [input, order])).toEqual([[0, 1], [2, 1], [0, 2], [2, 2]])
    for (const { analytic, numeric } of found) expect(analytic).toBeCloseTo(numeric, 5)
  })

  test('names the input whose gradient is wrong', async () => {
    const wrong = (x: Tensor, y: Tensor): Tensor => customGradient([x, y], (a, b) => mul(a, b), (dy, [a, b]) => [b && mul(dy, b), a && mul(dy, mul(a, 2))])
    await expect(checkGradients(wrong, [[1, 2], [3, 4]])).rejects.toThrow(/^checkGradients: the gradient with respect to input 1 \[2\] gives -?[\d.]+ along a random direction, but differences with a step of 0.00001 give -?[\d.]+. Either the gradient is wrong, or/)
  })

  test('finds a gradient that is right and whose own gradient is wrong', async () => {
    const frozen = (x: Tensor): Tensor => customGradient([x], (a) => exp(a), (dy, [a]) => [a && customGradient([dy, a], (d, t) => mul(d, exp(t)), (d, [, t]) => [t && mul(d, exp(t)), undefined])])
    await checkGradients(frozen, [[0.5, 1]])
    await expect(checkGradients(frozen, [[0.5, 1]], { order: 2 })).rejects.toThrow('the gradient of the gradient with respect to input 0 [2] gives')
  })

  test('sees a kink as a difference', async () => {
    await expect(checkGradients((x) => abs(x), [[0, 1e-7]])).rejects.toThrow('a kink or a jump')
  })

  test('wants floats back', async () => {
    await expect(checkGradients((x) => cast(x, 'i32'), [[1, 2]])).rejects.toThrow('checkGradients: the function returns no floats, so it has no gradient; return a float tensor')
  })
})

describe('checkAgainstReference', () => {
  onEach(devices, 'agrees with itself', async (device) => {
    await checkAgainstReference((x, y) => [matmul(x, y), exp(x)], [{ shape: [33, 31], dtype: 'f32', seed: 1, view: 'permuted' }, { shape: [31, 5], dtype: 'f32', seed: 2, view: 'strided' }], { device })
  })

  onEach(devices, 'names the element that differs most', async (device) => {
    const fn = (x: Tensor): Tensor => (x.device === device ? mul(x, 1.5) : x)
    await expect(checkAgainstReference(fn, [[1, 2, -4]], { device })).rejects.toThrow(`checkAgainstReference: on ${device.name}, the result f32[3] differs in 3 of 3 elements, most at 2: -6, not -4; off by 2 where `)
  })

  onEach(devices, 'compares types', async (device) => {
    const fn = (x: Tensor): Tensor => (x.device === device ? cast(x, 'i32') : x)
    await expect(checkAgainstReference(fn, [[1]], { device })).rejects.toThrow('the result is i32[1], not f32[1]')
  })
})

test('tolerances grow with the root of the terms, and integers have none', () => {
  expect([tolerance('i32', 1e6), tolerance('bool')]).toEqual([0, 0])
  expect(tolerance('f32', 10000)).toBe(2 ** -23 * 416)
  expect(tolerance('bf16')).toBeGreaterThan(tolerance('f16'))
})

describe('arbitraries', () => {
  test('shapes keep to their rank and number of elements, and reach the ends', () => {
    const drawn = fc.sample(shapes({ rank: [1, 3], elements: 5000 }), { numRuns: 400, seed: 1 })
    for (const shape of drawn) {
      expect(shape.length).toBeGreaterThanOrEqual(1)
      expect(shape.length).toBeLessThanOrEqual(3)
      expect(sizeOf(shape)).toBeLessThanOrEqual(5000)
    }
    for (const size of [0, 1, 31, 32, 33, longSize]) expect(drawn.some((shape) => shape.includes(size))).toBe(true)
  })

  test('pairs broadcast, either way around', () => {
    const drawn = fc.sample(broadcastablePairs(), { numRuns: 200, seed: 1 })
    for (const [x, y] of drawn) expect([x, y].some((shape) => sameShape(shape, broadcastShapes('test', x, y)))).toBe(true)
    expect(drawn.some(([x, y]) => x.length > y.length) && drawn.some(([x, y]) => x.length < y.length)).toBe(true)
  })

  test('tensors are of every view', () => {
    const views = new Set(fc.sample(tensors({ dtype: 'bf16' }), { numRuns: 100, seed: 1 }).map(({ view }) => view ?? 'none'))
    expect([...views].toSorted((x, y) => x.localeCompare(y))).toEqual(['broadcast', 'flipped', 'permuted', 'plain', 'strided'])
  })
})
