/**
 * What threads wait for, as they are told, against the bytes that launches touch: before a launch starts, every launch before it that wrote
 * what it touches, or touched what it writes, must be complete. Then the same plans with threads that are held up.
 */
import * as fc from 'fast-check'
import { Worker } from 'node:worker_threads'
import { afterEach, expect, test, vi } from 'vitest'
import { CpuBackend, CpuExecutable } from '../../engine/device/cpu/backend.ts'
import type { PlanCode } from '../../engine/device/cpu/protocol.ts'
import { WorkerThreads } from '../../engine/device/cpu/threads.ts'
import { readsOf, writesOf } from '../../engine/compile/plan.ts'
import type { Load } from '../../engine/compile/fragment.ts'
import type { View } from '../../engine/compile/view.ts'
import { KernelTable } from '../../engine/device/rules/table.ts'
import type { Call } from '../../engine/device/rules/table.ts'
import { byteSize } from '../../engine/dtype.ts'
import type { TypedArray } from '../../engine/dtype.ts'
import { add, device as open, exp, flip, grad, mul, prod, realize, sin, slice, sum, tensor } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'
import { at } from '../../engine/shape.ts'
import type { WorkerHandle } from '../../engine/platform.ts'
import type { WasmKernel, WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { uniform } from '../../testing/samples.ts'
import { programs, run } from './programs.ts'

const late = vi.hoisted(() => ({ workers: false }))
vi.mock('#platform', async (original) => {
  const platform = await original<typeof import('../../engine/platform.node.ts')>()
  return { ...platform, spawnCpuWorker: (...handlers: Parameters<typeof spawnLate>) => (late.workers ? spawnLate : platform.spawnCpuWorker)(...handlers) }
})

function spawnLate(receive: (message: unknown) => void, fail: (error: Error) => void): WorkerHandle {
  const worker = new Worker(new URL('delayed-worker.ts', import.meta.url))
  worker.on('message', receive).on('error', fail)
  return { post: (message) => worker.postMessage(message), ref: () => undefined, unref: () => undefined, close: async () => void (await worker.terminate()) }
}

afterEach(() => {
  vi.restoreAllMocks()
  late.workers = false
})

/** Bytes from the start of the workspace, or of the memory of a leaf or a result. */
interface Touched {
  readonly space: number
  readonly from: number
  readonly to: number
  readonly buffer: number
  /** Which of the buffer's elements. */
  readonly elements: Uint8Array
}

function elementsOf({ shape, strides, offset, mask }: View, size: number): Uint8Array {
  const found = new Uint8Array(size)
  const walk = (axis: number, position: number): void => {
    if (axis === shape.length) found[position] = 1
    else for (let i = mask?.[axis]?.[0] ?? 0; i < (mask?.[axis]?.[1] ?? at(shape, axis)); i++) walk(axis + 1, position + i * at(strides, axis))
  }
  walk(0, offset)
  return found
}

function touchedBy(loads: readonly Load[], { plan, memory }: CpuExecutable, whole: boolean): Touched[] {
  return loads.map((load) => {
    const { id, home, elements, dtype } = at(plan.buffers, load.buffer)
    const from = memory.offsets.get(id)
    const overwritten = home.kind === 'result' ? at(plan.graph.results, home.index).overwrites : undefined
    const bytes = elements * byteSize(dtype)
    return { space: from === undefined ? (overwritten ?? id) : -1, from: from ?? 0, to: (from ?? 0) + bytes, buffer: id, elements: whole ? new Uint8Array(elements).fill(1) : elementsOf(load.view, elements) }
  })
}

function meet(x: Touched, y: Touched): boolean {
  if (x.space !== y.space || x.to <= y.from || y.to <= x.from) return false
  return x.buffer !== y.buffer || x.elements.some((touched, e) => touched === 1 && y.elements[e] === 1)
}

/** What a plan's launches would find unfinished: as pairs of their numbers among those that threads are told of. */
function tooEarly(executable: CpuExecutable, code: PlanCode): string[] {
  const { plan, calls } = executable
  const kept = plan.launches.filter((_, i) => at(calls, i).kernel.items > 0)
  expect(code.launches.length).toBe(kept.length)
  const touched = kept.map((launch) => {
    const whole = launch.kind === 'reduce' && launch.parts !== undefined
    return { reads: touchedBy(readsOf(launch), executable, whole), writes: touchedBy(writesOf(launch), executable, whole) }
  })
  const problems: string[] = []
  // A thread knows that to be complete which any launch before has waited for: it, or whoever took that launch's items, has seen it.
  let complete = -1
  touched.forEach((later, j) => {
    complete = Math.max(complete, at(code.launches, j).after)
    for (let i = complete + 1; i < j; i++) {
      const earlier = at(touched, i)
      const conflict = later.reads.some((x) => earlier.writes.some((y) => meet(x, y))) || later.writes.some((x) => [...earlier.writes, ...earlier.reads].some((y) => meet(x, y)))
      if (conflict) problems.push(`${at(kept, j).label.name} (${j}) starts before ${at(kept, i).label.name} (${i}) is complete`)
    }
  })
  return problems
}

interface Told {
  readonly executable: CpuExecutable
  readonly code: PlanCode
}

/** The plans that are compiled from here on, with what threads are told of them. */
function watchPlans(): Told[] {
  const codes = new Map<number, PlanCode>()
  const found: Told[] = []
  const { addPlan } = WorkerThreads.prototype
  vi.spyOn(WorkerThreads.prototype, 'addPlan').mockImplementation(function note(this: WorkerThreads, id, code) {
    codes.set(id, code)
    addPlan.call(this, id, code)
  })
  const { compile } = CpuBackend.prototype
  vi.spyOn(CpuBackend.prototype, 'compile').mockImplementation(async function note(this: CpuBackend, graph) {
    const executable = await compile.call(this, graph)
    const code = codes.get(executable.id)
    if (code !== undefined) found.push({ executable, code })
    return executable
  })
  return found
}

const ramp = (shape: readonly number[]): Tensor => tensor(Float32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => ((i % 17) - 8) / 8), shape)

