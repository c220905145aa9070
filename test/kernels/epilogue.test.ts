/** Products with epilogues against the same products stored first and read by an elementwise kernel: the same bits, and nothing else written. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ConvDescriptor, Epilogue } from '../../kernels/ir/descriptor.ts'
import { accumulator, binary, type Expression, index, load, type StorageType, unary } from '../../kernels/ir/expression.ts'
import { convInputGradKernel, convKernel } from '../../kernels/wasm/conv/conv.ts'
import { takesPlanes } from '../../kernels/wasm/conv/planeShape.ts'
import type { WasmKernel, WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { mapKernel } from '../../kernels/wasm/elementwise/map.ts'
import { matmulKernel } from '../../kernels/wasm/matmul/matmul.ts'
import { randomExpression, type RandomOperand, randomOperand, storageTypes } from './random.ts'
import { runKernel } from './run.ts'
import { type Layout, normals, place, type Placed } from './strided.ts'

/** An epilogue, and the buffers of its inputs. */
interface Case {
  readonly operands: readonly RandomOperand[]
  readonly value: Expression
}

const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

const replaced = (e: Expression, by: Expression): Expression => (e.op === 'accumulator' ? by : { ...e, args: e.args.map((x) => replaced(x, by)) })

function check(make: (epilogue?: Epilogue) => WasmKernel, factors: readonly Placed[], shape: readonly number[], out: Placed, { operands, value }: Case, cuts: readonly number[] = []): void {
  const factorBytes = factors.map(({ size }, i) => bytesOf(normals(size, i + size)))
  const inputs = operands.map((o) => o.operand)
  const inputBytes = operands.map((o) => o.bytes)
  const empty = (): Float32Array<ArrayBuffer> => new Float32Array(out.size).fill(-12345.5)
  const [product, wanted, fused] = [empty(), empty(), empty()]
  const kernel = make({ inputs, value })
  const ends = cuts.map((c) => Math.round(c * kernel.items)).sort((x, y) => x - y)
  runKernel(kernel, [...factorBytes, ...inputBytes, bytesOf(fused)], { cuts: ends })
  runKernel(make(), [...factorBytes, bytesOf(product)])
  const target = { dtype: 'f32', strides: out.strides, offset: out.offset } as const
  const second = mapKernel({ shape, inputs: [...inputs, target], outputs: [{ operand: target, value: replaced(value, load(inputs.length, 'f32')) }] })
  runKernel(second, [...inputBytes, bytesOf(product), bytesOf(wanted)])
  expect(fused).toEqual(wanted)
}

/** Operands of any type over `shape`, broadcast, flipped and permuted, and an exact expression that reads the product. */
const cases = (shape: readonly number[]): fc.Arbitrary<Case> =>
  fc.array(fc.constantFrom<StorageType>('f32', 'f32', ...storageTypes), { maxLength: 5 }).chain((dtypes) =>
    fc.record({
      operands: fc.tuple(...dtypes.map((dtype) => randomOperand(shape, dtype, false).filter(({ operand }) => operand.mask === undefined))),
      value: randomExpression('f32', dtypes, 0, [accumulator('f32')]).map((e) => binary('add', accumulator('f32'), e)),
    }))

const layoutOf = (rank: number, usual: readonly (readonly number[])[]): fc.Arbitrary<Layout> =>
  fc.record({
    order: fc.oneof(fc.constantFrom(...usual), fc.shuffledSubarray(Array.from({ length: rank }, (_, i) => i), { minLength: rank })),
    spacing: fc.constantFrom(1, 1, 1, 2),
    front: fc.constantFrom(0, 3),
  })

const target: fc.Arbitrary<WasmTarget> = fc.record({ relaxed: fc.boolean(), wide: fc.boolean() })
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 3 })

