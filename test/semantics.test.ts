/** What a graph means: identity, state, order of runs, numbers as data. Each is pinned on every device. */
import { afterAll, describe, expect } from 'vitest'
import {
  GradientError, RandomGenerator, StaleReadError, Tensor, abs, adamWStep, add, dropout, explain, grad, matmul, mean, mul, neg, normal, realize, recompute, scalar, setDefaultDevice, silu, sub, sum, tensor, valueAndGrad, variable, withValues, zeros,
} from '../engine/index.ts'
import type { Device, Variable } from '../engine/index.ts'
import { closeAll, list, openAll, withEach } from './devices.ts'
import { faulty } from './faults.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

const each = (name: string, body: (device: Device) => Promise<void>): void => withEach(devices, name, body)

/** The same device with books of its own, in which nothing of other tests is collected meanwhile. The default from here on. */
function alone(real: Device): Device {
  const { device } = faulty(real)
  setDefaultDevice(device)
  return device
}

describe('gradients follow identity', () => {
  each('equal values are two tensors', async () => {
    const [x, y] = [tensor([2, 3]), tensor([2, 3])]
    const g = grad(sum(mul(x, mul(y, y))), { x, y })
    expect(await list(g.x)).toEqual([4, 9])
    expect(await list(g.y)).toEqual([8, 18])
  })

  each('equal scalars are two tensors', async () => {
    const [x, y] = [scalar(3), scalar(3)]
    const g = grad(sub(mul(x, x), y), [x, y])
    expect([await g[0].item(), await g[1].item()]).toEqual([6, -1])
  })

  each('one tensor in two places gets both parts', async () => {
    const x = tensor([2, 3])
    expect(await list(grad(sum(add(mul(x, x), x)), x))).toEqual([5, 7])
  })

  each('the gradient after an assign is that of the new value', async () => {
    const w = variable([3], { name: 'w' })
    const before = sum(mul(w, w))
    const old = w.read()
    w.assign(add(w, 1))
    expect(() => grad(before, w)).toThrow(GradientError)
    expect(await list(grad(before, old))).toEqual([6])
    expect(await list(grad(sum(mul(w, w)), w))).toEqual([8])
    await realize(w)
    expect(await list(grad(sum(mul(w, w)), w))).toEqual([8])
  })
})

describe('numbers are data', () => {
  each('a learning rate of 0, 0, 1/8, 1/8, 1/4 takes one plan', async (device) => {
    const w = variable([1, 2, 4])
    await realize(w)
    device.resetCounters()
    let expected = [1, 2, 4]
    for (const rate of [0, 0, 0.125, 0.125, 0.25]) {
      const { value, grads } = valueAndGrad(mul(sum(mul(w, w)), 0.5), w)
      w.assign(sub(w, mul(grads, rate)))
      await realize(value, w)
      expect(await value.item()).toBe(expected.reduce((s, x) => s + x * x, 0) / 2)
      expected = expected.map((x) => x - rate * x)
      expect(await list(w)).toEqual(expected)
    }
    expect(device.counters.plansCompiled).toBe(1)
  })

  each('AdamW with a rate of 0, 0, 0.1, 0.1, 0.2 takes one plan and the composed path', async (device) => {
    const [p, m, v] = [variable([1, -2]), variable([0, 0]), variable([0, 0])]
    await realize(p, m, v)
    device.resetCounters()
    const host = { p: [1, -2], m: [0, 0], v: [0, 0] }
    for (const [i, lr] of [0, 0, 0.1, 0.1, 0.2].entries()) {
      const [correction1, correction2] = [1 - 0.9 ** (i + 1), 1 - 0.99 ** (i + 1)]
      const loss = sum(mul(p, mul(p, p)))
      const step = adamWStep({ parameters: [p], gradients: [grad(loss, p)], first: [m], second: [v], lr, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.01, correction1, correction2 })
      for (const [cell, [next]] of [[p, step.parameters], [m, step.first], [v, step.second]] as const) if (next !== undefined) cell.assign(next)
      await realize(loss, p, m, v)
      host.p.forEach((x, j) => {
        const g = 3 * x * x
        host.m[j] = 0.9 * (host.m[j] ?? 0) + 0.1 * g
        host.v[j] = 0.99 * (host.v[j] ?? 0) + 0.01 * g * g
        host.p[j] = x * (1 - lr * 0.01) - (lr * (host.m[j] ?? 0)) / correction1 / (Math.sqrt((host.v[j] ?? 0) / correction2) + 1e-8)
      })
      for (const [j, x] of (await list(p)).entries()) expect(x).toBeCloseTo(host.p[j] ?? NaN, 5)
    }
    expect(device.counters.plansCompiled).toBe(1)
  })

  each('no scalar is compiled in, nor simplified away', async (device) => {
    for (const factor of [0, 1, 2, -1, NaN, 0]) {
      const y = add(mul(tensor([3, 5]), factor), factor)
      expect(await list(y)).toEqual([3 * factor + factor, 5 * factor + factor])
    }
    expect(device.counters.plansCompiled).toBe(1)
  })

  each('x·0 keeps NaN', async () => {
    const x = tensor([NaN, Infinity, 1])
    expect(await list(mul(x, 0))).toEqual([NaN, NaN, 0])
    expect(await list(mul(x, tensor(0)))).toEqual([NaN, NaN, 0])
    expect(await list(sub(x, x))).toEqual([NaN, NaN, 0])
    expect(await list(add(neg(abs(x)), abs(x)))).toEqual([NaN, NaN, 0])
  })
})

