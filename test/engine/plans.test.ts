/** Plans that once gave wrong numbers, each in its smallest form; on every device, though the CPU's compiler is meant. */
import { afterAll, describe, expect, test } from 'vitest'
import { Interner, encodeValue } from '../../engine/compile/capture.ts'
import { adamWStep, add, cast, cumsum, div, exp, gelu, grad, indexSelect, matmul, mul, permute, pow, realize, reshape, scalar, sigmoid, sin, slice, square, sum, tanh, tensor, variable } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import { closeAll, list, openAll, withEach } from '../devices.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

const each = (name: string, body: (device: Device) => Promise<void>): void => withEach(devices, name, body)

describe('what is overwritten', () => {
  each('an old value that another variable takes, assigned after the new one', async () => {
    const [a, b, c] = [variable([1, 2, 3, 4]), variable([0, 0, 0, 0]), variable([0, 0, 0, 0])]
    await realize(a, b, c)
    const old = a.read()
    a.assign(add(a, 10))
    b.assign(old)
    c.assign(reshape(permute(reshape(old, [2, 2]), [1, 0]), [4]))
    await realize(a, b, c)
    expect([await list(a), await list(b), await list(c)]).toEqual([[11, 12, 13, 14], [1, 2, 3, 4], [1, 3, 2, 4]])
  })

  each('an old value that is asked for together with the step', async () => {
    const w = variable([1, 2])
    await realize(w)
    const old = w.read()
    w.assign(add(w, 1))
    await realize(old, w)
    expect([await list(old), await list(w)]).toEqual([[1, 2], [2, 3]])
  })

  each('a variable read by two tensors: the one it was assigned, and its own', async () => {
    const w = variable([0, 1])
    await realize(w)
    const assigned = add(w, 1)
    w.assign(assigned)
    await realize(w)
    w.assign(add(assigned, 1))
    const product = matmul(reshape(assigned, [1, 2]), reshape(assigned, [2, 1]))
    await realize(product, w)
    expect([await list(product), await list(w)]).toEqual([[5], [2, 3]])
    const other = variable([0, 1])
    await realize(other)
    const kept = add(other, 1)
    other.assign(kept)
    await realize(other)
    const own = other.read()
    const next = add(kept, 1)
    const later = matmul(reshape(own, [1, 2]), reshape(own, [2, 1]))
    other.assign(next)
    await realize(later, other)
    expect([await list(later), await list(other)]).toEqual([[5], [2, 3]])
  })

  each('a step of AdamW that does not count, its results assigned crosswise', async () => {
    const [p, m, v, g] = [variable([1, 10]), variable([3, 30]), variable([5, 50]), variable([7, 70])]
    await realize(p, m, v, g)
    const step = adamWStep({ parameters: [p], gradients: [g], first: [m], second: [v], lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, correction1: 1, correction2: 1, apply: 0 })
    const [p1, m1, v1] = [step.parameters[0], step.first[0], step.second[0]]
    if (p1 === undefined || m1 === undefined || v1 === undefined) throw new Error('one of each')
    p.assign(m1)
    m.assign(v1)
    v.assign(p1)
    await realize(p, m, v)
    expect([await list(p), await list(m), await list(v)]).toEqual([[3, 30], [5, 50], [1, 10]])
  })
})

