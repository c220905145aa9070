/** Opening the CPU device: finds out what the engine can do and starts the threads. */
import { canShareMemory, cores } from '#platform'
import { ConfigError } from '../../error.ts'
import { CpuBackend } from './backend.ts'
import { chooseInstructions } from './instructions.ts'
import type { InstructionLevel } from './instructions.ts'
import { CallingThread, WorkerThreads } from './threads.ts'

/** 4 GiB: all that 32-bit addresses reach. 64-bit memories measured two to three times slower. */
const maximumPages = 65536

export interface CpuOptions {
  readonly threads?: number
  readonly sharedMemory?: boolean
  readonly instructions?: InstructionLevel
  readonly experimental?: boolean
  readonly trials?: boolean
  readonly firstAddress?: number
}

export function openCpu({ threads = cores(), sharedMemory = canShareMemory(), instructions, experimental = true, trials = true, firstAddress }: CpuOptions = {}): CpuBackend {
  if (!Number.isInteger(threads) || threads < 1) throw new ConfigError(`device: threads is ${threads}; use an integer of at least 1`)
  if (sharedMemory && !canShareMemory()) throw new ConfigError('device: this page cannot share memory with workers; serve it with COOP and COEP headers, or leave sharedMemory out')
  const chosen = chooseInstructions(instructions, experimental)
  const memory = new WebAssembly.Memory({ initial: 16, maximum: maximumPages, shared: sharedMemory })
  const pool = sharedMemory ? new WorkerThreads(memory, threads) : new CallingThread(memory)
  const how = sharedMemory ? `${pool.count} worker thread${pool.count === 1 ? '' : 's'}` : 'the calling thread (no shared memory)'
  return new CpuBackend({
    memory, shared: sharedMemory, maximumPages, threads: pool, instructions: chosen, experimental, trials,
    ...(firstAddress !== undefined && { firstAddress }),
    description: `CPU, WebAssembly ${names[chosen.level]} on ${how}`,
  })
}

const names: Readonly<Record<InstructionLevel, string>> = { simd128: 'SIMD', relaxed: 'relaxed SIMD', wide: 'relaxed SIMD in 256 bits' }
