/**
 * What processors give at most, measured on the spot: chains of multiply-adds that do not wait for each other, and
 * a ← a + s·b over arrays far beyond the caches, of which, unlike STREAM's triad (McCalpin 1995), every byte that passes is
 * counted: nothing is written that was not read. In the instructions, and on as many threads, as the device would use.
 */
import { canShareMemory } from '#platform'
import { compile } from '../engine/device/cpu/instructions.ts'
import type { InstructionLevel } from '../engine/device/cpu/instructions.ts'
import { CallingThread, WorkerThreads } from '../engine/device/cpu/threads.ts'
import { controlBytes } from '../engine/device/cpu/protocol.ts'
import type { Code } from '../kernels/wasm/core/assembler.ts'
import { FunctionBuilder, doWhile, encodeModule, f32x4, i32, loopRange, markModule, set, v128 } from '../kernels/wasm/core/assembler.ts'

export interface PeakOptions {
  readonly threads: number
  readonly level: InstructionLevel
  /** Whether flags of V8 may be set, as for a device. */
  readonly experimental: boolean
}

const items = 64

/** In milliseconds; long enough for the system to give each thread a core of its own. */
const patience = 200
/** At least, for where memory is slow at first. */
const rounds = 6

/** Multiply-adds in a row on each accumulator. */
const links = 100_000
/** 256 bits are two vectors to WebAssembly; either way 12 registers, enough for two units that take four cycles. */
const chainsOf = (level: InstructionLevel): number => (level === 'wide' ? 24 : 12)

/** Of each of two arrays. */
const arrayBytes = 2 ** 26
const arraysAt = 65536

function multiplyAdd(level: InstructionLevel, x: Code, y: Code, z: Code): Code {
  return level === 'simd128' ? f32x4.add(f32x4.mul(x, y), z) : f32x4.relaxedMadd(x, y, z)
}

/** Each item runs all chains and stores where they end, neighbours together, so that they are joined into 256 bits. */
function chainKernel(level: InstructionLevel): FunctionBuilder {
  const f = new FunctionBuilder(['i32', 'i32'])
  const [begin, end] = f.parameters
  if (begin === undefined || end === undefined) throw new RangeError('two parameters')
  const [item, link, at] = [f.local('i32'), f.local('i32'), f.local('i32')]
  const [factor, term] = [f.local('v128'), f.local('v128')]
  const chains = Array.from({ length: chainsOf(level) }, () => f.local('v128'))
  f.emit(set(factor, v128.splatF32(0.999)), set(term, v128.splatF32(0.001)))
  f.emit(
    loopRange(item, begin, end, 1, [
      chains.map((chain, c) => set(chain, v128.splatF32(c))),
      loopRange(link, 0, links, 1, chains.map((chain) => set(chain, multiplyAdd(level, chain, factor, term)))),
      set(at, i32.add(4096, i32.mul(item, 16 * chains.length))),
      chains.map((chain, c) => v128.store(at, chain, 16 * c)),
    ]),
  )
  return f
}

/** Each item is one part of the arrays, which lie one behind the other. */
function updateKernel(level: InstructionLevel): FunctionBuilder {
  const f = new FunctionBuilder(['i32', 'i32'])
  const [begin, end] = f.parameters
  if (begin === undefined || end === undefined) throw new RangeError('two parameters')
  const [at, last, factor, zero] = [f.local('i32'), f.local('i32'), f.local('v128'), f.local('v128')]
  const [a, b] = [0, 1].map(() => Array.from({ length: 4 }, () => f.local('v128')))
  if (a === undefined || b === undefined) throw new RangeError('two operands')
  const part = (item: Code): Code => i32.add(arraysAt, i32.mul(item, arrayBytes / items))
  const load = (array: number) => (v: (typeof b)[number], i: number): Code => set(v, v128.load(at, array * arrayBytes + 16 * i))
  f.emit(set(factor, v128.splatF32(1e-6)), set(at, part(begin)), set(last, part(end)))
  f.emit(
    doWhile(
      [
        a.map(load(0)),
        b.map(load(1)),
        a.map((v, i) => set(v, multiplyAdd(level, b[i] ?? v, factor, v))),
        a.map((v, i) => v128.store(at, v, 16 * i)),
        [...a, ...b].map((v) => set(v, zero)), // Else they are live around the loop, and are not joined.
        set(at, i32.add(at, 64)),
      ],
      i32.lt(at, last),
    ),
  )
  return f
}

/** The fewest milliseconds that a run of `kernel` takes. */
async function leastTime(kernel: FunctionBuilder, bytes: number, { threads, level, experimental }: PeakOptions): Promise<number> {
  const shared = canShareMemory()
  const pages = Math.ceil(bytes / 65536)
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared })
  new Uint8Array(memory.buffer, arraysAt).fill(1) // Memory that was never written is one page of zeros, in the caches.
  const pool = shared ? new WorkerThreads(memory, threads) : new CallingThread(memory)
  try {
    pool.addModule(await compile(markModule(encodeModule(new Map([['kernel', kernel]]), { shared, maximum: pages }), level), level, experimental), ['kernel'])
    const addresses = controlBytes(threads)
    pool.addPlan(0, { launches: [{ kernel: 0, items, chunks: threads, after: -1, constants: [], sources: [] }], addresses, buffers: 0, progress: addresses + 4 * pool.members })
    await pool.run(0) // Starts the threads.
    let least = Infinity
    const until = performance.now() + patience
    for (let round = 0; round < rounds || performance.now() < until; round++) {
      const start = performance.now()
      await pool.run(0)
      least = Math.min(least, performance.now() - start)
    }
    return least
  } finally {
    await pool.close()
  }
}

export async function measurePeak(options: PeakOptions): Promise<{ readonly flops: number; readonly bandwidth: number }> {
  const { level } = options
  const compute = await leastTime(chainKernel(level), arraysAt, options)
  const traffic = await leastTime(updateKernel(level), arraysAt + 2 * arrayBytes, options)
  return { flops: (items * links * chainsOf(level) * 8 * 1000) / compute, bandwidth: (3 * arrayBytes * 1000) / traffic }
}
