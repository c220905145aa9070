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
import { type Code, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
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
      const advance = (pointer: Local, by: Code): Code => set(pointer, i32.add(get(pointer), by))
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

      const rowRecord = i32.add(get(rowTable), i32.mul(get(rowTile), i32.const(panelRecordBytes)))
      const firstRow = i32.load(rowRecord, panelFields.first)
      const rowCount = i32.load(rowRecord, panelFields.count)
      const roundedUp = (value: Code, divisor: Local): Code => i32.divu(i32.add(value, i32.sub(get(divisor), i32.const(1))), get(divisor))
      /** Runs `code` for the pass's tiles at a tap, with `panel`, `rowTile` and the address of the tile. */
      const everyTile = (beginPanel: Code, code: Code): Code => [
        [first, last].map((bound, i) => set(i === 0 ? pair : pairLast, roundedUp(i32.sub(get(bound), get(tap)), sizes.taps))),
        loopRange(panel, get(pass.panelFirst), get(pass.panelLast), 1, [
          set(rowTile, roundedUp(i32.sub(get(pair), get(panel)), sizes.panels)),
          set(rowEnd, roundedUp(i32.sub(get(pairLast), get(panel)), sizes.panels)),
          set(operands.tile, i32.sub(i32.add(i32.mul(get(rowTile), get(sizes.panels)), get(panel)), get(pass.pairFirst))),
          set(operands.tile, i32.add(get(tileArea), i32.mul(i32.add(i32.mul(get(tap), get(pass.pairs)), get(operands.tile)), i32.const(tileBytes)))),
          beginPanel,
          loopWhile(i32.lt(get(rowTile), get(rowEnd)), [
            code,
            advance(operands.tile, i32.mul(get(sizes.panels), i32.const(tileBytes))),
            advance(rowTile, i32.const(1)),
          ]),
        ]),
      ]

      const beginPass = [
        set(group, i32.divu(get(item), get(sizes.items))),
        set(first, i32.remu(get(item), get(sizes.items))),
        set(last, i32.add(get(first), minimum(minimum(i32.sub(get(end), get(item)), get(sizes.pass)), i32.sub(get(sizes.items), get(first))))),
        [source, gradient, out].map((address, b) => set(address, i32.add(get(origins[b] ?? item), i32.mul(get(group), get(groupSteps[b] ?? item))))),
        setPass(pass, first, last, sizes),
        set(at, get(tileArea)),
        set(operands.end, i32.add(get(tileArea), i32.mul(i32.mul(get(pass.pairs), get(sizes.taps)), i32.const(tileBytes)))),
        loopRange(at, get(tileArea), get(operands.end), 16, v128.store(get(at), v128.splatF32(0))),
      ]

      const xWalk = new Odometer(f, [[], ...copied.map(get)], [xSteps.map(get), ...(merged ? [[undefined, ...copied.map((_, i) => (i === line ? i32.const(1) : undefined))]] : [])])
      const yWalk = new Odometer(f, [[], ...output.map(get)], [ySteps.map(get)])
      const [rowsOf, columnsOf] = [[pass.rowFirst, pass.rowLast], [pass.panelFirst, pass.panelLast]] as const
      const [xPart, yPart] = swapped ? [columnsOf, rowsOf] : [merged ? [zero, sizes.one] as const : rowsOf, columnsOf]
      const packX = when(i32.le(get(lists.low), get(lists.high)), [
        set(xCount, i32.add(i32.divu(i32.sub(get(lists.high), get(lists.low)), i32.const(xPixel)), i32.const(merged ? (d.kernel[line] ?? 1) : 1))),
        set(xBase, i32.add(get(source), i32.mul(get(imageNumber), get(steps.xImage)))),
        merged ? set(xBase, i32.sub(get(xBase), get(padding.bytes))) : [],
        packPixels(f, {
          base: xBase, walk: xWalk, from: i32.divu(get(lists.low), i32.const(xPixel)), count: xCount, channelStep: steps.xChannel, channelsAdjacent: xChannel === 4,
          exists: merged ? i32.ltu(i32.sub(get(xWalk.values[1] ?? at), get(padding.positions)), get(padding.line)) : undefined,
        }, xPanels, ...xPart),
      ])
      const packY = [
        set(yBase, i32.add(get(gradient), i32.mul(get(imageNumber), get(steps.yImage)))),
        packPixels(f, { base: yBase, walk: yWalk, from: get(phase), count: kc, channelStep: steps.yChannel, channelsAdjacent: yChannel === 4 }, yPanels, ...yPart),
      ]
      const beginBlock = [
        set(kc, minimum(i32.sub(get(sizes.stretch), i32.remu(get(k0), get(sizes.stretch))), get(sizes.block))),
        set(phase, i32.remu(get(k0), get(sizes.image))),
        set(imageNumber, i32.divu(get(k0), get(sizes.image))),
        when(i32.or(i32.ne(get(phase), get(listedPhase)), i32.ne(get(kc), get(listedCount))), [
          lists.fill(sizes.taps, phase, kc),
          set(listedPhase, get(phase)),
          set(listedCount, get(kc)),
        ]),
        packX,
        packY,
        set(swapped ? columnBase : rowBase, i32.sub(get(xPanels.area), get(lists.low))),
        set(swapped ? rowBase : columnBase, get(yPanels.area)),
      ]
      const rowPanelBytes = get((swapped ? yPanels : xPanels).panelBytes)
      const accumulate = (rows: number): Code => [tiles.accumulate(rows, operands), advance(operands.rows, merged ? i32.const(4 * rows) : rowPanelBytes)]
      const sumBlock = loopRange(tap, i32.const(0), get(sizes.taps), 1, [
        set(operands.first, lists.first(tap)),
        set(operands.end, lists.end(tap)),
        everyTile([
          set(operands.rows, i32.add(get(rowBase), merged ? i32.shl(firstRow, i32.const(2)) : i32.mul(get(rowTile), rowPanelBytes))),
          set(operands.columns, i32.add(get(columnBase), i32.mul(get(panel), get((swapped ? xPanels : yPanels).panelBytes)))),
        ], ragged ? when(i32.eq(rowCount, i32.const(tileRows)), accumulate(tileRows), accumulate(tileRows - 1)) : accumulate(tileRows)),
      ])

      const [columnRecord, columns, rows, offsets] = [local(), local(), local(), local()]
      const tapWeight = i32.load(i32.add(get(weightTable), i32.shl(i32.add(get(sizes.rows), get(tap)), i32.const(2))))
      const spread = loopRange(tap, i32.const(0), get(sizes.taps), 1, everyTile([
        set(columnRecord, i32.add(get(columnTable), i32.mul(get(panel), i32.const(panelRecordBytes)))),
        set(columns, i32.load(get(columnRecord), panelFields.count)),
        set(at, i32.add(i32.add(get(out), i32.mul(i32.load(get(columnRecord), panelFields.first), get(steps.column))), tapWeight)),
      ], [
        set(rows, rowCount),
        set(offsets, i32.add(get(weightTable), i32.shl(firstRow, i32.const(2)))),
        spreadTile(f, c.vectors, { tile: operands.tile, out: at, rows, offsets, columns, columnStep: steps.column }),
      ]))
      f.emit(
        scratch.prologue(),
        [rowTable, columnTable, weightTable, tapTable].map((part) => set(part, i32.add(get(table), get(part)))),
        set(listedPhase, i32.const(-1)),
        set(item, get(begin)),
        loopWhile(i32.lt(get(item), get(end)), [
          beginPass,
          set(k0, i32.const(0)),
          loopWhile(i32.lt(get(k0), get(sizes.positions)), [beginBlock, sumBlock, advance(k0, get(kc))]),
          spread,
          advance(item, i32.sub(get(last), get(first))),
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
  const lastPair = i32.divu(i32.sub(get(last), i32.const(1)), get(taps))
  return [
    set(pairFirst, i32.divu(get(first), get(taps))),
    set(pairs, i32.add(i32.sub(lastPair, get(pairFirst)), i32.const(1))),
    set(rowFirst, i32.divu(get(pairFirst), get(panels))),
    set(rowLast, i32.add(i32.divu(lastPair, get(panels)), i32.const(1))),
    set(panelFirst, i32.const(0)),
    set(panelLast, get(panels)),
    when(i32.eq(get(rowLast), i32.add(get(rowFirst), i32.const(1))), [
      set(panelFirst, i32.remu(get(pairFirst), get(panels))),
      set(panelLast, i32.add(i32.remu(lastPair, get(panels)), i32.const(1))),
    ]),
  ]
}
