/** Every module against PyTorch: names and shapes of its state, values, gradients, buffers; and gradients against differences. */
import { afterAll, describe, expect, test } from 'vitest'
import { RandomGenerator, grad, mul, realize, sum, tensor, withValues } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import { namedBuffers, namedParameters } from '../../nn/index.ts'
import { checkGradients } from '../../testing/index.ts'
import { closeAll, onEach, openAll } from '../devices.ts'
import { inputValues, moduleCases, oracle, runCase, stateValues, upstream } from './module-cases.ts'
import type { ModuleCase, OracleModule } from './module-cases.ts'

const opened = await openAll()
afterAll(async () => closeAll(opened))

/** Relative to the largest value: float64's agreement with eleven digits, or float32's. */
const toleranceOn = (device: Device, { rounded }: ModuleCase): number => (device.name !== 'reference' ? 5e-6 : rounded === undefined ? 1e-9 : 2e-7)

async function expectClose(what: string, got: Tensor | undefined, want: readonly number[], tolerance: number): Promise<void> {
  const values = got === undefined ? [] : [...(await got.data())]
  expect(values.length, `length of ${what}`).toBe(want.length)
  const top = Math.max(0.1, ...want.map(Math.abs))
  const worst = values.reduce((most, x, i) => (Math.abs(x - (want[i] ?? 0)) <= most ? most : Math.abs(x - (want[i] ?? 0))), 0)
  expect(worst, `${what}: ${values.slice(0, 8).join()} for ${want.slice(0, 8).join()}`).toBeLessThan(tolerance * top)
}

async function compare(device: Device, id: string, one: ModuleCase, { inputs, mod, shape, out, grads, inputGrads, calls, buffers = {} }: OracleModule): Promise<void> {
  const tolerance = toleranceOn(device, one)
  const module = one.make({ device }).train(calls !== undefined)
  Object.entries(module.stateDict()).forEach(([name, variable], p) => {
    if (variable.dtype === 'f32') variable.assign(tensor(stateValues(name, variable.shape, p), variable.shape, { device }))
  })
  const xs = inputs.map((dims, k) => tensor(inputValues(dims, k, mod), dims, { device }))
  let y = runCase(one, module, xs)
  for (let call = 1; call < (calls ?? 1); call++) y = runCase(one, module, xs)
  expect(y.shape).toEqual(shape)
  const parameters = namedParameters(module)
  const slopes = grad(sum(mul(y, tensor(upstream(shape), shape, { device }))), { ...parameters, ...Object.fromEntries(mod === undefined ? xs.map((x, k) => [`input ${k}`, x]) : []) })
  await realize(y, ...Object.values(slopes))
  await expectClose(id, y, out, tolerance)
  expect(Object.keys(parameters)).toEqual(Object.keys(grads))
  for (const [name, want] of Object.entries(grads)) await expectClose(`gradient of ${name}`, slopes[name], want, tolerance * 2)
  for (const [k, want] of inputGrads.entries()) await expectClose(`gradient of input ${k}`, slopes[`input ${k}`], want, tolerance * 2)
  expect(calls === undefined ? [] : Object.keys(namedBuffers(module))).toEqual(Object.keys(buffers))
  for (const [name, want] of Object.entries(buffers)) await expectClose(`buffer ${name}`, namedBuffers(module)[name]?.read(), want, tolerance)
}

test('every case of the oracle has its module, and every module its case', () => {
  expect(Object.keys(moduleCases).toSorted()).toEqual(Object.keys(oracle.cases).toSorted())
})

describe.each(Object.entries(moduleCases).flatMap(([id, one]) => (oracle.cases[id] === undefined ? [] : [{ id, one, expected: oracle.cases[id] }])))('$id', ({ id, one, expected }) => {
  onEach(opened, 'state, values and gradients are PyTorch\'s', async (device) => {
    const module = one.make({ device })
    expect(Object.entries(module.stateDict()).map(([name, { shape }]) => [name, shape])).toEqual(expected.state)
    await compare(device, id, one, expected)
  })

  test.skipIf(one.stopped === true)('gradients of parameters and inputs agree with differences', async () => {
    const { inputs, mod, calls, state, grads } = expected
    const parameters = state.filter(([name]) => name in grads)
    const integers = mod === undefined ? [] : inputs.map((shape, k) => inputValues(shape, k, mod))
    const floats = mod === undefined ? inputs : []
    const samples = [...parameters.map(([, shape]) => shape), ...floats].map((shape, seed) => ({ shape, dtype: 'f32' as const, seed }))
    const run = (...given: Tensor[]): Tensor => {
      const module = one.make({ dtype: 'f64', generator: new RandomGenerator(3) }).train(calls !== undefined)
      const values = new Map(Object.values(namedParameters(module)).map((variable, p) => [variable, given[p] ?? variable.read()]))
      const places = integers.map((data, k) => tensor(data, inputs[k] ?? null))
      return withValues(values, () => runCase(one, module, mod === undefined ? given.slice(parameters.length) : places))
    }
    const derivatives = await checkGradients(run, samples)
    expect(derivatives).toHaveLength(samples.length)
  })
})