describe('state', () => {
  each('a prediction read after the step that overwrote its weights is stale', async () => {
    const w = variable([1, 2], { name: 'w' })
    await realize(w)
    const [late, together] = [mul(w, 2), mul(w, 3)]
    w.assign(sub(w, 1))
    await realize(together, w)
    expect(await list(together)).toEqual([3, 6])
    await expect(late.data()).rejects.toThrow(StaleReadError)
    await expect(late.data()).rejects.toThrow(/reads variable w at version \d+, but the variable is at version \d+.*before, or together with, the step/)
  })

  each('two moments assigned the same zeros stay apart', async () => {
    const [m, v] = [variable([1, 1]), variable([2, 2])]
    await realize(m, v)
    const nothing = zeros([2])
    m.assign(nothing)
    v.assign(nothing)
    await realize(m, v)
    m.assign(add(m, 1))
    await realize(m)
    expect(await list(m)).toEqual([1, 1])
    expect(await list(v)).toEqual([0, 0])
  })

  each('assigns that swap two variables, or rotate three', async () => {
    const [a, b, c] = [variable([1, 1]), variable([2, 2]), variable([3, 3])]
    await realize(a, b, c)
    const [x, y, z] = [a.read(), b.read(), c.read()]
    a.assign(y)
    b.assign(x)
    await realize(a, b)
    expect([await list(a), await list(b)]).toEqual([[2, 2], [1, 1]])
    const [p, q] = [a.read(), b.read()]
    a.assign(add(q, 10))
    b.assign(z)
    c.assign(mul(p, q))
    await realize(a, b, c)
    expect([await list(a), await list(b), await list(c)]).toEqual([[11, 11], [3, 3], [2, 2]])
  })

  each('assigns are simultaneous, whatever is asked for with them', async () => {
    const [x, y] = [variable([1]), variable([0])]
    await realize(x, y)
    const loss = sum(mul(x, 5))
    y.assign(mul(x, 2))
    x.assign(add(x, 100))
    await realize(loss)
    await realize()
    expect([await loss.item(), await list(x), await list(y)]).toEqual([5, [101], [2]])
  })

  each('an average stands in for the weights in mid-training, on the same plan', async (device) => {
    const [w, ema] = [variable([1, 2]), variable([10, 20])]
    await realize(w, ema)
    const evaluate = (): Tensor => sum(mul(w, w))
    expect(await evaluate().item()).toBe(5)
    const { plansCompiled } = device.counters
    expect(await withValues(new Map([[w, ema]]), evaluate).item()).toBe(500)
    expect(await evaluate().item()).toBe(5)
    expect(device.counters.plansCompiled).toBe(plansCompiled)
    w.assign(add(w, 1))
    const during = withValues(new Map([[w, ema]]), evaluate)
    await realize(during, w)
    expect([await during.item(), await list(w)]).toEqual([500, [2, 3]])
  })

  each('a throw between building a step and assigning it leaves nothing behind', async (device) => {
    const w = variable([1, 2])
    await realize(w)
    const step = (broken: boolean): void => {
      const next = sub(w, grad(sum(mul(w, w)), w))
      if (broken) throw new Error('the caller’s own')
      w.assign(next)
    }
    expect(() => step(true)).toThrow('the caller’s own')
    expect(device.moved.size).toBe(0)
    expect(await list(w)).toEqual([1, 2])
    step(false)
    expect(await list(w)).toEqual([-1, -2])
  })
})

