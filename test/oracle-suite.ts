/** Every operator against PyTorch's values and gradients: to float64 accuracy where there is float64. */
import { describe, expect, inject, test } from 'vitest'
import { withDefaultDevice } from '../engine/device/device.ts'
import type { Device } from '../engine/device/device.ts'
import { tensor } from '../engine/create.ts'
import { isFloat } from '../engine/dtype.ts'
import { valueAndGrad } from '../engine/grad.ts'
import { Tensor } from '../engine/graph.ts'
import { mul } from '../engine/ops/elementwise.ts'
import { permute } from '../engine/ops/movement.ts'
import { sum } from '../engine/ops/reduce.ts'
import { readData, realize } from '../engine/realize.ts'
import { differences, float32, float64, inputValues, readOracles, uniform } from './oracle-cases.ts'
import type { OracleCase, Tolerance } from './oracle-cases.ts'
import { opOf } from './oracle-ops.ts'

const groups = ['matmul', 'conv', 'norm', 'attention', 'reduce', 'spatial', 'pointwise', 'indexing', 'loss'] as const
const cases = await Promise.all(groups.map(async (group) => [group, await readOracles(group)] as const))

export function describeOracles(device: Device): void {
  const [dtype, tolerance] = device.name === 'reference' ? ['f64', float64] as const : ['f32', float32] as const
  // GPUs in software compile a minute for some of these.
  const spread = device.name === 'webgpu' && !inject('thorough') ? 10 : 1
  describe(`oracles on ${device.name}`, () => {
    describe.each(cases)('%s', (_, oracles) => {
      test.each(oracles.filter((__, i) => i % spread === spread - 1).map((c) => [`${c.id} ${c.op.slice(0, 40)}`, c] as const))('%s', async (__, oracle) => {
        expect(await problems(oracle, device, dtype, tolerance)).toEqual([])
      })
    })
  })
}

/** All that differs from the oracle: values, gradients, indices. */
async function problems(oracle: OracleCase, on: Device, dtype: 'f32' | 'f64', tolerance: Tolerance): Promise<string[]> {
  const stored = Object.fromEntries(
    Object.entries(oracle.inputs).map(([name, input]) => {
      const type = input.kind === 'int' ? 'i32' : input.kind === 'bool' ? 'bool' : dtype
      return [name, tensor(inputValues(input), input.shape, { dtype: type, device: on })]
    }),
  )
  const operands = Object.fromEntries(Object.entries(oracle.inputs).map(([name, { permute: axes }]) => [name, axes === undefined ? at(stored, name) : permute(at(stored, name), axes)]))
  const result = withDefaultDevice(on, () => opOf(oracle)({ get: (name) => at(operands, name), maybe: (name) => operands[name] }, oracle.params))
  const [out, indices] = result instanceof Tensor ? [result] : result
  if (out.shape.join() !== oracle.out.shape.join()) return [`shape [${out.shape.join()}], not [${oracle.out.shape.join()}]`]
  const found: string[] = []
  if (oracle.out.values !== undefined) {
    if (Array.from(await readData(out)).join() !== oracle.out.values.join()) found.push(`values [${Array.from(await readData(out)).join()}], not [${oracle.out.values.join()}]`)
    return found
  }
  const dy = tensor(Float32Array.from({ length: out.size }, (_, i) => -1 + 2 * uniform(oracle.dy_stream, i)), out.shape, { dtype, device: on })
  const wrt = Object.fromEntries(Object.keys(oracle.grads).map((name) => [name, at(stored, name)]))
  const { grads } = isFloat(out.dtype) ? valueAndGrad(sum(mul(out, dy)), wrt) : { grads: {} as Record<string, Tensor> }
  await realize(out, indices, ...Object.values(grads))
  found.push(...differences('out', await readData(out), oracle.out, tolerance))
  for (const [name, expected] of Object.entries(oracle.grads)) found.push(...differences(`d${name}`, await readData(at(grads, name)), expected, tolerance))
  if (oracle.indices !== undefined) expect(Array.from(await readData(indices ?? out))).toEqual(oracle.indices.values)
  return found
}

function at(record: Readonly<Record<string, Tensor>>, name: string): Tensor {
  const value = record[name]
  if (value === undefined) throw new Error(`no ${name}`)
  return value
}
