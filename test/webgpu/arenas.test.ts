/** Variables that an optimiser's step has put side by side, in programs that use them otherwise. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Device as OwnDevice } from '../../engine/device/device.ts'
import { findAdapter, openAdapter } from '../../engine/device/webgpu/adapter.ts'
import { WebGpuBackend } from '../../engine/device/webgpu/backend.ts'
import { Variable, adamWStep, device, full, matmul, mul, realize, reshape, withDefaultDevice } from '../../engine/index.ts'
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
async function step(parameters: readonly Variable[], first: readonly Variable[], second: readonly Variable[], gradients: readonly Tensor[], where = gpu): Promise<void> {
  const after = withDefaultDevice(where, () => adamWStep({ parameters, gradients, first, second, lr: 1, beta1: 0, beta2: 0, eps: 0, weightDecay: 0, correction1: 1, correction2: 1 }))
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

test('parameters with one gradient in arenas apart', async () => {
  const adapter = await openAdapter(await findAdapter())
  const { maxBufferSize } = adapter.device.limits
  Object.defineProperty(adapter.device, 'limits', { value: { maxBufferSize, maxStorageBufferBindingSize: 1024 } })
  await using narrow = new OwnDevice(new WebGpuBackend({ adapter }))
  const cells = withDefaultDevice(narrow, () => [1, 1, 0, 0, 0, 0].map((x, i) => new Variable(full([200], x), `v${i}`)))
  await realize(...cells)
  const g = withDefaultDevice(narrow, () => reshape(matmul(full([200, 1], 1), full([1, 1], 2)), [200]))
  await step(cells.slice(0, 2), cells.slice(2, 4), cells.slice(4), [g, g], narrow)
  for (const [i, v] of cells.entries()) expect(new Set(await v.data())).toEqual(new Set([[0, 0, 2, 2, 4, 4][i]]))
})
