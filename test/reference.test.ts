/** The oracle itself: formats it rounds to, what it checks, what it says of a plan. */
import { describe, expect, test } from 'vitest'
import { Device } from '../engine/device/device.ts'
import { ReferenceBackend } from '../engine/device/reference/backend.ts'
import { roundToBf16, roundToF16 } from '../kernels/ir/rounding.ts'
import { Tensor, add, cast, exp, explain, gather, mul, normal, RandomGenerator, realize, setDefaultDevice, sum, tensor } from '../engine/index.ts'

const device = new Device(new ReferenceBackend())
setDefaultDevice(device)

describe('half precision is rounded to nearest, ties to even', () => {
  test.each([
    [1, 1], [1 + 2 ** -11, 1], [1 + 2 ** -11 + 2 ** -30, 1 + 2 ** -10], [1 + 3 * 2 ** -11, 1 + 2 ** -9], [-0.1, -0.0999755859375],
    [65504, 65504], [65519.99, 65504], [65520, Infinity], [-1e9, -Infinity], [2 ** -24, 2 ** -24], [2 ** -25, 0], [2 ** -25 + 2 ** -50, 2 ** -24], [1.5 * 2 ** -24, 2 ** -23], [-0, -0], [NaN, NaN],
  ])('f16 of %d', (x, expected) => {
    expect(roundToF16(x)).toBe(expected)
  })

  test.each([
    [1, 1], [1 + 2 ** -8, 1], [1 + 3 * 2 ** -8, 1 + 2 ** -6], [0.1, 0.10009765625], [3.4e38, Infinity], [3.389e38, (2 - 2 ** -7) * 2 ** 127], [2 ** -133, 2 ** -133], [2 ** -134, 0], [Infinity, Infinity],
  ])('bf16 of %d', (x, expected) => {
    expect(roundToBf16(x)).toBe(expected)
  })

  test('f16 agrees with the engine’s own rounding everywhere', () => {
    if (!('f16round' in Math)) return
    for (let i = 0; i < 20000; i++) {
      const x = Math.sin(i) * 2 ** ((i % 48) - 28)
      expect(roundToF16(x)).toBe(Math.f16round(x))
    }
  })

  test('tensors of a narrow type hold its values', async () => {
    expect(Array.from(await cast(tensor([0.1, 1 + 2 ** -8]), 'bf16').data())).toEqual([0.10009765625, 1])
    expect(Array.from(await add(tensor([0.1], null, { dtype: 'f16' }), 0).data())).toEqual([0.0999755859375])
  })
})

describe('it is exact', () => {
  test('f32 is computed in float64', async () => {
    expect(await exp(tensor(1)).item()).toBe(Math.E)
    expect(await sum(tensor([1, 2 ** -40])).item()).toBe(1 + 2 ** -40)
  })

  test('values that are kept stay so', async () => {
    const x = exp(tensor([1, 2]))
    await realize(x)
    expect(Array.from(await mul(x, 1).data())).toEqual([Math.E, Math.exp(2)])
  })

  test('a computed index outside the axis is an error', async () => {
    const index = add(tensor([0, 2], null, { dtype: 'i32' }), tensor([0, 1], null, { dtype: 'i32' }))
    await expect(gather(tensor([1, 2, 3]), index, 0).data()).rejects.toThrow('gather: index 3 is outside the 3 elements of the axis ([3]); use indices from 0 to 2')
  })
})

test('a plan says what it does and how much memory it takes', async () => {
  const x = tensor([1, 2, 3, 4])
  const [plan] = await explain(sum(mul(add(x, x), x)))
  // 16 bytes of x and 4 of the result; while multiplying, both the sum and the product.
  expect(plan?.peakBytes).toBe(16 + 4 + 32)
  expect(plan?.launches).toBe(4)
  expect(plan?.text).toBe([
    '%1 f32[4] = add(%0, %0) {}',
    '%2 f32[4] = mul(%1, %0) {}',
    '%3 f32[1] = sum(%2) {"axes":[0]}',
    '%4 f32[] = reshape(%3) {"shape":[]}',
    '4 steps, peak 52 bytes',
  ].join('\n'))
})

test('it has as much memory as it is given', async () => {
  const small = new Device(new ReferenceBackend({ memoryLimit: 5000 }))
  const x = normal([1000], { generator: new RandomGenerator(1), device: small })
  await realize(x)
  await expect(realize(mul(x, 2))).rejects.toThrow(/^out of memory on reference: mul needs 4000 bytes, 4000 of 5000 are held/)
  x.dispose()
  const y = mul(normal([1000], { generator: new RandomGenerator(1), device: small }), 2)
  await realize(y)
  expect(small.bytesHeld).toBe(4000)
  expect(y).toBeInstanceOf(Tensor)
})