describe('the queue', () => {
  each('two realisations that nobody awaits run in order', async () => {
    const w = variable([1])
    const [first, second] = [mul(w, 10), mul(w, 100)]
    const one = realize(first)
    w.assign(add(w, 1))
    const two = realize(second, w)
    await Promise.all([one, two])
    expect([await list(first), await list(second), await list(w)]).toEqual([[10], [100], [2]])
  })

  each('many steps that nobody awaits', async () => {
    const w = variable([0])
    const losses: Tensor[] = []
    const runs: Promise<void>[] = []
    for (let i = 0; i < 5; i++) {
      const loss = mul(w, 10)
      w.assign(add(w, 1))
      losses.push(loss)
      runs.push(realize(loss, w))
    }
    await Promise.all(runs)
    expect(await list(w)).toEqual([5])
    expect(await Promise.all(losses.map(list))).toEqual([[0], [10], [20], [30], [40]])
  })

  each('values asked for before a step are those before it', async () => {
    const w = variable(Array.from({ length: 600 }, () => 1))
    await realize(w)
    const before = w.data()
    w.assign(add(w, 1))
    const after = w.data()
    expect([(await before)[0], (await after)[0]]).toEqual([1, 2])
  })

  each('a kept loss keeps no device memory', async (real) => {
    const device = alone(real)
    const w = variable(Array.from({ length: 600 }, (_, i) => i))
    await realize(w)
    const held = device.bytesHeld
    const losses: Tensor[] = []
    for (let i = 0; i < 5; i++) {
      const { value, grads } = valueAndGrad(mean(mul(w, w)), w)
      w.assign(sub(w, mul(grads, 0.1)))
      await realize(value, w)
      losses.push(value)
    }
    expect(device.bytesHeld).toBe(held)
    expect(await losses[0]?.item()).toBeGreaterThan((await losses[4]?.item()) ?? Infinity)
  })

  each('disposing frees memory once queued runs have read it', async (real) => {
    const device = alone(real)
    const held = device.bytesHeld
    const x = mul(tensor(Array.from({ length: 1000 }, (_, i) => i)), 2)
    await realize(x)
    expect(device.bytesHeld).toBe(held + 4000)
    const y = sum(x)
    const pending = realize(y)
    x.dispose()
    await pending
    expect(await y.item()).toBe(999000)
    expect(device.bytesHeld).toBe(held)
    await expect(x.data()).rejects.toThrow(StaleReadError)
    await expect(sum(x).item()).rejects.toThrow(/was disposed of; keep it until everything that reads it is realized/)
    x.dispose()
  })
})

describe('checkpoint', () => {
  const layers = 6
  const build = (x: Tensor, weights: readonly Variable[], kept: boolean): Tensor => {
    const generator = new RandomGenerator(7)
    const block = (w: Variable) => (h: Tensor): Tensor => dropout(silu(matmul(silu(matmul(h, w)), w)), { p: 0.5, generator })
    return mean(weights.reduce((h, w) => (kept ? block(w)(h) : recompute(block(w), h)), x))
  }
  const setup = async (): Promise<{ x: Tensor; weights: Variable[] }> => {
    const generator = new RandomGenerator(1)
    const weights = Array.from({ length: layers }, () => variable(mul(normal([16, 16], { generator }), 0.3)))
    const x = normal([64, 16], { generator })
    await realize(x, ...weights)
    return { x, weights }
  }

  each('the same gradients, bit for bit, with the same draws', async () => {
    const { x, weights } = await setup()
    const plain = valueAndGrad(build(x, weights, true), weights)
    const again = valueAndGrad(build(x, weights, false), weights)
    await realize(plain.value, ...plain.grads)
    await realize(again.value, ...again.grads)
    expect(await again.value.item()).toBe(await plain.value.item())
    for (const [i, g] of again.grads.entries()) expect(await g.data()).toEqual(await plain.grads[i]?.data())
  })

  each('what is computed again shows in the plan', async (device) => {
    const { x, weights } = await setup()
    const plan = async (kept: boolean): Promise<{ launches: number; peakBytes: number; text: string }> => {
      const { value, grads } = valueAndGrad(build(x, weights, kept), weights)
      const [only, ...others] = await explain(value, ...grads)
      expect(others).toEqual([])
      if (only === undefined) throw new Error('one plan')
      return only
    }
    const [plain, again] = [await plan(true), await plan(false)]
    const products = ({ text }: { text: string }): number => text.split('matmul').length - 1
    expect(products(again)).toBeGreaterThan(products(plain))
    expect(again.launches).toBeGreaterThan(plain.launches)
    if (device.name !== 'reference') expect(again.peakBytes).toBeLessThan(plain.peakBytes)
  })
})
