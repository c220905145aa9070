/** Elementwise ops in the epilogue of products: which launches a plan has, and that fusing changes no bit. */
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import {
  add, concat, conv2d, convTranspose2d, device as open, equal, exp, explain, expand, gelu, grad, greater, linear, matmul, maximum, mul, permute, realize, reshape, sigmoid, silu, slice, sub, sum, tanh, tensor, transpose, variable, where, withDefaultDevice,
} from '../../engine/index.ts'
import type { Device, Tensor, TypedArray } from '../../engine/index.ts'
import { zeroPad } from '../../engine/ops/movement.ts'
import { uniform } from '../../testing/samples.ts'

const [reference, one, three] = await Promise.all([
  open('reference', { makeDefault: false }), open('cpu', { threads: 1, makeDefault: false }), open('cpu', { threads: 3, makeDefault: false }),
])
afterAll(async () => Promise.all([reference, one, three].map(async (d) => d.close())))

const data = (shape: readonly number[], seed = 1): Tensor => tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => 2 * uniform(seed, i) - 1), shape)

/** The names of a plan's launches, without where they write. */
async function launches(build: () => Tensor | readonly Tensor[]): Promise<string[]> {
  const made = withDefaultDevice(one, build)
  const plans = await explain(...(Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor]))
  return plans.flatMap(({ text }) => text.split('\n').slice(0, -1).map((line) => line.replace(/^ *\d+ /, '').replace(/ \(.*/, '')))
}

describe('what becomes of', () => {
  const [x, w] = [() => data([6, 20]), () => data([20, 33])]
  const cases: readonly (readonly [name: string, build: () => Tensor | readonly Tensor[], expected: readonly string[]])[] = [
    ['a product alone', () => matmul(x(), w()), ['matmul']],
    ['a bias and an activation', () => gelu(add(matmul(x(), w()), data([33]))), ['matmul + add + mul + erf + mul + add + mul']],
    ['a product read twice by one op', () => { const y = matmul(x(), w()); return mul(y, sigmoid(y)) }, ['matmul + sigmoid + mul']],
    ['a product that two kernels read', () => { const y = matmul(x(), w()); return [exp(y), sum(y)] }, ['matmul', 'exp', 'reshape sum']],
    ['a product that is a result itself', () => { const y = matmul(x(), w()); return [y, add(y, 1)] }, ['matmul', 'add']],
    ['the sum of two products', () => add(matmul(x(), w()), matmul(data([6, 5], 3), data([5, 33], 4))), ['matmul', 'matmul + add']],
    ['a sum over what is made of a product', () => sum(exp(matmul(x(), w()))), ['matmul + exp', 'reshape sum']],
    ['a residual behind a reshape', () => add(linear(data([2, 3, 20]), data([33, 20]), data([33])), data([2, 3, 33])), ['matmul + add + add']],
    ['heads split from a projection', () => matmul(permute(reshape(linear(data([2, 3, 20]), data([12, 20]), data([12])), [2, 3, 4, 3]), [0, 2, 1, 3]), data([2, 4, 3, 5])), ['matmul + add', 'matmul']],
    ['a result in an order that the kernel cannot write', () => permute(matmul(data([4, 6, 20]), data([4, 20, 33])), [2, 1, 0]), ['matmul', 'permute']],
    ['a transposed product', () => add(transpose(matmul(x(), w())), data([33, 6])), ['matmul + add']],
    ['a slice of it', () => exp(slice(add(matmul(x(), w()), data([33])), [[0, 3]])), ['matmul + add', 'exp']],
    ['a comparison, which is not f32', () => greater(matmul(x(), w()), 0), ['matmul', 'lt']],
    ['a comparison on the way', () => { const y = matmul(x(), w()); return where(greater(y, 0), y, 0) }, ['matmul + lt + where']],
    ['padding', () => add(matmul(x(), w()), zeroPad(data([4, 33]), [1, 0], [1, 0])), ['matmul', 'add']],
    ['more operands than a kernel takes', () => [2, 3, 4, 5, 6, 7].reduce((y, seed) => add(y, data([6, 33], seed)), matmul(x(), w())), ['matmul + add + add + add + add + add', 'add']],
    ['parts of a concatenation', () => concat([tanh(matmul(x(), w())), data([6, 2])], 1), ['matmul + tanh', 'concat']],
    ['a convolution with a bias, a residual and an activation', () => sum(silu(add(conv2d(data([2, 3, 5, 5]), data([4, 3, 3, 3]), { bias: data([4]), padding: 1 }), data([2, 4, 5, 5])))), ['copy for conv', 'conv + add + add + sigmoid + mul', 'reshape sum']],
    ['a convolution as a result', () => conv2d(data([2, 3, 5, 5]), data([4, 3, 3, 3]), { bias: data([4]) }), ['copy for conv', 'conv + add', 'result']],
    ['a convolution of few channels on long lines as a result', () => conv2d(data([2, 3, 5, 16]), data([4, 3, 3, 3]), { bias: data([4]), padding: 1 }), ['conv + add']],
    ['its gradients', () => { const [a, b] = [data([2, 3, 5, 16]), data([4, 3, 3, 3])]; return grad(sum(mul(conv2d(a, b, { padding: 1 }), data([2, 4, 5, 16]))), [a, b]) }, ['convInputGrad', 'convWeightGrad']],
    ['one that another reads, too', () => { const y = conv2d(data([2, 3, 5, 16]), data([4, 3, 3, 3]), { padding: 1 }); return [y, conv2d(y, data([2, 4, 3, 3]))] }, ['copy for conv', 'conv', 'conv', 'result', 'result']],
    ['a transposed convolution', () => sum(tanh(convTranspose2d(data([2, 3, 5, 5]), data([3, 4, 3, 3]), { bias: data([4]), stride: 2 }))), ['copy for convInputGrad', 'convInputGrad + add + tanh', 'reshape sum']],
  ]
  test.each(cases)('%s', async (_, build, expected) => {
    expect(await launches(build)).toEqual(expected)
  })

  test('a product that several kernels wait for: it is computed once', async () => {
    const names = await launches(() => {
      const [y, z] = [matmul(x(), w()), matmul(data([6, 5], 3), data([5, 33], 4))]
      const [a, b] = [add(exp(y), exp(z)), add(sigmoid(y), sigmoid(z))]
      return mul(a, b)
    })
    expect(names.filter((name) => name.startsWith('matmul'))).toHaveLength(2)
  })
})

