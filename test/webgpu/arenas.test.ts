/** Variables that an optimiser's step has put side by side, in programs that use them otherwise. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Variable, adamWStep, device, full, mul, realize, withDefaultDevice } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'

let gpu: Device
beforeEach(async () => {
  gpu = await device('webgpu', { makeDefault: false })
})
afterEach(async () => gpu.close())

const on = <T>(body: () => T): T => withDefaultDevice(gpu, body)
const variables = (count: number, elements: number): Variable[] => on(() => Array.from({ length: count }, (_, i) => new Variable(full([elements], i + 1), `v${i}`)))
const values = async (...list: readonly Variable[]): Promise<number[][]> => Promise.all(list.map(async (v) => [...await v.data()]))

/** A step without corrections or decay: m = g, v = g², p − lr·g / |g|. */
async function step(parameters: readonly Variable[], first: readonly Variable[], second: readonly Variable[], gradients: readonly Tensor[]): Promise<void> {
  const after = on(() => adamWStep({ parameters, gradients, first, second, lr: 1, beta1: 0, beta2: 0, epsilon: 0, weightDecay: 0, correction1: 1, correction2: 1 }))
  for (const [list, next] of [[parameters, after.parameters], [first, after.first], [second, after.second]] as const) list.forEach((v, i) => v.assign(next[i] ?? v))
  await realize(...parameters)
}

test('one parameter becomes a function of another, and both are updated again', async () => {
  const [a, b, ...state] = variables(6, 3)
  if (a === undefined || b === undefined) throw new Error('there are six')
  const update = async (): Promise<void> => step([a, b], state.slice(0, 2), state.slice(2), on(() => [mul(a, 2), mul(b, 2)]))
  await realize(a, b, ...state)
  await update()
  expect(await values(a, b)).toEqual([[0, 0, 0], [1, 1, 1]])
  on(() => a.assign(mul(b, 5)))
  await realize(a)
  on(() => {
    const [x, y] = [a.read(), b.read()]
    a.assign(y)
    b.assign(x)
  })
  await realize(a, b)
  expect(await values(a, b)).toEqual([[1, 1, 1], [5, 5, 5]])
  await update()
  expect(await values(a, b)).toEqual([[0, 0, 0], [4, 4, 4]])
})

test('parameters of one step are a parameter and its moment in another', async () => {
  const [a, b, spare, ...state] = variables(7, 3)
  if (a === undefined || b === undefined || spare === undefined) throw new Error('there are seven')
  await realize(a, b, spare, ...state)
  await step([a, b], state.slice(0, 2), state.slice(2), on(() => [mul(a, 2), mul(b, 2)]))
  await step([a], [b], [spare], on(() => [mul(spare, -1)]))
  expect(await values(a, b, spare)).toEqual([[1, 1, 1], [-3, -3, -3], [9, 9, 9]])
})
