/** MultiheadAttention: what its masks mean together, its normalised queries and keys, and what it refuses. Values are in modules.test.ts. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DTypeError, RandomGenerator, ShapeError, device as openDevice, normal, ones, tensor, zeros } from '../../engine/index.ts'
import type { Device, Tensor } from '../../engine/index.ts'
import * as nn from '../../nn/index.ts'
import type { MultiheadAttentionCallOptions } from '../../nn/index.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

const draw = (seed: number, shape: readonly number[]): Tensor => normal(shape, { generator: new RandomGenerator(seed) })
const bools = (rows: readonly number[][]): Tensor => tensor(rows).greater(0)
const list = async (x: { data(): Promise<ArrayLike<number>> }): Promise<number[]> => Array.from(await x.data())

test('with normalised queries and keys, their length does not matter', async () => {
  for (const qkNorm of ['layerNorm', 'rmsNorm'] as const) {
    const layer = new nn.MultiheadAttention(8, 2, { qkNorm, bias: false })
    expect(Object.entries(layer.stateDict()).filter(([name]) => name.includes('norm')).map(([name, { shape }]) => [name, shape])).toContainEqual(['q_norm.weight', [4]])
    const [q, k] = [draw(1, [2, 3, 8]), draw(2, [2, 5, 8])]
    const [one, other] = [await list(layer.call(q, k)), await list(layer.call(q.mul(100), k))]
    one.forEach((x, i) => expect(Math.abs(x - (other[i] ?? 0))).toBeLessThan(1e-4))
  }
})

test('values may differ from keys', async () => {
  const layer = new nn.MultiheadAttention(4, 2)
  const [q, v] = [draw(1, [1, 3, 4]), draw(2, [1, 3, 4])]
  const [one, other] = [await list(layer.call(q, q, v)), await list(layer.call(q, q.mul(1), v))]
  one.forEach((x, i) => expect(Math.abs(x - (other[i] ?? 0))).toBeLessThan(1e-6))
})

test('refuses heads that do not divide its size', () => {
  expect(() => new nn.MultiheadAttention(6, 4)).toThrow('MultiheadAttention: a size of 6 does not divide into 4 heads; choose heads that divide 6')
})

describe('keyPadding', () => {
  test('leaves out what it marks false, sample by sample, where N = T too', async () => {
    const layer = new nn.MultiheadAttention(4, 2)
    const [q, k] = [draw(1, [3, 3, 4]), draw(2, [3, 5, 4])]
    const kept = [[0, 2], [1, 2, 3, 4], [4]]
    const y = await list(layer.call(q, k, k, { keyPadding: bools(kept.map((places) => [0, 1, 2, 3, 4].map((i) => Number(places.includes(i))))) }))
    for (const [n, places] of kept.entries()) {
      const alone = await list(layer.call(q.narrow(0, n, 1), k.narrow(0, n, 1).indexSelect(places, 1)))
      alone.forEach((x, i) => expect(y[12 * n + i]).toBeCloseTo(x, 5))
    }
  })

  test('holds together with a bool mask and causal', async () => {
    const layer = new nn.MultiheadAttention(4, 2)
    const x = draw(3, [2, 3, 4])
    const together = layer.call(x, x, x, { keyPadding: bools([[1, 1, 1], [0, 1, 1]]), mask: bools([[1, 0, 1], [1, 1, 0], [1, 0, 1]]), causal: true })
    const spelled = layer.call(x, x, x, { mask: bools([[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1]]).reshape([2, 1, 3, 3]) })
    expect(await list(together)).toEqual(await list(spelled))
    expect((await list(together)).slice(12, 16), 'no key is left').toEqual(await list(layer.out_proj.call(zeros([4]))))
  })
})

describe('refuses', () => {
  const call = (q: readonly number[], k: readonly number[], v: readonly number[] = k, options: MultiheadAttentionCallOptions = {}): Tensor => new nn.MultiheadAttention(4, 2, { kdim: 3, vdim: 5 }).call(ones(q), ones(k), ones(v), options)
  const masked = (options: MultiheadAttentionCallOptions): Tensor => new nn.MultiheadAttention(4, 2).call(ones([2, 3, 4]), ones([2, 5, 4]), ones([2, 5, 4]), options)
  const how = 'reshape one for each sample to [N,1,T,S], one for each head to [1,heads,T,S], and pass one of keys [N,S] as keyPadding'

  test.each([
    ['a query of one sample', () => call([3, 4], [1, 5, 3], [1, 5, 5]), 'query [3,4] is not [N,T,4]; reshape it, for one sample with a first axis of 1'],
    ['a key of another size', () => call([2, 3, 4], [2, 5, 4], [2, 5, 5]), 'key [2,5,4] is not [N,S,3]; project it, or make the layer for its size'],
    ['a key as values of another size', () => call([2, 3, 4], [2, 5, 3]), 'value [2,5,3] is not [N,S,5]; project it, or make the layer for its size'],
    ['another batch of keys', () => call([1, 3, 4], [3, 5, 3], [3, 5, 5]), 'query [1,3,4], key [3,5,3], value [3,5,5] have first axes of 1, 3 and 3, but N is one number; expand those of size 1'],
    ['another batch of values', () => call([2, 3, 4], [2, 5, 3], [1, 5, 5]), 'query [2,3,4], key [2,5,3], value [1,5,5] have first axes of 2, 2 and 1, but N is one number; expand those of size 1'],
    ['keys without values', () => call([2, 3, 4], [2, 5, 3], [2, 6, 5]), 'there are 5 keys but 6 values (query [2,3,4], key [2,5,3], value [2,6,5]); pass one value for each key'],
    ['a mask for each sample, of three axes', () => masked({ mask: bools([[1]]).expand([2, 3, 5]) }), `mask [2,3,5] is neither [T,S] = [3,5] nor four axes for [N,heads,T,S] = [2,2,3,5]; ${how}`],
    ['a mask of keys for each sample', () => masked({ mask: bools([[1]]).expand([2, 5]) }), `mask [2,5] is neither [T,S] = [3,5] nor four axes for [N,heads,T,S] = [2,2,3,5]; ${how}`],
    ['a mask of other heads', () => masked({ mask: bools([[1]]).expand([2, 3, 1, 5]) }), `mask [2,3,1,5] is neither [T,S] = [3,5] nor four axes for [N,heads,T,S] = [2,2,3,5]; ${how}`],
    ['padding of other keys', () => masked({ keyPadding: bools([[1]]).expand([2, 3]) }), 'keyPadding [2,3] is not [N,S] = [2,5]; reshape it, or pass it as mask'],
  ])('%s', (_, attend, message) => {
    expect(attend).toThrow(ShapeError)
    expect(attend).toThrow(`MultiheadAttention: ${message}`)
  })

  test.each([
    ['a mask of integers', () => masked({ mask: ones([3, 5], { dtype: 'i32' }), keyPadding: bools([[1]]).expand([2, 5]) }), 'mask is i32, but must be bool (true where attending is allowed) or a float that is added; compare it first, such as notEqual(mask, 0)'],
    ['padding of floats', () => masked({ keyPadding: ones([2, 5]) }), 'keyPadding is f32, but must be bool, true where a key may be attended; compare it first, such as notEqual(keyPadding, 0)'],
  ])('%s', (_, attend, message) => {
    expect(attend).toThrow(DTypeError)
    expect(attend).toThrow(`MultiheadAttention: ${message}`)
  })
})