test('a variable that its own update multiplies and reads keeps its old value until the end', async () => {
  const results = await Promise.all([reference, one].map(async (device) => {
    const w = withDefaultDevice(device, () => variable(data([9, 700])))
    const step = (): void => withDefaultDevice(device, () => w.assign(sub(w, mul(matmul(w, data([700, 700], 2)), 0.01))))
    await realize(w)
    step()
    await realize(w)
    return w.read().data()
  }))
  const [exact, fused] = results
  expect(Math.max(...(fused ?? []).map((v, i) => Math.abs(v - (exact?.[i] ?? NaN))))).toBeLessThan(1e-5)
})

/** One op of a chain, and what it is combined with. */
interface Link {
  readonly op: number
  readonly broadcast: readonly boolean[]
  readonly permuted: boolean
  readonly seed: number
}

interface Chain {
  readonly product: number
  readonly sizes: readonly number[]
  readonly transposed: readonly boolean[]
  readonly movement: number
  readonly links: readonly Link[]
}

const products: readonly ((sizes: readonly number[], transposed: readonly boolean[]) => Tensor)[] = [
  ([m = 1, n = 1, k = 1], [a, b]) => matmul(a === true ? transpose(data([k, m])) : data([m, k]), b === true ? transpose(data([n, k], 2)) : data([k, n], 2)),
  ([m = 1, n = 1, k = 1, batch = 1], [a, b]) => matmul(a === true ? transpose(data([batch, k, m])) : data([batch, m, k]), b === true ? transpose(data([n, k], 2)) : expand(reshape(data([k, n], 2), [1, k, n]), [batch, k, n])),
  ([m = 1, n = 1, k = 1, batch = 1]) => linear(data([batch, m, k]), data([n, k], 2), data([n], 3)),
  ([m = 1, n = 1, k = 1, batch = 1], [strided, padded]) => conv2d(data([batch, 1 + (k % 40), 3 + (m % 7), 4]), data([n, 1 + (k % 40), 3, 3], 2), { bias: data([n], 3), stride: strided === true ? 2 : 1, padding: padded === true ? 1 : 0 }),
  ([m = 1, n = 1, k = 1, batch = 1], [strided, padded]) => convTranspose2d(data([batch, 1 + (k % 40), 2 + (m % 5), 3]), data([1 + (k % 40), n, 3, 3], 2), { stride: strided === true ? 2 : 1, padding: padded === true ? 1 : 0 }),
]

