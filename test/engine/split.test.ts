/** Reductions of many elements are cut into parts: the bits are the same for any number of threads, and the sums are right. */
import { expect, test } from 'vitest'
import { device as openDevice, explain, max, mul, sum, tensor } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'

const [rows, columns] = [600, 700]
const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i) + 0.5)

const programs: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  all: (x) => sum(mul(x, x)),
  rows: (x) => sum(x, 0),
  'a few rows': (x) => sum(x.reshape([6, 100, columns]), [1, 2]).mul(2),
  'across a permutation': (x) => sum(x.reshape([100, 6, columns]).permute([1, 0, 2]), [0, 1]),
  maximum: (x) => max(x.reshape([2, -1]), 1),
}

async function run(cpu: Device, program: (x: Tensor) => Tensor): Promise<{ plan: string; result: number[] }> {
  const x = tensor(values, [rows, columns], { device: cpu })
  const [plan] = await explain(program(x))
  return { plan: plan?.text ?? '', result: [...(await program(x).data())].map(Number) }
}

test.each(Object.entries(programs))('%s', async (_, program) => {
  const devices = await Promise.all([1, 3].map((threads) => openDevice('cpu', { threads, makeDefault: false })))
  const reference = await openDevice('reference', { makeDefault: false })
  const [one, three] = await Promise.all(devices.map((cpu) => run(cpu, program)))
  const { result } = await run(reference, program)
  expect(one?.plan).toContain('parts')
  expect(three?.result).toEqual(one?.result)
  one?.result.forEach((x, i) => expect(Math.abs(x - (result[i] ?? NaN))).toBeLessThan(2e-6 * Math.abs(result[i] ?? NaN) + 1e-4))
  await Promise.all([...devices, reference].map((d) => d.close()))
})
