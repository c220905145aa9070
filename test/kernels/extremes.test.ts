/**
 * Kernels over as many elements as they can count, where sums of positions pass 2³¹. Memory that nobody writes takes no
 * room, and a kernel is called for its last item alone.
 */
import { describe, expect, test } from 'vitest'
import type { Operand, ReduceDescriptor } from '../../kernels/ir/descriptor.ts'
import { accumulator, load, unary } from '../../kernels/ir/expression.ts'
import type { Expression } from '../../kernels/ir/expression.ts'
import { encodeModule } from '../../kernels/wasm/core/assembler.ts'
import { gatherKernel } from '../../kernels/wasm/indexing/gather.ts'
import type { WasmKernel } from '../../kernels/wasm/core/kernel.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { reduceKernel, reduceParts } from '../../kernels/wasm/reduce/reduce.ts'

const page = 65536
const most = 2 ** 31 - 1
/** Behind `most` bytes at the start of the memory: other buffers, and scratch. */
const [other, scratch, pages] = [2 ** 31 + 1024, 2 ** 31 + page, 2 ** 15 + 4]
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })

/** The bytes from `address` on. */
const bytes = (address: number, count: number): Uint8Array => new Uint8Array(memory.buffer, address, count)

/** Runs the items from `begin` on. */
function run(kernel: WasmKernel, places: readonly number[], begin = 0): void {
  const bytecode = encodeModule(new Map([['kernel', kernel.build()]]), { shared: false, maximum: pages })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytecode), { env: { memory } })
  const args = kernel.args.map((a) => (a === 'scratch' ? scratch : typeof a === 'number' ? a : 'pointers' in a ? 0 : (places[a.buffer] ?? 0) + a.byteOffset))
  Reflect.apply(exports['kernel'] as () => void, undefined, [begin, kernel.items, ...args])
}

const operand = (dtype: Operand['dtype'], ...strides: readonly number[]): Operand => ({ dtype, strides, offset: 0 })
const x: Expression = unary('cast', load(0, 'u32'), 'i32')
const sizes = [most, most - 1, most - 16, most - 65, most - 4095]

describe.each(sizes)('%d elements of one byte', (size) => {
  const whole: ReduceDescriptor = { shape: [], reduced: [size], op: 'max', element: x, inputs: [operand('u8', 1)], outputs: [{ operand: operand('i32'), value: accumulator('i32') }] }
  const last = bytes(size - 1, 1)

  test('are reduced in parts: of the last the last counts, and nothing behind it', () => {
    const count = reduceParts(whole)
    const kernel = reduceKernel({ ...whole, parts: { count, stride: 1 } })
    const result = bytes(other + 4 * (count - 1), 4)
    bytes(size, 64).fill(255)
    for (const value of [0, 7]) {
      last[0] = value
      result.fill(9)
      run(kernel, [0, other], kernel.items - 1)
      expect([...result]).toEqual([value, 0, 0, 0])
    }
    bytes(size - 1, 65).fill(0)
  })

  test.each<[string, WasmKernel]>([
    ['a reduction over nothing but an axis of size 1', reduceKernel({ shape: [size], reduced: [1], op: 'max', element: x, inputs: [operand('u8', 0, 1)], outputs: [{ operand: operand('u8', 1), value: accumulator('i32') }] })],
    ['a map', mapKernel({ shape: [size], inputs: [operand('u8', 0)], outputs: [{ operand: operand('u8', 1), value: x }] })],
    ['a gather', gatherKernel({ shape: [1, size], axis: 0, extent: 1, dtype: 'u8', x: { strides: [0, 0], offset: 0 }, index: { strides: [0, 0], offset: 0 }, out: { strides: [size, 1], offset: 0 } })],
  ])('are written by %s: the last, and nothing behind it', (_, kernel) => {
    bytes(other, 4).fill(0)
    bytes(other + 64, 1).fill(3)
    run(kernel, kernel.key.startsWith('gather') ? [other + 64, other, 0] : [other + 64, 0], kernel.items - 1)
    expect([...bytes(size - 1, 3)]).toEqual([3, 0, 0])
    bytes(size - 9000, 9100).fill(0)
  })
})