const movements: readonly ((y: Tensor) => Tensor)[] = [
  (y) => y,
  (y) => y,
  (y) => reshape(y, [1, ...y.shape, 1]),
  (y) => transpose(y),
  (y) => reshape(y, [y.size]),
  (y) => reshape(permute(y, [...y.shape.keys()].map((i) => (i + 1) % y.rank)), [y.shape.slice(1).reduce((a, b) => a * b, 1), y.shape[0] ?? 1]),
]

const links: readonly ((y: Tensor, other: Tensor) => Tensor)[] = [
  (y, other) => add(y, other), (y, other) => mul(y, other), (y, other) => sub(other, y), (y, other) => maximum(y, other), (y) => silu(y), (y) => gelu(y), (y) => tanh(y), (y) => mul(y, y),
  (y, other) => where(greater(y, other), y, sigmoid(other)), (y, other) => add(mul(y, other), sigmoid(y)), (y, other) => where(equal(other, other), y, other),
]

function operand(shape: readonly number[], { broadcast, permuted, seed }: Link): Tensor {
  const own = shape.map((size, i) => (broadcast[i % broadcast.length] === true ? 1 : size))
  return permuted ? permute(data(own.toReversed(), seed), [...own.keys()].toReversed()) : data(own, seed)
}

/** Builds a chain. `early` realises every value on the way, so that nothing is fused. */
async function run(device: Device, { product, sizes, transposed, movement, links: list }: Chain, early: boolean): Promise<TypedArray> {
  const step = async (build: () => Tensor | undefined): Promise<Tensor> => {
    const made = withDefaultDevice(device, build)
    if (made === undefined) throw new Error('a chain of known ops')
    if (early) await realize(made)
    return made
  }
  const half = Math.ceil(list.length / 2)
  let y = await step(() => products[product]?.(sizes, transposed))
  for (const [i, link] of list.entries()) {
    if (i === half) y = await step(() => movements[movement]?.(y))
    y = await step(() => links[link.op]?.(y, operand(y.shape, link)))
  }
  return y.data()
}

const size = fc.oneof(fc.constantFrom(1, 4, 5, 8, 9, 33), fc.integer({ min: 1, max: 40 }))
const chains: fc.Arbitrary<Chain> = fc.record({
  product: fc.nat(products.length - 1),
  sizes: fc.tuple(size, size, fc.oneof(size, fc.constantFrom(320, 700)), fc.integer({ min: 1, max: 3 })),
  transposed: fc.tuple(fc.boolean(), fc.boolean()),
  movement: fc.nat(movements.length - 1),
  links: fc.array(fc.record({ op: fc.nat(links.length - 1), broadcast: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }), permuted: fc.boolean(), seed: fc.integer({ min: 4, max: 50 }) }), { minLength: 1, maxLength: 7 }),
})

test('fused chains have the bits of unfused ones, on any number of threads, and the reference’s values', { timeout: 120_000 }, async () => {
  await fc.assert(fc.asyncProperty(chains, async (chain) => {
    const fused = await run(one, chain, false)
    expect(fused).toEqual(await run(one, chain, true))
    expect(await run(three, chain, false)).toEqual(fused)
    const exact = await run(reference, chain, false)
    // Jumps of `where` aside, a chain grows what a product rounds only so far.
    const far = fused.filter((v, i) => !(Math.abs(v - (exact[i] ?? NaN)) <= 2e-3 * Math.max(1, Math.abs(exact[i] ?? NaN))))
    expect(far.length).toBeLessThanOrEqual(chain.links.some(({ op }) => op === 8) ? 2 : 0)
  }), { numRuns: 120 })
})
