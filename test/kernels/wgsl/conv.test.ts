/** Convolution and its gradients on the GPU against float64 loops over every tap. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { accumulator, binary, load } from '../../../kernels/ir/expression.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../../kernels/wgsl/conv/conv.ts'
import { floor } from '../../../kernels/wgsl/core/kernel.ts'
import { channelsFirst, channelsLast, type ConvCase, type ConvOperand, naiveConv, placeConv } from '../naiveConv.ts'
import { address, type Layout, normals, positions } from '../strided.ts'
import { gpu, runWgsl } from './run.ts'

const everyOperand: readonly ConvOperand[] = ['y', 'x', 'w']
const factors: Readonly<Record<ConvOperand, readonly ConvOperand[]>> = { y: ['x', 'w'], x: ['y', 'w'], w: ['x', 'y'] }
const untouched = -12345.5

async function check(c: ConvCase, outputs: readonly ConvOperand[] = everyOperand): Promise<void> {
  const d = placeConv(c)
  const shapes = { x: [d.batch, d.inChannels, ...d.input], w: [d.outChannels, d.inChannels / d.groups, ...d.kernel], y: [d.batch, d.outChannels, ...d.output] }
  const bias = { inputs: [{ dtype: 'f32', strides: shapes.y.map((_, axis) => (axis === 1 ? 1 : 0)), offset: 0 }], value: binary('add', accumulator('f32'), load(0, 'f32')) } as const
  const kernels = { y: convKernel(d, floor, bias), x: convInputGradKernel(d, floor, bias), w: convWeightGradKernel(d, floor) }
  for (const into of outputs) {
    const values = { x: new Float32Array(0), w: new Float32Array(0), y: new Float32Array(0) }
    const inputs = factors[into].map((name, i) => (values[name] = normals(d[name].size, i + c.batch)))
    const shift = normals(shapes[into][1] ?? 0, 5)
    const out = new Float32Array(d[into].size).fill(untouched)
    await runWgsl(kernels[into], [...inputs, ...(into === 'w' ? [] : [shift]), out])
    const { sums, sizes, terms } = naiveConv(d, into, values)
    const written = new Set<number>()
    let worst = 0
    for (const position of positions(shapes[into])) {
      const to = address(d[into], position)
      written.add(to)
      const added = into === 'w' ? 0 : shift[position[1] ?? 0] ?? Number.NaN
      const bound = 2 ** -24 * (5 + (terms[to] ?? 0)) * ((sizes[to] ?? 0) + Math.abs(added)) + 1e-37
      const error = Math.abs((out[to] ?? Number.NaN) - (sums[to] ?? 0) - added) / bound
      worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
    }
    expect(worst, `error of ${into} relative to its bound`).toBeLessThan(1)
    expect(out.findIndex((v, e) => !written.has(e) && v !== untouched), `stray writes into ${into}`).toBe(-1)
  }
}

const dim = { output: 5, kernel: 3, stride: 1, dilation: 1, low: 1, high: 1, spare: 0 }
const usual = { x: channelsLast(2), y: channelsLast(2), w: channelsFirst(2) }

describe.skipIf(gpu === undefined)('convolution and its gradients in WGSL', { timeout: 300_000 }, () => {
  // Channels, of which tiles take vectors or not; dimensions alike share their code.
  const cases: [string, ConvCase['dims'], Partial<ConvCase>][] = [
    ['3 × 3', [dim, { ...dim, output: 7 }], {}],
    ['1 × 1', [{ ...dim, kernel: 1, low: 0, high: 0 }, { ...dim, kernel: 1, low: 0, high: 0 }], {}],
    ['stride 2', [{ ...dim, stride: 2, spare: 1 }, { ...dim, stride: 2, output: 9 }], {}],
    ['stride 3 over a kernel of 2: pixels that no tap reaches', [{ ...dim, kernel: 2, stride: 3, spare: 2 }, { ...dim, stride: 2 }], {}],
    ['dilation', [{ ...dim, dilation: 2, low: 2, high: 2 }, { ...dim, dilation: 3, low: 0, high: 4, output: 9 }], {}],
    ['padding wider than the image', [{ ...dim, output: 7, low: 4, high: 3 }, { ...dim, output: 6, low: 0, high: 5 }], {}],
    ['groups', [dim, dim], { groups: 3 }],
    ['depths in parts', [{ ...dim, output: 11 }, { ...dim, output: 12 }], { inChannels: 36, outChannels: 20 }],
  ]
  it.each(cases)('%s', async (_, dims, rest) => {
    await check({ batch: 2, groups: 1, inChannels: 16, outChannels: 8, dims, layouts: usual, ...rest })
  })

  it('channels that are no vectors, and images with channels first', async () => {
    await check({ batch: 2, groups: 1, inChannels: 5, outChannels: 7, dims: [dim, dim], layouts: usual })
    await check({ batch: 2, groups: 1, inChannels: 8, outChannels: 4, dims: [dim, { ...dim, output: 8 }], layouts: { x: channelsFirst(2), y: channelsFirst(2), w: channelsFirst(2) } })
  })

  it('copies weights that many positions meet', async () => {
    await check({ batch: 2, groups: 1, inChannels: 8, outChannels: 12, dims: [{ ...dim, output: 16 }, { ...dim, output: 18 }], layouts: usual }, ['y', 'x'])
  })

  it('one and three dimensions', async () => {
    await check({ batch: 2, groups: 1, inChannels: 8, outChannels: 4, dims: [{ ...dim, kernel: 4, stride: 2, output: 21 }], layouts: { x: channelsLast(1), y: channelsLast(1), w: channelsFirst(1) } })
    await check({ batch: 1, groups: 1, inChannels: 4, outChannels: 8, dims: [{ ...dim, output: 3 }, { ...dim, output: 2, stride: 2 }, { ...dim, output: 9 }], layouts: { x: channelsLast(3), y: channelsLast(3), w: channelsFirst(3) } })
  })

  it('any shape and strides', { timeout: 600_000 }, async () => {
    const layout = (rank: number): fc.Arbitrary<Layout> =>
      fc.record({
        order: fc.oneof(fc.constant(channelsLast(rank).order), fc.shuffledSubarray([...channelsFirst(rank).order], { minLength: rank + 2 })),
        flipped: fc.oneof(fc.constant([]), fc.subarray([...channelsFirst(rank).order])),
        spacing: fc.constantFrom(1, 1, 2),
        front: fc.constantFrom(0, 3),
      })
    const anyDim = fc.record({ output: fc.integer({ min: 0, max: 7 }), kernel: fc.integer({ min: 1, max: 3 }), stride: fc.integer({ min: 1, max: 3 }), dilation: fc.integer({ min: 1, max: 2 }), low: fc.integer({ min: 0, max: 3 }), high: fc.integer({ min: 0, max: 3 }), spare: fc.integer({ min: 0, max: 2 }) })
    const anyCase = fc.integer({ min: 1, max: 2 }).chain((rank) => fc.tuple(fc.record({
      batch: fc.integer({ min: 0, max: 3 }), inChannels: fc.constantFrom(0, 1, 3, 4, 8, 20), outChannels: fc.constantFrom(0, 1, 2, 5, 8, 17), groups: fc.constantFrom(1, 1, 2),
      dims: fc.array(anyDim, { minLength: rank, maxLength: rank }),
      layouts: fc.record({ x: layout(rank), w: layout(rank), y: layout(rank) }),
    }), fc.constantFrom(...everyOperand)))
    await fc.assert(fc.asyncProperty(anyCase, ([c, into]) => check(c, [into])), { numRuns: 6 })
  })

  it('states its cost', () => {
    const d = placeConv({ batch: 2, inChannels: 3, outChannels: 5, groups: 1, dims: [dim, dim], layouts: usual })
    for (const make of [convKernel, convInputGradKernel, convWeightGradKernel]) {
      expect(make(d, floor).flops).toBe(2 * 2 * 25 * 5 * 3 * 9)
      expect(make(d, floor).bytes).toBe(4 * (2 * 25 * 3 + 2 * 25 * 5 + 5 * 3 * 9))
    }
  })
})

// Drivers that keep the branches of && compile such a kernel for minutes.
it('no tile is read behind branches', () => {
  const d = placeConv({ batch: 2, groups: 1, inChannels: 3, outChannels: 8, dims: [dim, dim], layouts: { x: channelsFirst(2), y: channelsFirst(2), w: channelsFirst(2) } })
  for (const kernel of [convKernel(d, floor), convInputGradKernel(d, floor), convWeightGradKernel(d, floor)]) {
    const reads = kernel.dispatches.flatMap(({ source }) => source.split('\n').filter((line) => /Next\d+ = .*select/.test(line)))
    expect(reads.length).toBeGreaterThan(0)
    expect(reads.filter((line) => line.includes('&&'))).toEqual([])
  }
})
