/** The CPU device's memory: blocks never overlap, what is freed is used again, and a training loop needs no more after two steps. */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { Allocator } from '../../engine/device/cpu/allocator.ts'
import type { CpuBlock } from '../../engine/device/cpu/allocator.ts'
import { openCpu } from '../../engine/device/cpu/open.ts'
import { Device } from '../../engine/device/device.ts'
import { WorkerThreads } from '../../engine/device/cpu/threads.ts'
import { add, matmul, mul, realize, sub, sum, tensor, valueAndGrad, variable } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'

const { addModule } = WorkerThreads.prototype

const page = 65536
const memory = (): WebAssembly.Memory => new WebAssembly.Memory({ initial: 1, maximum: 64 })

test('blocks do not overlap, and all that is freed becomes one range again', () => {
  const step = fc.record({ bytes: fc.integer({ min: 0, max: 20_000 }), drop: fc.option(fc.nat(20)) })
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const [space, held] = [memory(), [] as CpuBlock[]]
    const allocator = new Allocator(space, 100, 64 * page)
    for (const { bytes, drop } of steps) {
      const block = drop === null ? undefined : held.splice(drop, 1)[0]
      if (block !== undefined) allocator.release(block)
      const fresh = allocator.allocate(bytes)
      if (fresh === undefined) continue
      expect(fresh.bytes).toBeGreaterThanOrEqual(bytes)
      expect(fresh.address).toBeGreaterThanOrEqual(100)
      expect(fresh.address + fresh.bytes).toBeLessThanOrEqual(space.buffer.byteLength)
      for (const other of held) expect(fresh.address >= other.address + other.bytes || other.address >= fresh.address + fresh.bytes).toBe(true)
      held.push(fresh)
    }
    const end = Math.max(256, ...held.map((b) => b.address + b.bytes))
    for (const block of held) allocator.release(block)
    expect(allocator.allocate(end - 256)?.address).toBe(256)
  }))
})

test('a small block does not take a part of what a large one left', () => {
  const space = memory()
  const allocator = new Allocator(space, 0, 64 * page)
  const take = (bytes: number): CpuBlock => allocator.allocate(bytes) ?? { address: -1, bytes: 0 }
  const [large, small] = [take(20 * page), take(256), take(512), take(256)].filter((_, i) => i % 2 === 0)
  if (large === undefined || small === undefined) throw new Error('four blocks')
  allocator.release(large)
  allocator.release(small)
  expect(take(300).address).toBe(small.address)
  const before = space.buffer.byteLength
  expect(take(20 * page).address).toBe(large.address)
  expect(space.buffer.byteLength).toBe(before)
})

test('after two steps the memory does not grow, whatever is kept for a while', async () => {
  const backend = openCpu({ threads: 2 })
  await using device = new Device(backend)
  const [w, x] = [variable(tensor(new Float32Array(256 * 256).fill(0.01), [256, 256], { device })), tensor(new Float32Array(64 * 256).fill(1), [64, 256], { device })]
  const step = async (): Promise<void> => {
    const { value, grads } = valueAndGrad(sum(mul(matmul(x, w), matmul(x, w))), { w })
    w.assign(sub(w, mul(grads.w, 1e-6)))
    const shown = add(matmul(x, w), 1)
    await realize(value, shown)
    shown.dispose()
  }
  await step()
  await step()
  const { memoryBytes } = backend
  for (let k = 0; k < 30; k++) await step()
  expect(backend.memoryBytes).toBe(memoryBytes)
})

test('a kernel is compiled once, though plans that need it are compiled at the same time', async () => {
  const backend = openCpu({ threads: 2 })
  const compiled: string[] = []
  const spy = vi.spyOn(WorkerThreads.prototype, 'addModule').mockImplementation(function add(this: WorkerThreads, module, names) {
    compiled.push(...names)
    addModule.call(this, module, names)
  })
  await using device = new Device(backend)
  const ones = (n: number): Tensor => tensor(new Float32Array(n * n).fill(1), [n, n], { device })
  const product = (n: number): Promise<number> => sum(matmul(ones(n), ones(n))).item()
  expect(await Promise.all([48, 64, 80].map(product))).toEqual([48 ** 3, 64 ** 3, 80 ** 3])
  const kernels = compiled.length
  expect(kernels).toBe(backend.kernelCount)
  expect(await Promise.all([48, 64, 80, 96].map(product))).toEqual([48 ** 3, 64 ** 3, 80 ** 3, 96 ** 3])
  expect([compiled.length, backend.kernelCount]).toEqual([kernels, kernels])
  spy.mockRestore()
})
