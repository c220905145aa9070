/** The threads of the CPU device, without a compiler above them: runs, plans that come and go, threads that are held up. */
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { FunctionBuilder, encodeModule, i32, loopRange } from '../../kernels/wasm/core/assembler.ts'
import { Executor } from '../../engine/device/cpu/executor.ts'
import type { LaunchCode, PlanCode } from '../../engine/device/cpu/protocol.ts'
import { WorkerThreads } from '../../engine/device/cpu/threads.ts'
import { controlBytes, enter, leave, over, words } from '../../engine/device/cpu/protocol.ts'
import type { WorkerHandle } from '../../engine/platform.ts'

vi.mock('#platform', () => ({ spawnCpuWorker, mayHoldUp: true, nextTask: setImmediate }))

function spawnCpuWorker(receive: (message: unknown) => void, fail: (error: Error) => void): WorkerHandle {
  const worker = new Worker(new URL('delayed-worker.ts', import.meta.url))
  worker.on('message', receive).on('error', fail)
  return { post: (message) => worker.postMessage(message), ref: () => undefined, unref: () => undefined, close: async () => void (await worker.terminate()) }
}

const pages = 16
const items = 16
/** Where the lists of numbers, the addresses and the progress of all plans lie. */
const places = { a: 4096, b: 8192, c: 12288, addresses: 16384, progress: 20480 }

/** `to[i] = from[i] + 1`, or the item of the other end where `reversed`. */
function adder(reversed: boolean): FunctionBuilder {
  const f = new FunctionBuilder(['i32', 'i32', 'i32', 'i32'])
  const [begin, end, from, to] = f.parameters
  const i = f.local('i32')
  if (begin === undefined || end === undefined || from === undefined || to === undefined) throw new Error('four parameters')
  const bytes = i32.mul(i, 4)
  const source = reversed ? i32.sub(4 * items - 4, bytes) : bytes
  f.emit(loopRange(i, begin, end, 1, i32.store(i32.add(to, bytes), i32.add(i32.load(i32.add(from, source)), 1))))
  return f
}

const functions = new Map([['plain', adder(false)], ['reversed', adder(true)]])
const adders = new WebAssembly.Module(encodeModule(functions, { shared: true, maximum: pages }))

const launch = (kernel: number, from: number, to: number, after: number): LaunchCode => ({ kernel, items, chunks: 8, after, constants: [from, to], sources: [-1, -1] })
const { a, b, c } = places
/** Adds 1 to what is in c, and 3 to what is in a, through b. */
const launches = [launch(0, a, a, -1), launch(0, c, c, -1), launch(1, a, b, 0), launch(1, b, a, 2)]

const code = (expected: number): PlanCode => ({ launches, addresses: places.addresses, buffers: 0, progress: places.progress, expected })

/** One member without others. */
function alone(patience: number): { readonly executor: Executor; readonly memory: WebAssembly.Memory } {
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  const executor = new Executor(memory, 0, 1, patience)
  executor.addModule(adders, [...functions.keys()])
  executor.addPlan(0, code(0))
  return { executor, memory }
}

function start(count: number): { readonly threads: WorkerThreads; readonly memory: WebAssembly.Memory } {
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  const threads = new WorkerThreads(memory, count)
  threads.addModule(adders, [...functions.keys()])
  return { threads, memory }
}

test('every run is the whole plan, once, though threads are late and plans come and go', { timeout: 120_000 }, async () => {
  const count = 3
  expect(controlBytes(count)).toBeLessThan(places.a)
  const { threads, memory } = start(count)
  const [as, cs] = [a, c].map((address) => new Int32Array(memory.buffer, address, items))
  for (let run = 1; run <= 300; run++) {
    const plan = run >> 1 // Each runs twice.
    if (run % 2 === 0) threads.addPlan(plan, code(plan % 3 === 0 ? 0 : Infinity))
    if (run > 1) await threads.run(plan)
    if (run % 2 === 1) threads.dropPlan(plan)
    expect([...new Set(as)], `a after run ${run}`).toEqual([3 * (run - 1)])
    expect([...new Set(cs)], `c after run ${run}`).toEqual([run - 1])
  }
  await threads.close()
})

