/** The order of the data: a permutation an epoch, the same from wherever it is taken up. */
import { expect, test } from 'vitest'
import { DataOrder } from '../../diffusion/order.ts'
import { RandomGenerator } from '../../engine/index.ts'

const sorted = (x: Int32Array): number[] => [...x].sort((a, b) => a - b)
const all = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

test('every epoch shows every example once, in another order', () => {
  const order = new DataOrder(50, new RandomGenerator(1))
  const epochs = [0, 1, 2].map((e) => order.take(50 * e, 50))
  for (const epoch of epochs) expect(sorted(epoch)).toEqual(all(50))
  expect(epochs[0]).not.toEqual(epochs[1])
  expect(epochs[1]).not.toEqual(epochs[2])
})

test('positions say everything: batches across epochs, taken up anywhere, by anyone with the same seed', () => {
  const whole = new DataOrder(10, new RandomGenerator(7)).take(0, 64)
  const later = new DataOrder(10, new RandomGenerator(7))
  for (const from of [56, 0, 24, 8]) expect(later.take(from, 8)).toEqual(whole.slice(from, from + 8))
  expect(new DataOrder(10, new RandomGenerator(8)).take(0, 64)).not.toEqual(whole)
})

test('leaves the generator where it was', () => {
  const generator = new RandomGenerator(1)
  const before = generator.state()
  new DataOrder(5, generator).take(0, 20)
  expect(generator.state()).toEqual(before)
})

test('all places are equally likely', () => {
  const counts = new Array<number>(6).fill(0)
  const order = new DataOrder(6, new RandomGenerator(2))
  for (let epoch = 0; epoch < 3000; epoch++) for (const first of order.take(6 * epoch, 1)) counts[first] = (counts[first] ?? 0) + 1
  for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(90) // over four standard deviations
})

test('an empty data set is an error', () => {
  expect(() => new DataOrder(0, new RandomGenerator(0))).toThrow('DataOrder: a data set of 0 examples has no order; pass at least one example')
})
