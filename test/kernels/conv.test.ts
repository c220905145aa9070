/** Convolution and its gradients against float64 loops over every tap: any strides, any split. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeModule } from '../../kernels/wasm/core/assembler.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../kernels/wasm/conv/conv.ts'
import { takesPlanes } from '../../kernels/wasm/conv/planeShape.ts'
import { maxDepth } from '../../kernels/wasm/matmul/tile.ts'
import { channelsFirst, channelsLast, type ConvCase, type ConvOperand, naiveConv, placeConv } from './naiveConv.ts'
import { address, type Layout, launch, normals, positions } from './strided.ts'

interface Case extends ConvCase {
  readonly cuts?: readonly number[]
  readonly relaxed?: boolean
  readonly wide?: boolean
  readonly first?: number
}

const makers = { y: convKernel, x: convInputGradKernel, w: convWeightGradKernel }

function check(c: Case): void {
  const d = placeConv(c)
  const shapes = { x: [d.batch, d.inChannels, ...d.input], w: [d.outChannels, d.inChannels / d.groups, ...d.kernel], y: [d.batch, d.outChannels, ...d.output] }
  const outputs: readonly ConvOperand[] = ['y', 'x', 'w']
  for (const into of outputs) {
    const kernel = makers[into](d, { relaxed: c.relaxed ?? true, wide: c.wide })
    const operands: readonly ConvOperand[] = into === 'y' ? ['x', 'w'] : into === 'x' ? ['y', 'w'] : ['x', 'y']
    const values = { x: new Float32Array(0), w: new Float32Array(0), y: new Float32Array(0) }
    const inputs = operands.map((name, i) => (values[name] = normals(d[name].size, i + c.batch)))
    const out = launch(kernel, inputs, d[into].size, [], c.first)

    const { sums, sizes, terms } = naiveConv(d, into, values)
    const written = new Set<number>()
    let worst = 0
    for (const position of positions(shapes[into])) {
      const to = address(d[into], position)
      written.add(to)
      const bound = 2 ** -24 * (4 + Math.min(terms[to] ?? 0, maxDepth) + Math.ceil((terms[to] ?? 0) / maxDepth)) * (sizes[to] ?? 0) + 1e-37
      const error = Math.abs((out.out[to] ?? Number.NaN) - (sums[to] ?? 0)) / bound
      worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
    }
    expect(worst, `error of ${into} relative to its bound`).toBeLessThan(1)
    expect(out.out.findIndex((_, e) => !written.has(e) && !out.untouched(e)), `stray writes into ${into}`).toBe(-1)
    if (c.cuts !== undefined) {
      const ends = c.cuts.map((cut) => Math.round(cut * kernel.items)).sort((p, q) => p - q)
      expect(launch(kernel, inputs, d[into].size, ends, c.first).out).toEqual(out.out)
    }
  }
}

const dim = { output: 5, kernel: 3, stride: 1, dilation: 1, low: 1, high: 1, spare: 0 }

describe('convolution and its gradients', () => {
  const cases: [string, Case['dims'], Partial<Case>][] = [
    ['1 × 1', [{ ...dim, kernel: 1, low: 0, high: 0 }, { ...dim, kernel: 1, low: 0, high: 0 }], {}],
    ['3 × 3', [dim, { ...dim, output: 7 }], {}],
    ['3 × 3 on wide images', [{ ...dim, output: 3 }, { ...dim, output: 40 }], { batch: 2 }],
    ['stride 2', [{ ...dim, stride: 2, spare: 1 }, { ...dim, stride: 2, output: 9 }], {}],
    ['4 × 4, stride 2, one-dimensional', [{ ...dim, kernel: 4, stride: 2, output: 21 }], {}],
    ['stride 3 over a kernel of 2: pixels that no tap reaches', [{ ...dim, kernel: 2, stride: 3, spare: 2 }, { ...dim, stride: 2 }], {}],
    ['dilation', [{ ...dim, dilation: 2, low: 2, high: 2 }, { ...dim, dilation: 3, low: 0, high: 4, output: 9 }], {}],
    ['three dimensions', [{ ...dim, output: 3 }, { ...dim, output: 2, stride: 2 }, { ...dim, output: 9 }], { batch: 1 }],
    ['padding wider than the image', [{ ...dim, output: 7, low: 4, high: 3 }, { ...dim, output: 6, low: 0, high: 5 }], {}],
    ['groups', [dim, dim], { groups: 3 }],
    ['depthwise', [dim, { ...dim, output: 12 }], { groups: 9, inChannels: 1, outChannels: 1 }],
    ['many blocks of the summed index', [{ ...dim, output: 11 }, { ...dim, output: 12 }], { batch: 3, inChannels: 37, outChannels: 9 }],
  ]
  it.each(cases)('%s', (_, dims, rest) => {
    const rank = dims.length
    for (const layout of [channelsLast(rank), channelsFirst(rank)]) {
      for (const [inChannels, outChannels] of rest.inChannels === undefined ? [[5, 7], [16, 8], [3, 13]] as const : [[rest.inChannels, rest.outChannels ?? 8]] as const) {
        check({ batch: 3, groups: 1, dims, layouts: { x: layout, y: layout, w: channelsFirst(rank) }, cuts: [0.4, 0.6], ...rest, inChannels, outChannels })
      }
    }
    const mixed = { x: channelsLast(rank), y: channelsFirst(rank), w: { order: [...Array.from({ length: rank }, (_, i) => i + 2), 1, 0] } }
    check({ batch: 2, groups: 1, inChannels: 9, outChannels: 8, dims, layouts: mixed, ...rest })
  })

  it('any shape, strides, split', () => {
    const layout = (rank: number): fc.Arbitrary<Layout> =>
      fc.record({
        order: fc.oneof(
          fc.constant(channelsLast(rank).order),
          fc.constant(channelsFirst(rank).order),
          fc.shuffledSubarray([...channelsFirst(rank).order], { minLength: rank + 2 }),
        ),
        flipped: fc.oneof(fc.constant([]), fc.subarray([...channelsFirst(rank).order])),
        spacing: fc.constantFrom(1, 1, 2),
        front: fc.constantFrom(0, 3),
      })
    const anyCase = fc.integer({ min: 1, max: 3 }).chain((rank) =>
      fc.record({
        batch: fc.integer({ min: 0, max: 3 }),
        inChannels: fc.constantFrom(0, 1, 1, 3, 4, 8, 9, 16, 20),
        outChannels: fc.constantFrom(0, 1, 1, 2, 5, 7, 8, 12, 17),
        groups: fc.constantFrom(1, 1, 1, 2, 3),
        dims: fc.array(
          fc.record({
            output: fc.integer({ min: 0, max: rank === 1 ? 40 : rank === 2 ? 9 : 4 }),
            kernel: fc.integer({ min: 1, max: rank === 3 ? 2 : 4 }),
            stride: fc.integer({ min: 1, max: 3 }),
            dilation: fc.integer({ min: 1, max: 2 }),
            low: fc.integer({ min: 0, max: 3 }),
            high: fc.integer({ min: 0, max: 3 }),
            spare: fc.integer({ min: 0, max: 2 }),
          }),
          { minLength: rank, maxLength: rank },
        ),
        layouts: fc.record({ x: layout(rank), w: layout(rank), y: layout(rank) }),
        cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 4 }),
        relaxed: fc.boolean(),
        wide: fc.boolean(),
        first: fc.integer({ min: 0, max: 2 }),
      }))
    fc.assert(fc.property(anyCase, check), { numRuns: 70 })
  })

  it('few channels in planes of any size and padding, wherever lines, channels and images begin', () => {
    const layout = (rank: number): fc.Arbitrary<Layout> => {
      const outer = channelsFirst(rank).order.slice(0, -1)
      return fc.record({
        order: fc.oneof(fc.constant(outer), fc.shuffledSubarray([...outer], { minLength: rank + 1 })).map((order) => [...order, rank + 1]),
        flipped: fc.oneof(fc.constant([]), fc.subarray([...outer])),
        front: fc.constantFrom(0, 3),
      })
    }
    const channels = fc.tuple(fc.integer({ min: 1, max: 16 }), fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(31, 64)))
    const along = (output: fc.Arbitrary<number>): fc.Arbitrary<Case['dims'][number]> => fc.record({
      output, kernel: fc.constantFrom(1, 2, 3, 3, 4, 6), stride: fc.constant(1), dilation: fc.constantFrom(1, 1, 2), low: fc.integer({ min: 0, max: 3 }), high: fc.integer({ min: 0, max: 3 }), spare: fc.integer({ min: 0, max: 2 }),
    })
    const anyCase = fc.integer({ min: 1, max: 2 }).chain((rank) => fc.record({
      batch: fc.integer({ min: 1, max: 3 }),
      channels: fc.tuple(channels, fc.boolean()).map(([[fewer, other], swapped]) => (swapped ? [other, fewer] : [fewer, other])),
      dims: fc.tuple(...(rank === 1 ? [] : [along(fc.integer({ min: 1, max: 6 }))]), along(fc.constantFrom(16, 27, 32, 43, 50, 72))),
      layouts: fc.record({ x: layout(rank), w: fc.constant(channelsFirst(rank)), y: layout(rank) }),
      cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 4 }),
      relaxed: fc.boolean(),
      wide: fc.boolean(),
      first: fc.integer({ min: 0, max: 2 }),
    })).map(({ channels: [inChannels = 1, outChannels = 1], ...c }): Case => ({ ...c, inChannels, outChannels, groups: 1 }))
    const terms = (c: Case): number => c.dims.reduce((all, d) => all * d.output * d.kernel, c.batch * c.inChannels * c.outChannels)
    fc.assert(fc.property(anyCase.filter((c) => terms(c) < 500_000 && takesPlanes(placeConv(c))), check), { numRuns: 50 })
  })

  it('leaves to kernels for channels-last images what these do better', () => {
    const layouts = { x: channelsFirst(2), w: channelsFirst(2), y: channelsFirst(2) }
    const wide = { ...dim, output: 32 }
    const takes = (c: Partial<Case>): boolean => takesPlanes(placeConv({ batch: 1, inChannels: 3, outChannels: 16, groups: 1, dims: [dim, wide], layouts, ...c }))
    expect([takes({}), takes({ inChannels: 64 }), takes({ outChannels: 64 })]).toEqual([true, true, true])
    const others: Partial<Case>[] = [
      { inChannels: 17, outChannels: 17 }, { outChannels: 65 }, { groups: 2 }, { dims: [dim, { ...wide, stride: 2 }] }, { dims: [dim, { ...dim, output: 33 }] }, { dims: [dim, dim, wide] },
      { layouts: { ...layouts, x: channelsLast(2) } }, { layouts: { ...layouts, y: channelsLast(2) } }, { batch: 0 },
    ]
    expect(others.filter(takes)).toEqual([])
  })

  it.each([['channels last', channelsLast(2)], ['in planes', channelsFirst(2)]])('has one code for all kernels of a key, %s', (_, images) => {
    const layouts = { x: images, w: channelsFirst(2), y: images }
    const sizes = [5, 20, 32, 48, 300].flatMap((output) => [1, 2, 3].flatMap((kernel) => [1, 2].map((stride) => ({ ...dim, output, kernel, stride }))))
    const cases = sizes.flatMap((one) => [1, 6, 24, 48].flatMap((channels) => [1, 16].map((outChannels): Case => ({ batch: 2, inChannels: channels, outChannels, groups: images === layouts.w ? 1 : 2, dims: [dim, one], layouts }))))
    for (const make of Object.values(makers)) {
      const codes = new Map<string, string>()
      for (const c of cases) {
        const kernel = make(placeConv(c), { relaxed: true, wide: true })
        const code = Buffer.from(encodeModule(new Map([['kernel', kernel.build()]]), { shared: false, maximum: 1 })).toString('latin1')
        expect(code === (codes.get(kernel.key) ?? code), `one code of ${kernel.key}`).toBe(true)
        codes.set(kernel.key, code)
      }
      expect(codes.size).toBeLessThan(cases.length / 2)
    }
  })

  it('states its cost', () => {
    const d = placeConv({ batch: 2, inChannels: 3, outChannels: 5, groups: 1, dims: [dim, dim], layouts: { x: channelsLast(2), w: channelsFirst(2), y: channelsLast(2) } })
    for (const make of [convKernel, convInputGradKernel, convWeightGradKernel]) {
      expect(make(d, { relaxed: true }).flops).toBe(2 * 2 * 25 * 5 * 3 * 9)
      expect(make(d, { relaxed: true }).bytes).toBe(4 * (2 * 25 * 3 + 2 * 25 * 5 + 5 * 3 * 9))
    }
  })
})
