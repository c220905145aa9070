/** Operands of large products are packed once, by launches of their own: the bits are those of packing them in every chunk. */
import { expect, test } from 'vitest'
import { device as openDevice, explain, matmul, silu, tensor, transpose } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'

interface Case {
  readonly a: readonly number[]
  readonly b: readonly number[]
  readonly program: (a: Tensor, b: Tensor) => Tensor
  readonly packed: boolean
}

const cases: Readonly<Record<string, Case>> = {
  plain: { a: [100, 530], b: [530, 250], program: matmul, packed: true },
  'right side transposed': { a: [61, 300], b: [333, 300], program: (a, b) => matmul(a, transpose(b, 0, 1)), packed: true },
  'left side transposed': { a: [1100, 75], b: [1100, 83], program: (a, b) => matmul(transpose(a, 0, 1), b), packed: true },
  'result transposed, the left side being the wider': { a: [301, 300], b: [300, 40], program: (a, b) => transpose(matmul(a, b), 0, 1).mul(2), packed: true },
  'more columns than a block': { a: [13, 33], b: [33, 2100], program: matmul, packed: true },
  'one matrix for a batch, and an epilogue': { a: [3, 20, 257], b: [257, 259], program: (a, b) => silu(matmul(a, b)), packed: true },
  'one matrix on the left for a batch': { a: [290, 270], b: [2, 270, 30], program: matmul, packed: false },
  'a matrix each': { a: [2, 70, 260], b: [2, 260, 260], program: matmul, packed: false },
  'few rows': { a: [11, 400], b: [400, 400], program: matmul, packed: false },
  'few columns': { a: [30, 9000], b: [9000, 15], program: matmul, packed: false },
  'a small matrix': { a: [900, 128], b: [128, 128], program: matmul, packed: false },
}

async function run(on: Device, { a, b, program }: Case): Promise<{ plan: string; result: Float32Array }> {
  const make = (shape: readonly number[], seed: number): Tensor =>
    tensor(Float32Array.from({ length: shape.reduce((n, size) => n * size, 1) }, (_, i) => Math.sin(i * 1.7 + seed)), [...shape], { device: on })
  const [x, y] = [make(a, 1), make(b, 2)]
  const [plan] = await explain(program(x, y))
  return { plan: plan?.text ?? '', result: Float32Array.from(await program(x, y).data(), Number) }
}

test.each(Object.entries(cases))('%s', async (_, entry) => {
  const devices = await Promise.all([1, 3].map((threads) => openDevice('cpu', { threads, makeDefault: false })))
  const relaxed = await openDevice('cpu', { instructions: 'relaxed', makeDefault: false })
  const reference = await openDevice('reference', { makeDefault: false })
  const [one, three] = await Promise.all(devices.map((cpu) => run(cpu, entry)))
  const [narrow, exact] = [await run(relaxed, entry), await run(reference, entry)]
  expect(one?.plan.includes('matmul panels')).toBe(entry.packed)
  expect(three?.result).toEqual(one?.result)
  if (devices[0]?.info.instructions?.level !== 'simd128') expect(narrow.result).toEqual(one?.result)
  one?.result.forEach((x, i) => expect(Math.abs(x - (exact.result[i] ?? NaN))).toBeLessThan(2e-5 * Math.abs(exact.result[i] ?? NaN) + 2e-4))
  await Promise.all([...devices, relaxed, reference].map((d) => d.close()))
})
