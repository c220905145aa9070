/** Guidances against what their papers define, worked out by hand on small images. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { add, device as openDevice, mul, reshape, sum, tensor } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import { compose } from '../../diffusion/denoiser.ts'
import type { Denoiser } from '../../diffusion/denoiser.ts'
import { autoguidance, classifierFree, classifierGuidance, interval, linear, perturbedAttention, projected, rescaled, thresholded, zeroStar } from '../../diffusion/guidance.ts'
import type { Rule } from '../../diffusion/guidance.ts'
import { imagePrediction } from '../../diffusion/parameterization.ts'
import { Prediction } from '../../diffusion/prediction.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('reference')
})
afterAll(() => device.close())

type Labels = { readonly shift: Tensor }
const level = { t: 500, alpha: 0.6, sigma: 0.8 }
const rows = (values: readonly (readonly number[])[]): Tensor => tensor(values.flat(), [values.length, at(values, 0).length], { device })
const list = async (x: Tensor): Promise<number[]> => [...(await x.data())]

/** Says x₀ = shift, and counts the images it is asked about. */
let asked: number[] = []
const denoise: Denoiser<Labels> = (x, here, { shift }) => {
  asked.push(x.shape[0] ?? 0)
  return Prediction.ofImage(add(mul(x, 0), shift), x, here)
}
beforeEach(() => {
  asked = []
})

const x = () => rows([[0.1, 0.2, 0.3], [1, 2, 3]])
const positive = () => ({ shift: rows([[1, 2, 4], [2, 2, 2]]) })
const negative = () => ({ shift: rows([[0, 1, 1], [1, 0, 3]]) })

test('a scale of 1 asks once, about the batch as it is; others once, about twice as many', async () => {
  const guided = (scale: number): Denoiser<Labels> => classifierFree({ scale, negative: negative() })(denoise)
  expect(await list(guided(1)(x(), level, positive()).x0)).toEqual([1, 2, 4, 2, 2, 2])
  expect(asked).toEqual([2])
  expect(await list(guided(3)(x(), level, positive()).x0)).toEqual([3, 4, 10, 4, 6, 0])
  expect(asked).toEqual([2, 4])
  expect(await list(guided(0)(x(), level, positive()).x0)).toEqual([0, 1, 1, 1, 0, 3])
  const eps = await list(guided(3)(x(), level, positive()).eps)
  for (const [i, v] of [3, 4, 10, 4, 6, 0].entries()) expect(at(eps, i)).toBeCloseTo((at([0.1, 0.2, 0.3, 1, 2, 3], i) - 0.6 * v) / 0.8, 6)
})

test('the scale may depend on the level, and a guidance may be kept to an interval', async () => {
  const guided = classifierFree<Labels>({ scale: ({ sigma }) => (sigma > 0.5 ? 3 : 1), negative: negative() })(denoise)
  guided(x(), level, positive())
  guided(x(), { t: 1, alpha: 0.9, sigma: 0.1 }, positive())
  expect(asked).toEqual([4, 2])
  const kept = interval<Labels>(classifierFree({ scale: 3, negative: negative() }), { least: 0.5, most: 1 })(denoise)
  for (const [alpha, sigma] of [[1, 0.4], [1, 0.7], [1, 2]] as const) kept(x(), { t: 0, alpha, sigma }, positive())
  expect(asked.slice(2)).toEqual([2, 4, 2])
})

/** What a rule makes of x₀, where it is applied to x₀ itself. */
async function apply(rule: Rule, scale = 3): Promise<number[]> {
  return list(classifierFree<Labels>({ scale, negative: negative(), rule })(denoise)(x(), level, positive()).x0)
}
const deviation = (v: readonly number[]): number => Math.sqrt(v.reduce((s, a) => s + (a - v.reduce((p, q) => p + q) / v.length) ** 2, 0) / v.length)

describe('rules', () => {
  test('rescaled: in its space the deviation of each image is that of the conditions alone', async () => {
    const space = imagePrediction()
    const found = await apply(rescaled({ share: 1, space }))
    expect(deviation(found.slice(0, 3))).toBeCloseTo(deviation([1, 2, 4]), 5)
    expect(deviation(found.slice(3))).toBeCloseTo(0, 5) // (2, 2, 2) has none.
    expect(await apply(rescaled({ share: 0, space }))).toEqual([3, 4, 10, 4, 6, 0])
  })

  test('rescaled: an image of one value, guided by another, is no NaN', async () => {
    const flat = { shift: rows([[1, 1, 1]]) }
    const guided = classifierFree<Labels>({ scale: 5, negative: { shift: rows([[0, 0, 0]]) }, rule: rescaled() })(denoise)
    const found = await list(guided(rows([[0.5, 0.5, 0.5]]), level, flat).x0)
    for (const v of found) expect(v).toBeCloseTo(5, 5)
  })

  test('projected: what lies along c is left out, and the difference is no longer than it may be', async () => {
    const [c, d] = [[1, 2, 4], [1, 1, 3]]
    const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * at(b, i), 0)
    const expected = (length: number): number[] => c.map((v, i) => {
      const shrink = Math.min(1, length / Math.sqrt(dot(d, d)))
      return v + 2 * shrink * (at(d, i) - (v * dot(d, c)) / dot(c, c))
    })
    for (const most of [Infinity, 1]) {
      const found = (await apply(projected({ most }))).slice(0, 3)
      for (const [i, v] of expected(most).entries()) expect(at(found, i)).toBeCloseTo(v, 5)
    }
    expect((await apply(projected({ parallel: 1 }))).map((v) => Math.round(1e4 * v) / 1e4)).toEqual(await apply(linear))
  })

  test('zeroStar: u is brought nearest to c in the velocity; nothing moves where it says so', async () => {
    // Velocities at x: u = ε − x₀, with ε = (x − α·x₀)/σ.
    const velocity = (xs: readonly number[], x0: readonly number[]): number[] => x0.map((v, i) => (at(xs, i) - 0.6 * v) / 0.8 - v)
    const [c, u] = [velocity([0.1, 0.2, 0.3], [1, 2, 4]), velocity([0.1, 0.2, 0.3], [0, 1, 1])]
    const s = c.reduce((p, v, i) => p + v * at(u, i), 0) / u.reduce((p, v) => p + v * v, 0)
    const said = classifierFree<Labels>({ scale: 3, negative: negative(), rule: zeroStar() })(denoise)(x(), level, positive())
    const [x0, eps] = [await list(said.x0), await list(said.eps)]
    for (let i = 0; i < 3; i++) expect(at(eps, i) - at(x0, i)).toBeCloseTo(3 * at(c, i) - 2 * s * at(u, i), 4)
    const still = classifierFree<Labels>({ scale: 3, negative: negative(), rule: zeroStar({ zero: () => true }) })(denoise)(x(), level, positive())
    const [a, b] = [await list(still.x0), await list(still.eps)]
    for (let i = 0; i < 6; i++) expect(at(a, i)).toBeCloseTo(at(b, i), 6)
  })
})