/** Launches with nothing to do, between others that depend on each other. */
const withNothing: Readonly<Record<string, () => Tensor[]>> = {
  'a slice of nothing': () => {
    const y = sin(exp(ramp([400, 33])))
    return [y, mul(slice(y.reshape([400, 33, 1]), [null, null, [1, 1]]), 2), add(flip(y, [0, 1]), 1)]
  },
  'sums of nothing': () => {
    const y = exp(ramp([300, 70]))
    return [y, add(sum(slice(y, [[3, 3], null]), 1), 1), sin(flip(y, [0, 1]))]
  },
  'second derivatives of a product over an axis of one': () => {
    const x = ramp([5000, 1])
    const first = grad(sum(sin(prod(x, 1))), x)
    return [first, grad(sum(mul(first, first)), x)]
  },
}

async function values(program: () => Tensor[]): Promise<TypedArray[]> {
  const outputs = program()
  await realize(...outputs)
  return Promise.all(outputs.map(async (y) => y.data()))
}

test.each(Object.entries(withNothing))('%s: every launch waits for what it needs', async (_, program) => {
  const plans = watchPlans()
  await using device = await open('cpu', { threads: 2, instructions: 'relaxed' })
  await values(program)
  await device.close()
  expect(plans.some(({ executable, code }) => code.launches.length < executable.plan.launches.length)).toBe(true)
  expect(plans.flatMap(({ executable, code }) => tooEarly(executable, code))).toEqual([])
})

test('every launch of random programs waits for what it needs, whichever others have nothing to do', async () => {
  const plans = watchPlans()
  let calls = 0
  const { call } = KernelTable.prototype
  vi.spyOn(KernelTable.prototype, 'call').mockImplementation(function some(this: KernelTable<WasmKernel, WasmTarget>, launch, same) {
    const made = call.call(this, launch, same) as Call<WasmKernel>
    return uniform(3, calls++) < 0.3 ? { ...made, kernel: { ...made.kernel, items: 0 } } : made
  })
  await using device = await open('cpu', { threads: 2, instructions: 'relaxed' })
  await fc.assert(fc.asyncProperty(programs, async (program) => {
    plans.length = 0
    await run(program, device)
    expect(plans.flatMap(({ executable, code }) => tooEarly(executable, code))).toEqual([])
  }), { seed: Number(process.env['SEED'] ?? 7), numRuns: 60, interruptAfterTimeLimit: 30_000 })
}, 60_000)

test.each(Object.entries(withNothing))('%s: threads that are late change nothing', async (_, program) => {
  const on = async (threads: number): Promise<TypedArray[]> => {
    await using device = await open('cpu', { threads, instructions: 'relaxed' })
    const results = await values(program)
    for (let run = 1; run < 20; run++) expect(await values(program), `run ${run} on ${device.description}`).toEqual(results)
    return results
  }
  const expected = await on(1)
  late.workers = true
  expect(await on(3)).toEqual(expected)
}, 60_000)
