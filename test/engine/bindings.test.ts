/** What the scheduler fuses, a dispatch can bind: 8 storage buffers, whatever the number of slices that are read of each. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { add, conv2d, convTranspose2d, exp, grad, groupNorm, matmul, max, mul, reshape, select, softmax, sum, tanh, tensor } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { dispatchesOf, launchesOf } from '../planning.ts'

const mostBuffers = 8
const size = 16
const image = [size, size, size, size]
/** In a buffer of its own; what is computed of numbers alone would be no buffer. */
const leaf = (shape: readonly number[]): Tensor => tensor(new Float32Array(shape.reduce((n, d) => n * d, 1)), [...shape])

/** Of a shape that begins with `size`; what it is made of, so that later ops may read it again. */
const starts: readonly (() => readonly [value: Tensor, ...made: Tensor[]])[] = [
  () => [leaf([size, size])],
  () => { const [x, w] = [leaf([size, size]), leaf([size, size])]; return [matmul(x, w), x, w] },
  // So deep that parts of it are added up.
  () => [matmul(leaf([size, 9000]), leaf([9000, size]))],
  () => { const [x, w] = [leaf(image), leaf([size, size, 1, 1])]; return [conv2d(x, w), x] },
  () => { const [x, w] = [leaf(image), leaf([size, size, 3, 3])]; return [conv2d(x, w, { padding: 1 }), x] },
  () => [convTranspose2d(leaf(image), leaf([size, size, 2, 2]), { stride: 2 })],
  () => { const x = leaf([size, 70_000]); return [sum(x, 1), select(x, 1, 0)] },
  () => { const x = leaf([size, size, 70]); return [max(x, 2), select(x, 2, 3)] },
  () => { const x = leaf(image); return [groupNorm(x, 2), x] },
  () => { const x = leaf([size, size]); return [softmax(x), x] },
]

/** What the next link reads: a slice of the one tensor, a tensor of its own, what the start was made of, or several of these at once. */
const links = fc.array(fc.constantFrom('slice', 'own', 'again', 'product'), { maxLength: 14 })

function build([start, rest, end]: readonly [number, readonly string[], string]): Tensor | readonly Tensor[] {
  const [value, ...made] = starts[start]?.() ?? [leaf([size, size])]
  const whole = leaf([rest.length + 1, ...value.shape])
  const operand = (kind: string, k: number): Tensor => {
    const other = made[k % Math.max(1, made.length)]
    if (kind === 'again' && other?.shape.join() === value.shape.join()) return other
    return kind === 'own' ? leaf(value.shape) : select(whole, 0, k)
  }
  const y = rest.reduce((sofar, kind, k) => (kind === 'product' ? mul(sofar, tanh(add(operand('slice', k), operand('own', k)))) : add(sofar, operand(kind, k))), value)
  if (end === 'gradient') return grad(sum(exp(y)), [whole], { unreached: 'zeros' })
  return end === 'sum' ? sum(reshape(y, [-1])) : y
}

test('random graphs of many buffers and many slices of one', { timeout: 120_000 }, async () => {
  const programs = fc.tuple(fc.nat(starts.length - 1), links, fc.constantFrom('value', 'sum', 'gradient'))
  await fc.assert(fc.asyncProperty(programs, async (program) => {
    for (const { label, bindings } of dispatchesOf(await launchesOf(() => build(program)))) expect(bindings.length, `in ${label}`).toBeLessThanOrEqual(mostBuffers)
  }), { seed: 20261130, numRuns: 400 })
})

test.each([...starts.keys()])('as many buffers as fit, and what the start was made of: start %i', async (start) => {
  for (let own = 3; own < 9; own++) {
    const launches = await launchesOf(() => build([start, ['again', 'again', ...new Array<string>(own).fill('own')].toReversed(), 'value']))
    for (const { label, bindings } of dispatchesOf(launches)) expect(bindings.length, `in ${label}`).toBeLessThanOrEqual(mostBuffers)
  }
})

test.each([
  ['a product', () => matmul(leaf([8, 8]), leaf([8, 8]))],
  ['a convolution', () => conv2d(leaf([2, 3, 5, 5]), leaf([8, 3, 3, 3]), { padding: 1 })],
] as const)('%s takes any number of slices of one tensor along', async (_, product) => {
  const launches = await launchesOf(() => {
    const y = product()
    const b = leaf([9, ...y.shape])
    return Array.from({ length: 9 }, (__, k) => select(b, 0, k)).reduce((sofar, slice) => add(sofar, slice), y)
  })
  expect(launches.filter(({ label }) => label.includes('add')).map(({ kernel }) => kernel.dispatches.map((d) => d.bindings.length))).toEqual([[4]])
})