test('autoguidance and perturbed attention lead away from the worse denoiser', async () => {
  const worse: Denoiser<Labels> = (y, here) => Prediction.ofImage(mul(y, 0), y, here)
  expect(await list(autoguidance({ scale: 2, guide: worse })(denoise)(x(), level, positive()).x0)).toEqual([2, 4, 8, 4, 4, 4])
  expect(await list(perturbedAttention({ scale: 0.5, perturbed: worse })(denoise)(x(), level, positive()).x0)).toEqual([1.5, 3, 6, 3, 3, 3])
  const never: Denoiser<Labels> = () => {
    throw new Error('asked')
  }
  expect(() => autoguidance({ scale: 1, guide: never })(denoise)(x(), level, positive())).not.toThrow()
  expect(() => perturbedAttention({ scale: 0, perturbed: never })(denoise)(x(), level, positive())).not.toThrow()
})

test('classifier guidance goes up the gradient: that of a Gaussian class makes the posterior’s mean', async () => {
  // ln p(c | x) = −½·(x − 3)²: its gradient is 3 − x.
  const guidance = classifierGuidance<Labels>({ scale: 2, logProbability: (y) => sum(mul(mul(add(y, -3), add(y, -3)), -0.5), 1) })
  const found = await list(guidance(denoise)(x(), level, positive()).x0)
  for (const [i, [v, c]] of [[0.1, 1], [0.2, 2], [0.3, 4], [1, 2], [2, 2], [3, 2]].entries()) expect(at(found, i)).toBeCloseTo((c ?? 0) + (2 * 0.64 * (3 - (v ?? 0))) / 0.6, 4)
})

test('dynamic thresholding is the quantile’s, of each image, and leaves images within range alone', async () => {
  const values = Array.from({ length: 101 }, (_, i) => (i % 2 === 0 ? 1 : -1) * (i / 25))
  const wide: Denoiser = (y, here) => Prediction.ofImage(reshape(tensor([...values, ...values.map((v) => v / 8)], null, { device }), y.shape), y, here)
  const found = await list(thresholded({ share: 0.8 })(wide)(tensor(new Float32Array(202), [2, 101], { device }), level, {}).x0)
  for (const [i, v] of values.entries()) expect(at(found, i)).toBeCloseTo(Math.max(-1, Math.min(1, v / 3.2)), 5)
  for (const [i, v] of values.entries()) expect(at(found, 101 + i)).toBeCloseTo(v / 8, 6)
  const limited = await list(thresholded({ share: 0.8, most: 2 })(wide)(tensor(new Float32Array(202), [2, 101], { device }), level, {}).x0)
  expect(at(limited, 100)).toBe(1)
  expect(at(limited, 40)).toBeCloseTo(1.6 / 2, 5)
})

test('they compose', async () => {
  const worse: Denoiser<Labels> = (y, here) => Prediction.ofImage(mul(y, 0), y, here)
  const guided = compose<Labels>(autoguidance({ scale: 2, guide: worse }), classifierFree({ scale: 3, negative: negative() }))(denoise)
  expect(await list(guided(x(), level, positive()).x0)).toEqual([6, 8, 20, 8, 12, 0])
  expect(asked).toEqual([4])
})

describe('wrong use', () => {
  const run = (conditions: Record<string, Tensor>, against: Record<string, Tensor>) => (): unknown => classifierFree({ scale: 2, negative: against })(denoise as never)(x(), level, conditions)
  test.each<[string, () => unknown]>([
    ['classifierFree: there are no conditions to be guided by; pass { conditions } to sample, or no guidance', () => run({}, {})()],
    ['classifierFree: shift is in the conditions only', () => run(positive(), {})()],
    ['classifierFree: mask is in the negative conditions only', () => run(positive(), { ...negative(), mask: x() })()],
    ['classifierFree: shift is [2,3] in the conditions and [1,3] in the negative ones', () => run(positive(), { shift: rows([[1, 2, 3]]) })()],
    ['classifierFree: the scale is NaN at σ/α = ', () => classifierFree<Labels>({ scale: NaN, negative: negative() })(denoise)(x(), level, positive())],
  ])('%s', (message, act) => {
    expect(act).toThrow(message)
  })
})
