/**
 * The gradient of a convolution's weights: dw[o, c, t] = Σ over images n and output positions p of
 * dy[n, o, p]·x[n, c, p·stride + t·dilation − padding].
 * Rows are output channels, columns pairs (tap, channel), and the summed index is every pixel of
 * every image, in blocks of at most 320 that are added to dw one after the other. Items are blocks of
 * columns first, so that few threads pack the same part of x.
 */
import { Arguments } from './arguments.ts'
import { get, i32, type Local, set } from './assembler.ts'
import { boxPositions, type ConvDescriptor, convBytes, convFlops, dot, inBytes, pixelBytes, pixelFields, product, tapRecord } from './convShape.ts'
import { blockLocals, emitGemm, Gemm } from './gemm.ts'
import { packPixelDepth } from './im2col.ts'
import type { WasmKernel, WasmTarget } from './kernel.ts'
import { PositionTable, type Steps } from './odometer.ts'
import { packColumns, tableStep } from './pack.ts'
import { evenSide, fillWeightOffsets, inRun, lookUp, markRuns } from './sides.ts'

/** The gradient of w, given x and the gradient of y. Buffers: x, y, w. */
export function convWeightGradKernel(d: ConvDescriptor, target: WasmTarget): WasmKernel {
  const rank = d.kernel.length
  const [x, w, y] = [inBytes(d.x), inBytes(d.w), inBytes(d.y)]
  const [xImage = 0, xChannel = 0, ...xSpatial] = x.strides
  const [yImage = 0, yChannel = 0, ...ySpatial] = y.strides
  const [wOut = 0, wIn = 0, ...wTaps] = w.strides
  const [inChannels, outChannels] = [d.inChannels / d.groups, d.outChannels / d.groups]
  const taps = boxPositions(d.kernel).map((t) => {
    const coordinate = t.map((k, i) => k * (d.dilation[i] ?? 1) - (d.padding[i] ?? 0))
    return { coordinate, sourceBytes: dot(coordinate, xSpatial), weightBytes: dot(t, wTaps) }
  })
  const size = { m: outChannels, n: taps.length * inChannels, k: d.batch * product(d.output) }

  const args = new Arguments()
  const number = (value: number): Local => args.number(value)
  const origins = [args.buffer(0, x.offset), args.buffer(1, y.offset), args.buffer(2, w.offset)]
  const gemm = new Gemm(args, { problems: d.groups, ...size }, { target, layout: 'interleaved', columns: 96 })
  const pixelArea = gemm.scratch.area(pixelBytes(rank) * gemm.limits.depth)
  const columnArea = gemm.scratch.area(4 * gemm.limits.columns)
  const runArea = gemm.scratch.area(4 * gemm.limits.columns)
  const [m, n, k] = [number(size.m), number(size.n), number(size.k)]
  const channels = number(inChannels)
  const steps = { x: number(xChannel), y: number(yChannel), wOut: number(wOut), wIn: number(wIn) }
  const groupSteps = [inChannels * xChannel, outChannels * yChannel, outChannels * wOut].map(number)
  const extent = d.input.map(number)
  const output = d.output.map(number)
  const xSteps = [number(xImage), ...xSpatial.map((s, i) => number(s * (d.stride[i] ?? 1)))]
  const ySteps = [yImage, ...ySpatial].map(number)
  const stride = d.stride.map(number)
  const table = args.table()

  return {
    key: `convWeightGrad:${rank},${gemm.key},${xChannel === 4},${yChannel === 4}`,
    args: args.list,
    items: gemm.items,
    scratchBytes: gemm.scratch.bytes,
    table: Int32Array.from(taps.flatMap(tapRecord)),
    flops: convFlops(d),
    bytes: convBytes(d),
    build() {
      const f = args.open()
      const block = blockLocals(f)
      const local = (): Local => f.local('i32')
      const [source, gradient, out] = [local(), local(), local()]
      const coordinates = stride.map((step, i): Steps => [undefined, ...stride.map((_, axis) => (axis === i ? get(step) : undefined))])
      const pixels = new PositionTable(f, pixelArea, [[], ...output.map(get)], [xSteps.map(get), ySteps.map(get), ...coordinates])
      const columnField = { area: columnArea, recordBytes: 4, at: 0 }
      const width = 4 * gemm.tile.vectors
      emitGemm(f, gemm, block, {
        m, n, k, out,
        rows: evenSide(block.m0, steps.wOut, false),
        columns: {
          prepare: () => [
            fillWeightOffsets(f, columnArea, block.n0, block.nc, table, rank, channels, steps.wIn),
            markRuns(f, columnField, block.nc, runArea),
          ],
          offset: (position) => lookUp(columnField, position),
          adjacent: (position) => inRun(runArea, position, width),
        },
        enter: () => [source, gradient, out].map((address, i) =>
          set(address, i32.add(get(origins[i] ?? m), i32.mul(get(block.problem), get(groupSteps[i] ?? m))))),
        packA: () => packColumns(f, gemm.tile.rows, {
          base: gradient, from: block.m0, count: block.mc, depth: block.kc, columnStep: steps.y, adjacent: yChannel === 4,
          depthStep: tableStep(pixels, pixelFields.other),
        }, gemm.aPanels),
        packB: () => [
          pixels.fill(get(block.k0), get(block.kc)),
          packPixelDepth(f, width, { block, base: source, channels, channelStep: steps.x, channelsAdjacent: xChannel === 4, extent, pixels, taps: table }, gemm.bPanels),
        ],
      })
      return f
    },
  }
}