describe('the calling thread', () => {
  test('does brief runs itself where there is one thread, and gives way now and then', async () => {
    const { threads, memory } = start(1)
    threads.addPlan(0, code(0))
    let [turns, runs] = [0, 0]
    const slices = Reflect.get(threads, 'slices') as { begin(): void }
    slices.begin()
    setTimeout(() => turns++)
    await threads.run(0)
    runs++
    expect(turns, 'a run ends before others have a turn').toBe(0)
    while (turns === 0) {
      await threads.run(0)
      runs++
    }
    expect([...new Set(new Int32Array(memory.buffer, a, items))]).toEqual([3 * runs])
    await threads.close()
  })

  test('leaves a run where it would have to wait', () => {
    const { executor, memory } = alone(1)
    const progress = new Int32Array(memory.buffer, places.progress, 2 * launches.length)
    progress.set([8, 7]) // Someone is held up in the last chunk of the first launch, which the third reads.
    expect(executor.run(0)).toEqual({ whole: false, failure: undefined })
    expect([...progress]).toEqual([8, 7, 9, 8, 0, 0, 0, 0])
    progress[1] = 8
    expect(executor.run(0)).toEqual({ whole: true, failure: undefined })
    expect([...new Set(new Int32Array(memory.buffer, a, items))]).toEqual([2])
  })

  test('says what failed', async () => {
    const { threads } = start(1)
    threads.addPlan(0, { ...code(0), launches: [launch(5, a, a, -1)] })
    await expect(threads.run(0)).rejects.toThrow('cpu: a kernel failed: kernel 5 is not here')
    threads.addPlan(1, code(0))
    await threads.run(1)
    await threads.close()
  })
})

describe('a run ends once, with the last thread to leave it', () => {
  type Access = (...args: readonly unknown[]) => unknown
  const accesses = ['load', 'sub', 'compareExchange'] as const
  const direct = accesses.map((name) => Atomics[name] as Access)
  afterEach(() => accesses.forEach((name, i) => Object.assign(Atomics, { [name]: direct[i] })))

  /** Calls `meanwhile` before the access to shared memory of that number. */
  function interrupt(number: number, meanwhile: () => void): void {
    let count = 0
    accesses.forEach((name, i) => {
      const access: Access = (...args) => {
        if (count++ === number) meanwhile()
        return direct[i]?.(...args)
      }
      Object.assign(Atomics, { [name]: access })
    })
  }

  test.each([0, 1])('though others come, the run ends and the next begins before its access %i', (number) => {
    const control = new Int32Array(8)
    expect(enter(control)).toBe(true)
    let [came, ended] = [false, false]
    interrupt(number, () => {
      came = enter(control)
      ended = came && leave(control, true)
      if (ended) control[words.inside] = 0
    })
    const first = leave(control, true)
    expect(Number(first) + Number(ended)).toBe(1)
    expect(control[words.inside]).toBe(ended ? 0 : over)
  })

  test.each([0, 1])('also where one leaves that has not walked it, before access %i of the other', (number) => {
    const control = new Int32Array(8)
    expect([enter(control), enter(control)]).toEqual([true, true])
    let ended: boolean | undefined
    interrupt(number, () => (ended = leave(control, false)))
    const walked = leave(control, true)
    ended ??= leave(control, false)
    expect([walked, ended].filter(Boolean)).toHaveLength(1)
    expect([enter(control), control[words.inside]]).toEqual([false, over])
  })
})

test('a visitor that leaves first leaves the run open', () => {
  const control = new Int32Array(8)
  expect([enter(control), leave(control, false)]).toEqual([true, false])
  expect([enter(control), leave(control, true), enter(control)]).toEqual([true, true, false])
})

test('runs are told apart however many there were', async () => {
  const threads = new WorkerThreads(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }), 2)
  threads.addPlan(0, { launches: [], addresses: 4096, buffers: 0, progress: 4096 })
  Reflect.set(threads, 'runs', 2 ** 31 - 2)
  for (let i = 0; i < 4; i++) await threads.run(0)
  await threads.close()
})