describe('epilogues', () => {
  it('of any matrix product', () => {
    const size = fc.oneof(fc.constantFrom(0, 1, 3, 4, 5, 7, 8, 9, 31, 32, 33, 300), fc.integer({ min: 1, max: 70 }))
    const natural = (rank: number): number[] => Array.from({ length: rank }, (_, i) => i)
    const swapped = (rank: number): number[] => [...natural(rank - 2), rank - 1, rank - 2]
    const any = fc
      .record({ batch: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }), m: size, n: size, k: fc.oneof(size, fc.constantFrom(320, 321, 700)), target, cuts })
      .filter(({ batch, m, n }) => batch.reduce((all, b) => all * b, m * n) <= 6000)
      .chain((sizes) => {
        const rank = sizes.batch.length + 2
        const layout = layoutOf(rank, [natural(rank), swapped(rank)])
        return fc.record({ sizes: fc.constant(sizes), a: layout, b: layout, out: layout, epilogue: cases([...sizes.batch, sizes.m, sizes.n]) })
      })
    fc.assert(fc.property(any, ({ sizes: { batch, m, n, k, target: on, cuts: at }, a, b, out, epilogue }) => {
      const placed = { a: place([...batch, m, k], a), b: place([...batch, k, n], b), out: place([...batch, m, n], out) }
      check((e) => matmulKernel({ batch, m, k, n, ...placed }, on, e), [placed.a, placed.b], [...batch, m, n], placed.out, epilogue, at)
    }), { numRuns: 120 })
  })

  it('of any convolution and of any input gradient', () => {
    const anyConv = fc.integer({ min: 1, max: 2 }).chain((rank) => fc.record({
      batch: fc.integer({ min: 0, max: 3 }), inChannels: fc.constantFrom(0, 1, 3, 8, 40), outChannels: fc.constantFrom(0, 1, 2, 5, 8, 17, 260), groups: fc.constantFrom(1, 1, 2),
      dims: fc.array(fc.record({ output: fc.integer({ min: 0, max: 9 }), kernel: fc.integer({ min: 1, max: 4 }), stride: fc.integer({ min: 1, max: 3 }), dilation: fc.integer({ min: 1, max: 2 }), low: fc.integer({ min: 0, max: 2 }), high: fc.integer({ min: 0, max: 2 }), spare: fc.integer({ min: 0, max: 2 }) }), { minLength: rank, maxLength: rank }),
      target, cuts, backward: fc.boolean(),
    }))
    const any = anyConv.filter(({ batch, inChannels, outChannels, dims }) => batch * (inChannels + outChannels) * dims.reduce((all, d) => all * (d.output * d.stride + 4), 1) <= 20_000).chain((c) => {
      const rank = c.dims.length
      const pick = (field: keyof (typeof c.dims)[number]): number[] => c.dims.map((d) => d[field])
      const input = c.dims.map((d) => Math.max(0, (d.output - 1) * d.stride + (d.kernel - 1) * d.dilation + 1 + d.spare - d.low - d.high))
      const [inChannels, outChannels] = [c.inChannels * c.groups, c.outChannels * c.groups]
      const shapes = { x: [c.batch, inChannels, ...input], w: [outChannels, c.inChannels, ...pick('kernel')], y: [c.batch, outChannels, ...pick('output')] }
      const sizes = { batch: c.batch, inChannels, outChannels, groups: c.groups, input, output: pick('output'), kernel: pick('kernel'), stride: pick('stride'), padding: pick('low'), dilation: pick('dilation') }
      const axes = Array.from({ length: rank }, (_, i) => i + 2)
      const layout = layoutOf(rank + 2, [[0, ...axes, 1], [0, ...axes, 1], [0, 1, ...axes]])
      return fc.record({ c: fc.constant(c), sizes: fc.constant(sizes), shapes: fc.constant(shapes), x: layout, w: layout, y: layout, epilogue: cases(c.backward ? shapes.x : shapes.y) })
    })
    fc.assert(fc.property(any, ({ c, sizes, shapes, x, w, y, epilogue }) => {
      const d: ConvDescriptor & { readonly x: Placed; readonly w: Placed; readonly y: Placed } = { ...sizes, x: place(shapes.x, x), w: place(shapes.w, w), y: place(shapes.y, y) }
      if (c.backward) check((e) => convInputGradKernel(d, c.target, e), [d.y, d.w], shapes.x, d.x, epilogue, c.cuts)
      else check((e) => convKernel(d, c.target, e), [d.x, d.w], shapes.y, d.y, epilogue, c.cuts)
    }), { numRuns: 120 })
  })

  it('of any convolution of few channels in planes', () => {
    const any = fc.record({
      batch: fc.integer({ min: 1, max: 2 }), inChannels: fc.integer({ min: 1, max: 5 }), outChannels: fc.constantFrom(1, 2, 3, 4, 7, 16), height: fc.integer({ min: 1, max: 12 }), width: fc.constantFrom(16, 27, 32, 40), target, cuts, backward: fc.boolean(),
    }).chain((c) => {
      const shapes = { x: [c.batch, c.inChannels, c.height, c.width], w: [c.outChannels, c.inChannels, 3, 3], y: [c.batch, c.outChannels, c.height, c.width] }
      const layout: fc.Arbitrary<Layout> = fc.constantFrom([0, 1, 2, 3], [1, 0, 2, 3], [0, 2, 1, 3]).map((order) => ({ order }))
      return fc.record({ c: fc.constant(c), shapes: fc.constant(shapes), x: layout, y: layout, epilogue: cases(c.backward ? shapes.x : shapes.y) })
    })
    fc.assert(fc.property(any, ({ c, shapes, x, y, epilogue }) => {
      const extent = [c.height, c.width]
      const d = { batch: c.batch, inChannels: c.inChannels, outChannels: c.outChannels, groups: 1, input: extent, output: extent, kernel: [3, 3], stride: [1, 1], padding: [1, 1], dilation: [1, 1], x: place(shapes.x, x), w: place(shapes.w, { order: [0, 1, 2, 3] }), y: place(shapes.y, y) }
      expect(takesPlanes(d)).toBe(true)
      if (c.backward) check((e) => convInputGradKernel(d, c.target, e), [d.y, d.w], shapes.x, d.x, epilogue, c.cuts)
      else check((e) => convKernel(d, c.target, e), [d.x, d.w], shapes.y, d.y, epilogue, c.cuts)
    }), { numRuns: 60 })
  })

  const plain = (rows: number, columns: number): { strides: number[]; offset: number; size: number } => ({ strides: [columns, 1], offset: 0, size: rows * columns })
  const descriptor = (m: number, k: number, n: number): Parameters<typeof matmulKernel>[0] => ({ batch: [], m, k, n, a: plain(m, k), b: plain(k, n), out: plain(m, n) })
  const bias = (n: number): Epilogue => ({ inputs: [{ dtype: 'f32', strides: [0, 1], offset: n }], value: binary('add', accumulator('f32'), load(0, 'f32')) })

  it('have equal code for equal keys', () => {
    const make = (m: number, k: number, n: number, e?: Epilogue): WasmKernel => matmulKernel(descriptor(m, k, n), { relaxed: true }, e)
    const [x, y] = [make(600, 512, 512, bias(512)), make(66, 100, 33, bias(33))]
    expect(x.key).toBe(y.key)
    expect(x.build().body()).toEqual(y.build().body())
    const others = [make(66, 100, 33), make(66, 100, 33, { ...bias(33), value: accumulator('f32') }), make(66, 100, 33, { ...bias(33), inputs: [{ dtype: 'f32', strides: [1, 0], offset: 0 }] })]
    expect(new Set([x, ...others].map((kernel) => kernel.key)).size).toBe(4)
  })

  it('state their cost', () => {
    const [without, kernel] = [matmulKernel(descriptor(3, 4, 5), { relaxed: true }), matmulKernel(descriptor(3, 4, 5), { relaxed: true }, bias(5))]
    expect([kernel.flops - without.flops, kernel.bytes - without.bytes]).toEqual([15, 20])
  })

  it('refuse what they cannot compute', () => {
    const make = (value: Expression) => (): WasmKernel => matmulKernel(descriptor(3, 4, 5), { relaxed: true }, { inputs: [], value })
    expect(make(unary('cast', index(0), 'f32'))).toThrow('positions have no numbers here')
    expect(make(unary('cast', accumulator('f32'), 'i32'))).toThrow('f32 memory cannot hold i32 values')
  })
})
