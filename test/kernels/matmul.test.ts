/** Matrix products against float64 loops: every edge of the tiles, any strides, any split. */
import type { MatmulDescriptor } from '../../kernels/ir/descriptor.ts'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matmulKernel } from '../../kernels/wasm/matmul/matmul.ts'
import { matmulPanels } from '../../kernels/wasm/matmul/matmulPanels.ts'
import { maxDepth } from '../../kernels/wasm/matmul/tile.ts'
import { anyLayoutOf, matmulError } from './naiveMatmul.ts'
import { type Layout, launch, normals, place } from './strided.ts'

interface Case {
  readonly batch: readonly number[]
  readonly m: number
  readonly k: number
  readonly n: number
  readonly layouts: { readonly a: Layout; readonly b: Layout; readonly out: Layout }
  readonly cuts?: readonly number[]
  readonly relaxed?: boolean
  readonly wide?: boolean
  readonly first?: number
}

function check({ batch, m, k, n, layouts, cuts = [], relaxed = true, wide = false, first = 0 }: Case): void {
  const a = place([...batch, m, k], layouts.a)
  const b = place([...batch, k, n], layouts.b)
  const out = place([...batch, m, n], layouts.out)
  const descriptor: MatmulDescriptor = { batch, m, k, n, a, b, out }
  const kernel = matmulKernel(descriptor, { relaxed, wide })
  const inputs = [a, b].map((o, i) => normals(o.size, 17 * i + m + n))
  const whole = launch(kernel, inputs, out.size, [], first)
  const { worst, written } = matmulError({ ...descriptor, a, b, out }, inputs, whole.out)
  // The bound on sums in blocks (Higham 2002, section 4.2); operands may be constant, so errors can all lean one way.
  expect(worst).toBeLessThan(2 ** -24 * (4 + Math.min(k, maxDepth) + Math.ceil(k / maxDepth)))
  expect(whole.out.findIndex((_, e) => !written.has(e) && !whole.untouched(e))).toBe(-1)
  if (cuts.length > 0) {
    const ends = cuts.map((c) => Math.round(c * kernel.items)).sort((x, y) => x - y)
    expect(launch(kernel, inputs, out.size, ends, first).out).toEqual(whole.out)
  }
  // Packed by a kernel of its own: if all problems share the matrix.
  const target = { relaxed, wide }
  const { input, panels, elements, kernel: packing } = matmulPanels(descriptor, target)
  if (!batch.every((s, axis) => s === 1 || (input === 0 ? a : b).strides[axis] === 0)) return
  const packed = launch(packing, inputs.slice(input, input + 1), elements, cuts.map((c) => Math.round(c * packing.items)).sort((x, y) => x - y)).out
  const reader = matmulKernel({ ...descriptor, [input === 0 ? 'a' : 'b']: panels, packed: true }, target)
  expect(launch(reader, inputs.map((x, i): Float32Array => (i === input ? packed : x)), out.size, [], first).out).toEqual(whole.out)
}

const plain = { order: [0, 1] }
const flipped = { order: [1, 0] }

describe('matmul', () => {
  it('handles every small size', () => {
    for (const m of [0, 1, 2, 5, 6, 7]) for (const n of [0, 1, 7, 8, 9]) for (const k of [0, 1, 3]) check({ batch: [], m, k, n, layouts: { a: plain, b: plain, out: plain } })
  })

  it.each([[31, 32, 33], [65, 300, 31], [6, 1030, 8], [100, 320, 17], [97, 321, 65], [7, 5, 300], [200, 64, 16], [1, 128, 300], [300, 40, 1]])('computes %i × %i × %i in all transposes', (m, k, n) => {
    for (const a of [plain, flipped]) for (const b of [plain, flipped]) for (const out of [plain, flipped]) check({ batch: [], m, k, n, layouts: { a, b, out }, cuts: [0.3, 0.71] })
  })

  const size = fc.oneof(fc.constantFrom(0, 1, 5, 6, 7, 8, 9, 31, 32, 33), fc.integer({ min: 1, max: 70 }))
  it('computes any strides, batches and splits', () => {
    const anyCase = fc.integer({ min: 0, max: 3 }).chain((rank) =>
      fc.record({
        batch: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: rank, maxLength: rank }),
        m: size,
        n: size,
        k: fc.oneof(size, fc.constantFrom(300, 350)),
        layouts: fc.record({
          a: anyLayoutOf(rank + 2, true),
          b: anyLayoutOf(rank + 2, true),
          out: anyLayoutOf(rank + 2, false),
        }),
        cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 4 }),
        relaxed: fc.boolean(),
        wide: fc.boolean(),
        first: fc.integer({ min: 0, max: 2 }),
      }))
    fc.assert(fc.property(anyCase, check), { numRuns: 150 })
  })

  it('has equal code for equal keys', () => {
    const make = (m: number, k: number, n: number): ReturnType<typeof matmulKernel> =>
      matmulKernel({ batch: [], m, k, n, a: { strides: [k, 1], offset: 0 }, b: { strides: [n, 1], offset: 0 }, out: { strides: [n, 1], offset: 0 } }, { relaxed: true })
    const [x, y] = [make(600, 512, 512), make(66, 100, 33)]
    expect(x.key).toBe(y.key)
    expect(x.build().body()).toEqual(y.build().body())
  })

  it('states its cost', () => {
    const kernel = matmulKernel({ batch: [2], m: 3, k: 4, n: 5, a: { strides: [12, 4, 1], offset: 0 }, b: { strides: [20, 5, 1], offset: 0 }, out: { strides: [15, 5, 1], offset: 0 } }, { relaxed: true })
    expect(kernel.flops).toBe(2 * 2 * 3 * 4 * 5)
    expect(kernel.bytes).toBe(4 * 2 * (12 + 20 + 15))
  })
})