describe('types that are narrower in memory', () => {
  each('bf16 rounds on the way, and in a number', async () => {
    const x = tensor([1.001, 1.005, 2.7451])
    const rounded = [1, 1.0078125, 2.75]
    expect(await list(cast(cast(x, 'bf16'), 'f32'))).toEqual(rounded)
    expect(await list(cast(mul(cast(x, 'bf16'), 1), 'f32'))).toEqual(rounded)
    expect(await list(tensor([1.001, 1.005, 2.7451], null, { dtype: 'bf16' }))).toEqual(rounded)
    const [s, t] = [scalar(1.01, { dtype: 'bf16' }), scalar(1.03, { dtype: 'bf16' })]
    expect(await s.item()).toBe(1.0078125)
    expect(await list(mul(tensor([1, 2]), cast(mul(s, t), 'f32')))).toEqual([1.0390625, 2.078125])
    expect(await list(cast(mul(tensor([1], null, { dtype: 'bf16' }), literal(1.001)), 'f32'))).toEqual([1])
  })

  each('bf16 of a value that others read as f32', async () => {
    const y = mul(tensor(Float32Array.from({ length: 600 }, (_, i) => i)), 1.01)
    const [z, s] = [cast(y, 'bf16'), sum(y)]
    await realize(y, z, s)
    expect((await list(z)).slice(0, 4)).toEqual([0, 1.0078125, 2.015625, 3.03125])
    expect((await list(y))[599]).toBeCloseTo(604.99, 3)
  })

  each('a product of bf16 read as f32', async () => {
    const x = cast(tensor([[1, 2], [3, 4]], null, { dtype: 'bf16' }), 'f32')
    expect(await list(matmul(x, x))).toEqual([7, 10, 15, 22])
  })

  each('the gradient of places in bf16, and a running sum of bf16', async () => {
    const x = tensor([1, 2, 3], null, { dtype: 'bf16' })
    const taken = indexSelect(x, tensor([2, 2, 0], null, { dtype: 'i32' }), 0)
    const g = grad(sum(cast(mul(taken, taken), 'f32')), x)
    expect([g.dtype, await list(g)]).toEqual(['bf16', [2, 0, 12]])
    expect(await list(cumsum(cast(x, 'f32'), 0))).toEqual([1, 3, 6])
    expect(await list(cast(cumsum(x, 0), 'f32'))).toEqual([1, 3, 6])
  })

  each('u8 wraps on the way, and widens into a result', async () => {
    const x = tensor([1, 300, 3], null, { dtype: 'u32' })
    expect(await list(cast(cast(x, 'u8'), 'u32'))).toEqual([1, 44, 3])
    expect(await list(cast(tensor([1, 2, 255], null, { dtype: 'u8' }), 'u32'))).toEqual([1, 2, 255])
  })
})

each('a long chain of numbers', async () => {
  let total = scalar(1)
  for (let i = 0; i < 2000; i++) total = add(total, 1)
  expect(await total.item()).toBe(2001)
})

each('elementwise values are the same bits realised early and late', async () => {
  const x = tensor(Float32Array.from({ length: 7 * 1003 }, (_, i) => Math.sin(i) * 5), [7, 1003])
  const build = () => {
    const a = exp(mul(x, 0.3))
    const row = sigmoid(slice(x, [[0, 1]]))
    const b = gelu(add(mul(a, row), sin(x)))
    const c = div(tanh(b), add(pow(square(permute(b, [1, 0])), 0.7), 1).permute([1, 0]))
    return [a, row, b, c]
  }
  const [late] = build().slice(-1)
  const early = build()
  for (const t of early) await realize(t)
  expect(await early.at(-1)?.data()).toEqual(await late?.data())
})

test('attributes have one encoding each', () => {
  const interner = new Interner()
  const values = [
    {}, { a: undefined }, { a: null }, { a: -1 }, { a: -2 }, { a: 0 }, { a: -0 }, { a: false }, { a: true }, { a: 1 }, { a: '1' }, { b: 1 }, { a: NaN }, { a: Infinity },
    { a: [] }, { a: [0] }, { a: [[]] }, { a: [], b: [] }, { a: { b: [] } }, { a: [1, [2]] }, { a: [1, 2] }, { a: [[1], 2] }, { a: [2], b: [1] }, { a: [2, 1] }, { a: {}, b: {} }, { a: { b: {} } },
  ]
  const encodings = values.map((value) => {
    const out: number[] = []
    encodeValue(value, interner, out)
    return out.map((n) => (Object.is(n, -0) ? '-0' : String(n))).join()
  })
  expect(new Set(encodings).size).toBe(values.length)
  expect(() => encodeValue({ a: 1n }, interner, [])).toThrow('attributes: a bigint is not structure')
})
