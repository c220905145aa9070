/**
 * The gradient of a convolution's weights: dw[o, c, t] = Σ over images n and output positions p of
 * dy[n, o, p]·x[n, c, p·stride + t·dilation − padding].
 * A tile is up to 6 channels of x, broadcast, by up to 16 of y, or the other way round, at one tap. It sums outer
 * products over the positions that read inside x there (`tapLists.ts`), block of positions by block, from copies of
 * both images in panels of a tile's channels (`pixelPanels.ts`).
 * Items are tiles, those of the same rows together. A thread does some thousand in one pass over all positions, adding
 * to tiles in scratch memory, and at the end of the pass spreads them over dw.
 */
import { boxPositions, convBytes, convFlops, dot } from '../../ir/convShape.ts'
import type { ConvDescriptor } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { advance, type Code, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import { inBytes } from './taps.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Odometer } from '../core/odometer.ts'
import { OuterProduct } from './outerProduct.ts'
import { packPixels, panelFields, panelRecordBytes, panelRecords, type PixelPanels } from './pixelPanels.ts'
import { takesPlanes } from './planeShape.ts'
import { planeWeightGradKernel } from './planeWeightGrad.ts'
import { ScratchAreas } from '../core/scratch.ts'
import { entryBytes, entryFields, tapListRecord, TapLists } from './tapLists.ts'
import { cutWeightGrad } from './weightGradCut.ts'
import { spreadTile } from './weightTile.ts'

/** Panels that are an odd number of cache lines long do not all begin in the same sets. */
const oddLines = (bytes: number): number => (bytes + 63) & ~63 | 64

/** The gradient of w, given x and the gradient of y. Buffers: x, y, w. */
export function convWeightGradKernel(d: ConvDescriptor, target: WasmTarget): WasmKernel {
  if (takesPlanes(d)) return planeWeightGradKernel(d, target)
  const line = d.kernel.length - 1
  const [x, w, y] = [inBytes(d.x), inBytes(d.w), inBytes(d.y)]
  const [xImage = 0, xChannel = 0, ...xSpatial] = x.strides
  const [yImage = 0, yChannel = 0, ...ySpatial] = y.strides
  const [wOut = 0, wIn = 0, ...wTaps] = w.strides
  const [inChannels, outChannels] = [d.inChannels / d.groups, d.outChannels / d.groups]
  const c = cutWeightGrad(d, target.wide === true)
  const { merged, swapped, tileRows } = c
  const width = 4 * c.vectors
  const tileBytes = 4 * width * tileRows
  const xPixel = 4 * (merged ? inChannels : swapped ? width : tileRows)
  const yPixel = 4 * (swapped ? tileRows : width)
  const copiedSteps = c.copied.map((_, i) => xPixel * product(c.copied.slice(i + 1)))
  const taps = boxPositions(c.kernel).map((t) => {
    const coordinate = t.map((k, i) => (merged && i === line ? 0 : k * (d.dilation[i] ?? 1) - (d.padding[i] ?? 0)))
    return { record: tapListRecord({ input: c.copied, output: d.output, stride: d.stride }, coordinate, dot(coordinate, copiedSteps)), weightBytes: dot(t, wTaps) }
  })
  const rowStep = merged ? 0 : swapped ? yChannel : xChannel
  const rowRecords = panelRecords(c.rowTiles, c.rows, rowStep, (tile) => Math.floor((tile * c.rows) / c.rowTiles))
  const columnRecords = panelRecords(c.panels, c.columns, swapped ? xChannel : yChannel, (panel) => panel * width)
  const rowWeightBytes = Array.from({ length: c.rows }, (_, r) => (swapped ? r * wOut : (r % inChannels) * wIn + Math.floor(r / inChannels) * (wTaps[line] ?? 0)))

  const args = new Arguments()
  const number = (value: number): Local => args.number(value)
  const origins = [args.buffer(0, x.offset), args.buffer(1, y.offset), args.buffer(2, w.offset)]
  const scratch = new ScratchAreas(args)
  const listAreas = { lists: scratch.area(entryBytes * c.block * taps.length), ends: scratch.area(4 * taps.length), listBytes: number(entryBytes * c.block) }
  const tileArea = scratch.area(tileBytes * (c.pass + 2 * taps.length))
  const [rowTable, columnTable, weightTable] = [number(0), number(4 * rowRecords.length), number(4 * (rowRecords.length + columnRecords.length))]
  const tapTable = number(4 * (rowRecords.length + columnRecords.length + c.rows + taps.length))
  const rowPanels = { channels: merged ? inChannels : tileRows, records: rowTable, ragged: false }
  const columnPanels = { channels: width, records: columnTable, ragged: c.columns % width !== 0 }
  const panels = (pixelBytes: number, positions: number, count: number, channels: Pick<PixelPanels, 'channels' | 'records' | 'ragged'>): PixelPanels =>
    ({ area: scratch.area(oddLines(pixelBytes * positions) * count), panelBytes: number(oddLines(pixelBytes * positions)), pixelBytes, ...channels })
  const xPanels = panels(xPixel, c.reach, merged ? 1 : swapped ? c.panels : c.rowTiles, swapped ? columnPanels : rowPanels)
  const yPanels = panels(yPixel, c.block, swapped ? c.rowTiles : c.panels, swapped ? rowPanels : columnPanels)
  const itemsPerGroup = c.rowTiles * c.panels * taps.length
  const sizes = {
    items: number(itemsPerGroup), pass: number(c.pass), taps: number(taps.length), panels: number(c.panels), one: number(1), rows: number(c.rows),
    block: number(c.block), stretch: number(c.stretch), image: number(product(d.output)), positions: number(d.batch * product(d.output)),
  }
  const steps = { xImage: number(xImage), xChannel: number(xChannel), yImage: number(yImage), yChannel: number(yChannel), column: number(swapped ? wIn : wOut) }
  const groupSteps = [inChannels * xChannel, outChannels * yChannel, outChannels * wOut].map(number)
  // The copy's lines begin as far before those of x as the padding says.
  const padding = { positions: number(d.padding[line] ?? 0), bytes: number((d.padding[line] ?? 0) * (xSpatial[line] ?? 0)), line: number(d.input[line] ?? 0) }
  const [copied, output, stride] = [c.copied.map(number), d.output.map(number), d.stride.map(number)]
  const xSteps = [steps.xImage, ...xSpatial.map(number)]
  const ySteps = [steps.yImage, ...ySpatial.map(number)]
  const listSteps = [number(xPixel * product(c.copied)), ...copiedSteps.map((s, i) => number(s * (d.stride[i] ?? 1)))]
  const table = args.table()

  const ragged = c.rows % c.rowTiles !== 0
  return {
    key: `convWeightGrad:${line},${tileRows}${ragged ? '-' : ''}x${width}${c.columns % width === 0 ? '' : '-'},${target.relaxed ? 'fused' : 'rounded'},${swapped ? 'swapped' : merged ? `merged${inChannels},${d.kernel[line] ?? 1}` : ''},${xChannel === 4},${yChannel === 4}`,
    args: args.list,
    items: d.groups * itemsPerGroup,
    scratchBytes: scratch.bytes,
    // Tiles along both sides, what each row, and each tap, adds to the address of a weight, and the taps for the lists.
    table: Int32Array.from([...rowRecords, ...columnRecords, ...rowWeightBytes, ...taps.map((t) => t.weightBytes), ...taps.flatMap((t) => t.record)]),
    callFlops: c.callFlops,
    flops: convFlops(d),
    bytes: convBytes(d),
    build() {
      const f = args.open()
      const local = (): Local => f.local('i32')
      const [item, first, last, group, source, gradient, out] = [local(), local(), local(), local(), local(), local(), local()]
      const [k0, kc, phase, listedPhase, listedCount, imageNumber] = [local(), local(), local(), local(), local(), local()]
      const pass = passLocals(f)
      const lists = new TapLists(f, { input: copied, output, stride, steps: listSteps, keptBytes: yPixel, records: tapTable }, listAreas)
      const tiles = new OuterProduct(f, {
        rows: tileRows, vectors: c.vectors, relaxed: target.relaxed,
        fields: swapped ? { rows: entryFields.kept, columns: entryFields.image } : { rows: entryFields.image, columns: entryFields.kept },
      })
      const [tap, pair, pairLast, rowTile, rowEnd, panel] = [local(), local(), local(), local(), local(), local()]
      const operands = { rows: local(), columns: local(), first: local(), end: local(), tile: local() }
      const [rowBase, columnBase, xBase, yBase, xCount, zero, at] = [local(), local(), local(), local(), local(), local(), local()]

      const rowRecord = i32.add(rowTable, i32.mul(rowTile, panelRecordBytes))
      const firstRow = i32.load(rowRecord, panelFields.first)
      const rowCount = i32.load(rowRecord, panelFields.count)
      const roundedUp = (value: Code, divisor: Local): Code => i32.divu(i32.add(value, i32.sub(divisor, 1)), divisor)
      /** Runs `code` for the pass's tiles at a tap, with `panel`, `rowTile` and the address of the tile. */
      const everyTile = (beginPanel: Code, code: Code): Code => [
        [first, last].map((bound, i) => set(i === 0 ? pair : pairLast, roundedUp(i32.sub(bound, tap), sizes.taps))),
        loopRange(panel, pass.panelFirst, pass.panelLast, 1, [
          set(rowTile, roundedUp(i32.sub(pair, panel), sizes.panels)),
          set(rowEnd, roundedUp(i32.sub(pairLast, panel), sizes.panels)),
          set(operands.tile, i32.sub(i32.add(i32.mul(rowTile, sizes.panels), panel), pass.pairFirst)),
          set(operands.tile, i32.add(tileArea, i32.mul(i32.add(i32.mul(tap, pass.pairs), operands.tile), tileBytes))),
          beginPanel,
          loopWhile(i32.lt(rowTile, rowEnd), [
            code,
            advance(operands.tile, i32.mul(sizes.panels, tileBytes)),
            advance(rowTile, 1),
          ]),
        ]),
      ]

      const beginPass = [
        set(group, i32.divu(item, sizes.items)),
        set(first, i32.remu(item, sizes.items)),
        set(last, i32.add(first, minimum(minimum(i32.sub(end, item), sizes.pass), i32.sub(sizes.items, first)))),
        [source, gradient, out].map((address, b) => set(address, i32.add(origins[b] ?? item, i32.mul(group, groupSteps[b] ?? item)))),
        setPass(pass, first, last, sizes),
        set(at, tileArea),
        set(operands.end, i32.add(tileArea, i32.mul(i32.mul(pass.pairs, sizes.taps), tileBytes))),
        loopRange(at, tileArea, operands.end, 16, v128.store(at, v128.splatF32(0))),
      ]

      const xWalk = new Odometer(f, [[], ...copied], [xSteps, ...(merged ? [[undefined, ...copied.map((_, i) => (i === line ? i32.const(1) : undefined))]] : [])])
      const yWalk = new Odometer(f, [[], ...output], [ySteps])
      const [rowsOf, columnsOf] = [[pass.rowFirst, pass.rowLast], [pass.panelFirst, pass.panelLast]] as const
      const [xPart, yPart] = swapped ? [columnsOf, rowsOf] : [merged ? [zero, sizes.one] as const : rowsOf, columnsOf]
      const packX = when(i32.le(lists.low, lists.high), [
        set(xCount, i32.add(i32.divu(i32.sub(lists.high, lists.low), xPixel), merged ? (d.kernel[line] ?? 1) : 1)),
        set(xBase, i32.add(source, i32.mul(imageNumber, steps.xImage))),
        merged ? set(xBase, i32.sub(xBase, padding.bytes)) : [],
        packPixels(f, {
          base: xBase, walk: xWalk, from: i32.divu(lists.low, xPixel), count: xCount, channelStep: steps.xChannel, channelsAdjacent: xChannel === 4,
          exists: merged ? i32.ltu(i32.sub(xWalk.values[1] ?? at, padding.positions), padding.line) : undefined,
        }, xPanels, ...xPart),
      ])
      const packY = [
        set(yBase, i32.add(gradient, i32.mul(imageNumber, steps.yImage))),
        packPixels(f, { base: yBase, walk: yWalk, from: phase, count: kc, channelStep: steps.yChannel, channelsAdjacent: yChannel === 4 }, yPanels, ...yPart),
      ]
      const beginBlock = [
        set(kc, minimum(i32.sub(sizes.stretch, i32.remu(k0, sizes.stretch)), sizes.block)),
        set(phase, i32.remu(k0, sizes.image)),
        set(imageNumber, i32.divu(k0, sizes.image)),
        when(i32.or(i32.ne(phase, listedPhase), i32.ne(kc, listedCount)), [
          lists.fill(sizes.taps, phase, kc),
          set(listedPhase, phase),
          set(listedCount, kc),
        ]),
        packX,
        packY,
        set(swapped ? columnBase : rowBase, i32.sub(xPanels.area, lists.low)),
        set(swapped ? rowBase : columnBase, yPanels.area),
      ]
      const rowPanelBytes = (swapped ? yPanels : xPanels).panelBytes
      const accumulate = (rows: number): Code => [tiles.accumulate(rows, operands), advance(operands.rows, merged ? 4 * rows : rowPanelBytes)]
      const sumBlock = loopRange(tap, 0, sizes.taps, 1, [
        set(operands.first, lists.first(tap)),
        set(operands.end, lists.end(tap)),
        everyTile([
          set(operands.rows, i32.add(rowBase, merged ? i32.shl(firstRow, 2) : i32.mul(rowTile, rowPanelBytes))),
          set(operands.columns, i32.add(columnBase, i32.mul(panel, (swapped ? xPanels : yPanels).panelBytes))),
        ], ragged ? when(i32.eq(rowCount, tileRows), accumulate(tileRows), accumulate(tileRows - 1)) : accumulate(tileRows)),
      ])

      const [columnRecord, columns, rows, offsets] = [local(), local(), local(), local()]
      const tapWeight = i32.load(i32.add(weightTable, i32.shl(i32.add(sizes.rows, tap), 2)))
      const spread = loopRange(tap, 0, sizes.taps, 1, everyTile([
        set(columnRecord, i32.add(columnTable, i32.mul(panel, panelRecordBytes))),
        set(columns, i32.load(columnRecord, panelFields.count)),
        set(at, i32.add(i32.add(out, i32.mul(i32.load(columnRecord, panelFields.first), steps.column)), tapWeight)),
      ], [
        set(rows, rowCount),
        set(offsets, i32.add(weightTable, i32.shl(firstRow, 2))),
        spreadTile(f, c.vectors, { tile: operands.tile, out: at, rows, offsets, columns, columnStep: steps.column }),
      ]))
      f.emit(
        scratch.prologue(),
        [rowTable, columnTable, weightTable, tapTable].map((part) => set(part, i32.add(table, part))),
        set(listedPhase, -1),
        set(item, begin),
        loopWhile(i32.lt(item, end), [
          beginPass,
          set(k0, 0),
          loopWhile(i32.lt(k0, sizes.positions), [beginBlock, sumBlock, advance(k0, kc)]),
          spread,
          advance(item, i32.sub(last, first)),
        ]),
      )
      return f
    },
  }
}

/** The pairs (tile of rows, panel of columns) of a pass, and which rows and panels are among them. */
type Pass = Readonly<Record<'pairFirst' | 'pairs' | 'rowFirst' | 'rowLast' | 'panelFirst' | 'panelLast', Local>>

function passLocals(f: FunctionBuilder): Pass {
  const local = (): Local => f.local('i32')
  return { pairFirst: local(), pairs: local(), rowFirst: local(), rowLast: local(), panelFirst: local(), panelLast: local() }
}

function setPass(pass: Pass, first: Local, last: Local, { taps, panels }: { readonly taps: Local; readonly panels: Local }): Code {
  const { pairFirst, pairs, rowFirst, rowLast, panelFirst, panelLast } = pass
  const lastPair = i32.divu(i32.sub(last, 1), taps)
  return [
    set(pairFirst, i32.divu(first, taps)),
    set(pairs, i32.add(i32.sub(lastPair, pairFirst), 1)),
    set(rowFirst, i32.divu(pairFirst, panels)),
    set(rowLast, i32.add(i32.divu(lastPair, panels), 1)),
    set(panelFirst, 0),
    set(panelLast, panels),
    when(i32.eq(rowLast, i32.add(rowFirst, 1)), [
      set(panelFirst, i32.remu(pairFirst, panels)),
      set(panelLast, i32.add(i32.remu(lastPair, panels), 1)),
    ]),
  ]
}
