/** What waits for what, and what is left after a failure: plans that are dropped, memory that runs out, threads that die. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { planLimit } from '../../engine/compile/cache.ts'
import { DeviceError, add, cumsum, device as openDevice, expand, explain, matmul, mul, realize, reshape, sum, tensor, variable, zeros } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { Executor } from '../../engine/device/cpu/executor.ts'
import { WorkerThreads } from '../../engine/device/cpu/threads.ts'

let cpu: Device
beforeEach(async () => {
  cpu = await openDevice('cpu', { threads: 2 })
})
afterEach(async () => cpu.close())

test('plans that are queued outlive their place in the cache', async () => {
  const counts = Array.from({ length: 3 * planLimit }, (_, i) => i + 1)
  const totals = await Promise.all(counts.map(async (n) => sum(mul(tensor(new Float32Array(n).fill(2)), 3)).item()))
  expect(totals).toEqual(counts.map((n) => 6 * n))
  expect(cpu.plans.size).toBeLessThanOrEqual(planLimit)
})

test('realising a variable that is being computed waits for it, and fails with it', async () => {
  const w = variable(new Float32Array(100_000))
  let done = false
  const first = (async () => {
    await realize(w)
    done = true
  })()
  await realize(w)
  expect(done).toBe(true)
  await first
  w.assign(sum(expand(tensor([1]), [2 ** 31]), 0, { keepDims: true }).expand([100_000]))
  const results = await Promise.allSettled([realize(w), realize(w)])
  expect(results.map((r) => r.status)).toEqual(['rejected', 'rejected'])
  expect((await w.data())[0]).toBe(0)
})

test('what cannot be planned starts nothing of its realisation', async () => {
  const [w, other] = [variable([1], { name: 'w' }), variable([2])]
  await realize(w, other)
  const stale = mul(w, 2)
  w.assign(add(w, 1))
  await realize(w)
  other.assign(add(other, 1))
  await expect(realize(stale, other)).rejects.toThrow(/^a tensor reads variable w at version 1, but the variable is at version 2/)
  expect(cpu.moved.has(other)).toBe(true)
  expect(await other.item()).toBe(3)
})

test('closing waits for what is queued, for everyone who closes', async () => {
  const device = await openDevice('cpu', { threads: 2, makeDefault: false })
  const x = sum(mul(tensor(new Float32Array(1000).fill(1), null, { device }), 2))
  const value = x.item()
  await Promise.all([device.close(), device.close()])
  expect(await value).toBe(2000)
})

test('a thread that dies fails the run it was in and those after it', async () => {
  const threads = new WorkerThreads(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }), 2)
  const plan = { launches: [], addresses: 0, buffers: 0, progress: 0 }
  threads.addPlan(0, plan)
  await threads.run(0)
  threads.addPlan(1, plan) // How long it takes is not known yet, so it is left to the workers.
  const own = vi.spyOn(Executor.prototype, 'addModule').mockReturnValue() // In this thread.
  // A module that imports what the worker does not give: (import "env" "none" (func)).
  const module = new WebAssembly.Module(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 2, 12, 1, 3, 101, 110, 118, 4, 110, 111, 110, 101, 0, 0]))
  threads.addModule(module, [])
  own.mockRestore()
  const message = /^cpu: a worker thread ended unexpectedly \(.*none.*\); close the device and open it again$/
  await expect(threads.run(1)).rejects.toThrow(message)
  await expect(threads.run(0)).rejects.toThrow(message)
  await threads.close()
})

test('a run of a plan that a thread has not got fails', async () => {
  const threads = new WorkerThreads(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }), 2)
  await expect(threads.run(7)).rejects.toThrow('cpu: a kernel failed: plan 7 is not here')
  await threads.close()
})

describe('too large', () => {
  const outer = (n: number) => {
    const x = tensor(new Float32Array(n), [n, 1])
    return sum(cumsum(matmul(x, reshape(x, [1, n])), 0))
  }

  test('a result', async () => {
    await expect(realize(zeros([2 ** 30 + 5]))).rejects.toThrow(/^out of memory on cpu: expand needs 4294967316 bytes, \d+ of 4294901760 are held \(largest: .*\); dispose of tensors you keep, or use a smaller batch$/)
  })

  test('intermediate values: no variable is touched, and the device goes on', async () => {
    const w = variable([1, 2])
    await realize(w)
    const loss = outer(40_000)
    w.assign(add(w, loss))
    await expect(realize(loss, w)).rejects.toThrow(/^out of memory on cpu: intermediate values need 12800000000 bytes, but one WebAssembly memory holds 4294901760 bytes in all; use a smaller batch, or recompute$/)
    expect(Array.from(await w.data())).toEqual([1, 2])
    const x = matmul(tensor([[1, 2], [3, 4]]), tensor([[1, 0], [0, 1]]))
    await realize(x)
    expect(await outer(30).item()).toBe(0)
    expect(Array.from(await x.data())).toEqual([1, 2, 3, 4])
  })

  test('more elements than kernels can count, though fused', async () => {
    await expect(sum(expand(tensor([1]), [2 ** 32 + 8])).item()).rejects.toThrow('takes 4294967304 elements [4294967304] at once, but at most 2147483647 can be; use a smaller batch, or split it')
  })

  test('a variable that never had a value says so, and holds no memory', async () => {
    const held = cpu.bytesHeld
    const [first, second] = [variable(zeros([1000]), { name: 'first' }), variable(zeros([2 ** 30 + 5]), { name: 'second' })]
    await expect(realize(first, second)).rejects.toThrow(DeviceError)
    expect(() => first.read()).toThrow(/^variable first: a run failed while writing it \(out of memory on cpu: .*\); assign or load it again before reading$/)
    expect(cpu.bytesHeld).toBe(held)
    first.assign(tensor(new Float32Array(1000).fill(7)))
    expect((await first.data())[999]).toBe(7)
  })
})

test('explaining a plan counts as no run and no hit', async () => {
  const x = tensor([1, 2, 3])
  await realize(mul(x, 2))
  cpu.resetCounters()
  await explain(mul(x, 3))
  expect(cpu.counters).toEqual({ submits: 0, launches: 0, plansCompiled: 0, planHits: 0 })
  await realize(mul(x, 4))
  expect(cpu.counters).toMatchObject({ submits: 1, plansCompiled: 0, planHits: 1 })
})
