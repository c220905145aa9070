/**
 * Runs generated kernels for tests: on a private memory, with guard zones around every buffer and
 * buffers flush with both ends of memory, so that a stray read traps and a stray write shows.
 */
import { encodeModule, FunctionBuilder } from '../../kernels/wasm/core/assembler.ts'
import type { WasmKernel } from '../../kernels/wasm/core/kernel.ts'

const page = 65536
const guardByte = 0xa5
/** As any type of float, a NaN. */
const nan = 0xff

/** Compiles functions on a private memory of `pages` and returns it with a caller by name. */
export function instantiate(functions: ReadonlyMap<string, FunctionBuilder>, pages = 1): { memory: ArrayBuffer; call: (name: string, ...args: number[]) => void } {
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const module = new WebAssembly.Module(encodeModule(functions, { shared: false, maximum: pages }))
  const instance = new WebAssembly.Instance(module, { env: { memory } })
  return {
    memory: memory.buffer,
    call(name, ...args) {
      const exported = instance.exports[name]
      if (typeof exported !== 'function') throw new Error(`no export ${name}`)
      Reflect.apply(exported, undefined, args)
    },
  }
}

const align = (bytes: number): number => (bytes + 63) & ~63

export interface RunOptions {
  /** Increasing item numbers at which the work is cut into launches. */
  readonly cuts?: readonly number[]
  /** Which buffer lies at address 0; the one before it ends with the memory. */
  readonly first?: number
}

/** Runs `kernel` over `buffers` (inputs, then outputs), which it updates in place. */
export function runKernel(kernel: WasmKernel, buffers: readonly Uint8Array[], { cuts = [], first = 0 }: RunOptions = {}): void {
  const scratch = kernel.scratchBytes ?? 0
  const table = kernel.table === undefined ? new Uint8Array(0) : new Uint8Array(kernel.table.buffer)
  const lists = kernel.args.map((a) => (typeof a === 'object' && 'pointers' in a ? a.pointers : []))
  const listBytes = lists.map((list) => 4 * list.length)
  const total = buffers.reduce((sum, b) => sum + align(b.length) + 64, align(scratch) + align(table.length) + listBytes.reduce((sum, n) => sum + n, 0) + 256)
  const pages = Math.ceil((total + Math.max(0, ...buffers.map((b) => align(b.length)))) / page) // the last buffer lies apart, at the end
  const { memory, call } = instantiate(new Map([['kernel', kernel.build()]]), pages)
  const bytes = new Uint8Array(memory).fill(guardByte)
  const places = new Map<number, number>()
  let next = 0
  const order = buffers.map((_, i) => (i + first) % buffers.length)
  order.forEach((b, i) => {
    const length = buffers[b]?.length ?? 0
    const last = i === order.length - 1 && i > 0
    places.set(b, last ? bytes.length - length : next)
    next += align(length) + 64
  })
  const scratchAt = next
  const tableAt = next + align(scratch)
  bytes.set(table, tableAt)
  bytes.fill(nan, scratchAt, scratchAt + scratch) // What a kernel does not write first must not matter.
  buffers.forEach((b, i) => bytes.set(b, places.get(i) ?? 0))
  const listsAt = tableAt + align(table.length)
  const pointers = new Int32Array(lists.flat().map((b) => places.get(b) ?? 0))
  bytes.set(new Uint8Array(pointers.buffer), listsAt)
  const args = kernel.args.map((a, i) => {
    if (a === 'scratch') return scratchAt
    if (typeof a === 'number') return a | 0
    if ('pointers' in a) return listsAt + listBytes.slice(0, i).reduce((sum, n) => sum + n, 0)
    return (places.get(a.buffer) ?? 0) + a.byteOffset
  })
  if (table.length > 0) args.push(tableAt)
  const ends = [...cuts, kernel.items]
  let begin = 0
  for (const end of ends) {
    if (end > begin) call('kernel', begin, end, ...args)
    begin = Math.max(begin, end)
  }
  buffers.forEach((b, i) => {
    const at = places.get(i) ?? 0
    b.set(bytes.subarray(at, at + b.length))
    bytes.fill(guardByte, at, at + b.length)
  })
  bytes.fill(guardByte, scratchAt, scratchAt + scratch)
  bytes.fill(guardByte, tableAt, tableAt + table.length)
  bytes.fill(guardByte, listsAt, listsAt + pointers.byteLength)
  const stray = bytes.findIndex((x) => x !== guardByte)
  if (stray >= 0) throw new Error(`kernel wrote outside its buffers, at ${stray} (buffers at ${[...places.values()].join()})`)
}
