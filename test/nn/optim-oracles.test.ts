/** Every optimiser against torch.optim's parameters over ten steps: to 1e-9 in float64, to 1e-5 in float32. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { add, device as openDevice, mul, realize, tensor, variable } from '../../engine/index.ts'
import type { Device, Tensor, Variable } from '../../engine/index.ts'
import { Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lion, Muon, NAdam, RAdam, RMSprop, SGD } from '../../nn/index.ts'
import type { Optimizer } from '../../nn/index.ts'
import { inputValues, uniform } from '../oracle-cases.ts'
import type { OracleInput } from '../oracle-cases.ts'

const optimizers = { Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lion, Muon, NAdam, RAdam, RMSprop, SGD } as const
type Name = keyof typeof optimizers

interface Case {
  readonly id: string
  readonly op: Name
  /** Named as in PyTorch. */
  readonly params: Readonly<Record<string, unknown>>
  readonly inputs: Readonly<Record<'w' | 'b', OracleInput>>
  readonly grad_stream_base: number
  readonly f64: { readonly trace_w_b_sum_abssum: readonly (readonly (readonly [number, number])[])[]; readonly final_w: readonly number[]; readonly final_b: readonly number[] }
}

const cases = ['optim', 'optim_more'].flatMap((file) => (JSON.parse(readFileSync(path.join(import.meta.dirname, `../oracles/ops/${file}.json`), 'utf8')) as { cases: Case[] }).cases)

const values: Readonly<Record<string, string>> = { match_rms_adamw: 'matchRmsAdamW' }
const names: Readonly<Record<string, string>> = { adjust_lr_fn: 'adjustLr' }
/** PyTorch's options under our names. */
const options = (params: Case['params']): Record<string, unknown> =>
  Object.fromEntries(Object.entries(params).map(([name, value]) => [names[name] ?? name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()), typeof value === 'string' ? values[value] : value]))

describe.each([['reference', 'f64', 1e-9], ['cpu', 'f32', 1e-5]] as const)('on the %s device', async (kind, dtype, tolerance) => {
  const device = await openDevice(kind, { makeDefault: false })
  afterAll(async () => device.close())

  test.each(cases.map((c) => [`${c.op} ${JSON.stringify(c.params)}`, c] as const))('%s', async (_, oracle) => {
    const parameters = { w: start(oracle.inputs.w, dtype, device), b: start(oracle.inputs.b, dtype, device) }
    const make: new (p: Record<string, Variable>, o: Record<string, unknown>) => Optimizer = optimizers[oracle.op]
    const optimizer = new make(parameters, options(oracle.params))
    for (const [k, expected] of oracle.f64.trace_w_b_sum_abssum.entries()) {
      const gradient = (p: Variable, j: number): Tensor => {
        const stream = oracle.grad_stream_base + 2 * k + j
        const noise = Float32Array.from({ length: p.shape.reduce((n, d) => n * d, 1) }, (__, i) => -1 + 2 * uniform(stream, i))
        return add(tensor(noise, p.shape, { dtype, device }), mul(p, 0.1))
      }
      await realize(optimizer.update({ w: gradient(parameters.w, 0), b: gradient(parameters.b, 1) }))
      for (const [j, p] of [parameters.w, parameters.b].entries()) {
        const got = [...(await p.data())]
        const sums = [got.reduce((a, b) => a + b, 0), got.reduce((a, b) => a + Math.abs(b), 0)]
        sums.forEach((sum, i) => expect(Math.abs(sum - (expected[j]?.[i] ?? Number.NaN)), `sum of ${'wb'[j]} after step ${k}`).toBeLessThan(got.length * tolerance))
      }
    }
    for (const name of ['w', 'b'] as const) {
      const got = [...(await parameters[name].data())]
      oracle.f64[`final_${name}`].forEach((x, i) => expect(Math.abs((got[i] ?? Number.NaN) - x), `${name}[${i}]`).toBeLessThan(tolerance))
    }
  })
})

function start(input: OracleInput, dtype: 'f32' | 'f64', device: Device): Variable {
  return variable(tensor(inputValues(input), input.shape, { dtype, device }))
}
