/** The meta device: everything that has a shape works, nothing computes. And the generator that every device owns. */
import { describe, expect, test } from 'vitest'
import { DeviceError, RandomGenerator, device, grad, matmul, metaDevice, normal, permutation, realize, sum, tensor, variable, withDefaultDevice, zeros } from '../../engine/index.ts'

const refusal = 'the meta device knows shapes and types but no values; build the model on await device("cpu") to compute'

describe('the meta device', () => {
  test('has shapes, types and gradients of tensors that no memory would hold', () => {
    const meta = metaDevice()
    const [x, w] = withDefaultDevice(meta, () => [zeros([2 ** 20, 2 ** 20]), variable(normal([2 ** 20, 2 ** 21], { dtype: 'f64' }))] as const)
    const y = matmul(x, w)
    expect([y.shape, y.dtype, y.device]).toEqual([[2 ** 20, 2 ** 21], 'f64', meta])
    expect(grad(sum(y), w).shape).toEqual(w.shape)
    expect(meta.bytesHeld).toBe(0)
  })

  test('refuses to compute, and says what to do', async () => {
    const meta = await device('meta', { makeDefault: false })
    const x = zeros([2], { device: meta })
    await expect(x.data()).rejects.toThrow(DeviceError)
    await expect(x.data()).rejects.toThrow(refusal)
    const v = variable(zeros([2], { device: meta }))
    await expect(realize(v)).rejects.toThrow(refusal)
    expect(v.add(1).shape).toEqual([2]) // As it was before.
  })

  test('does not mix with another', () => {
    const [one, other] = [metaDevice(), metaDevice()]
    expect(() => zeros([1], { device: one }).add(tensor([1], null, { device: other }))).toThrow('inputs live on meta (opened earlier) and meta (opened later); move one of them')
  })
})

describe("the device's generator", () => {
  test('is what draws use that are given none, and starts anew from a seed', async () => {
    await using reference = await device('reference', { makeDefault: false })
    const values = async (generator?: RandomGenerator): Promise<number[]> => [...(await normal([5], { device: reference, generator }).data())]
    const first = await values()
    expect(first).toEqual(await values(new RandomGenerator(0)))
    expect(await values()).not.toEqual(first)
    reference.manualSeed(7)
    expect(await values()).toEqual(await values(new RandomGenerator(7)))
    reference.manualSeed(7)
    const order = [...(await permutation(9, { device: reference }).data())]
    expect(order).toEqual([...(await permutation(9, { device: reference, generator: new RandomGenerator(7) }).data())])
  })
})
