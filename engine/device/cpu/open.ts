/** Opening the CPU device: finds out what the engine can do and starts the threads. */
import { canShareMemory, cores } from '#platform'
import { FunctionBuilder, encodeModule, f32x4, v128 } from '../../../kernels/wasm/assembler.ts'
import { ConfigError } from '../../error.ts'
import { CpuBackend } from './backend.ts'
import { CallingThread, WorkerThreads } from './pool.ts'

/** 4 GiB: all that 32-bit addresses reach. 64-bit memories measured two to three times slower. */
const maximumPages = 65536

export interface CpuOptions {
  readonly threads?: number
  readonly sharedMemory?: boolean
}

export function openCpu({ threads = cores(), sharedMemory = canShareMemory() }: CpuOptions = {}): CpuBackend {
  if (!Number.isInteger(threads) || threads < 1) throw new ConfigError(`device: threads is ${threads}; use an integer of at least 1`)
  if (sharedMemory && !canShareMemory()) throw new ConfigError('device: this page cannot share memory with workers; serve it with COOP and COEP headers, or leave sharedMemory out')
  const memory = new WebAssembly.Memory({ initial: 16, maximum: maximumPages, shared: sharedMemory })
  const relaxed = hasRelaxedSimd()
  const pool = sharedMemory ? new WorkerThreads(memory, threads) : new CallingThread(memory)
  const how = sharedMemory ? `${pool.count} worker thread${pool.count === 1 ? '' : 's'}` : 'the calling thread (no shared memory)'
  return new CpuBackend({ memory, shared: sharedMemory, maximumPages, threads: pool, target: { relaxed }, description: `CPU, WebAssembly ${relaxed ? 'relaxed ' : ''}SIMD on ${how}` })
}

/** Whether the engine takes fused multiply-add. */
function hasRelaxedSimd(): boolean {
  const probe = new FunctionBuilder([])
  const v = probe.local('v128')
  probe.emit([f32x4.relaxedMadd(v128.splatF32(1), v128.splatF32(1), v128.splatF32(1)), 0x21, v.index])
  return WebAssembly.validate(encodeModule(new Map([['probe', probe]]), { shared: false, maximum: 1 }))
}
