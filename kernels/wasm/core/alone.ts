/** Places a kernel and its buffers in a memory of their own: for benchmarks, and for the self-test of an instruction level. */
import { encodeModule } from './assembler.ts'
import type { WasmKernel } from './kernel.ts'

export interface AloneKernel {
  /** All items, or those from `begin` to `end`. */
  readonly run: (begin?: number, end?: number) => void
  /** The buffers, in the kernel's order: inputs, then outputs. */
  readonly buffers: readonly Float32Array<ArrayBuffer>[]
}

const align = (bytes: number): number => (bytes + 4095) & ~4095
/** Between buffers, so that they do not fall on equal cache sets. */
const gap = 4096 + 320

/** `kernel` over buffers of `sizes` floats, compiled by `compile`. Lists of buffers are not supported. */
export function placeAlone(kernel: WasmKernel, sizes: readonly number[], compile: (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.Module): AloneKernel {
  const places: number[] = []
  let next = 4096
  for (const size of sizes) {
    places.push(next)
    next += align(4 * size) + gap
  }
  const tableAt = align(next)
  const scratchAt = tableAt + align(kernel.table?.byteLength ?? 0)
  const pages = Math.ceil((scratchAt + (kernel.scratchBytes ?? 0) + 64) / 65536)
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const { exports } = new WebAssembly.Instance(compile(encodeModule(new Map([['kernel', kernel.build()]]), { shared: false, maximum: pages })), { env: { memory } })
  const call = exports['kernel'] as (...args: number[]) => void
  const args = kernel.args.map((a) => {
    if (a === 'scratch') return scratchAt
    if (typeof a === 'number') return a
    if ('pointers' in a) throw new RangeError('a kernel alone takes no lists of buffers')
    return (places[a.buffer] ?? 0) + a.byteOffset
  })
  if (kernel.table !== undefined) {
    new Int32Array(memory.buffer).set(kernel.table, tableAt / 4)
    args.push(tableAt)
  }
  return {
    run: (begin = 0, end = kernel.items) => call(begin, end, ...args),
    buffers: sizes.map((size, i) => new Float32Array(memory.buffer, places[i] ?? 0, size)),
  }
}
