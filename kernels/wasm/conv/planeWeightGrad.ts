/**
 * The gradient of a convolution's weights where images lie channel after channel, for few channels:
 * dw[o, c, i, j] = Σ over images and positions of dy[o, y, x]·x[c, y + i·dilation − padding, …].
 * A tile is some channels of y by some columns of weights, a column being a tap of a channel of x. Each of its sums has
 * eight lanes, neighbours along a line, that are added up at the end. Lines of both images are copied with equal
 * distances from one to the next, those of y with zeros behind them: so a tile walks through all lines in one loop.
 * Items are tiles. A thread does its own in one pass over all positions, some lines after some lines.
 */
import { convBytes, convFlops } from '../../ir/convShape.ts'
import type { ConvDescriptor } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { advance, type Code, doWhile, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, select, set, v128, when } from '../core/assembler.ts'
import { inBytes } from './taps.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { multiplyAdd } from '../core/multiplyAdd.ts'
import { gapVectors, lineHead, lineLayout, packLines } from './planeLines.ts'
import { chooseTile, cutRows, linesAndColumns, planesOf, type RegisterTile } from './planeShape.ts'
import { share } from '../core/share.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** Floats of x in a block, which the L2 cache is to keep; and positions of a part of it: of a tile's channels, and one of x, as many fit the L1 cache. */
const most = { blockFloats: 48 * 1024, partPositions: 768 } as const
/** Bytes of the lanes of a sum. */
const sumBytes = 32
/** Bytes of a channel that a round of the loop reads: the more, the less often addresses are computed. */
const rounds = { long: 128, short: 64 } as const
/** Every call copies x again; to copy an element takes as long as so many operations. */
const flopsPerCopy = 10

/** Lines of the copy begin at multiples of so many floats, where zeros are not gone through. */
const alignment = 8

/** Fields of a column's record, in bytes: where it begins in the copy of x, and in the weights. */
const columnFields = { source: 0, weight: 4 } as const
const columnBytes = 8

/** The gradient of w, given x and the gradient of y, for what `takesPlanes` takes. Buffers: x, y, w. */
export function planeWeightGradKernel(d: ConvDescriptor, target: WasmTarget): WasmKernel {
  const [x, y, w] = [planesOf(d.x, d.inChannels, d.input), planesOf(d.y, d.outChannels, d.output), inBytes(d.w)]
  const [wOut = 0, wIn = 0, ...wSpatial] = w.strides
  const [kernel, dilation, padding, wTaps] = [linesAndColumns(d.kernel, 1), linesAndColumns(d.dilation, 1), linesAndColumns(d.padding, 0), linesAndColumns(wSpatial, 0)]
  const taps = kernel[0] * kernel[1]
  const columns = d.inChannels * taps
  const tile = chooseTile(d.outChannels, columns, target.wide === true ? 1 : 2, (t) => t.rows + 1.5 * t.columns)
  const cut = cutRows(d.outChannels, tile.rows)
  const rowTiles = cut.whole + cut.short
  const columnTiles = Math.ceil(columns / tile.columns)

  const lead = padding[1]
  const read = y.width + (kernel[1] - 1) * dilation[1]
  const copied = Math.min(x.width, read - lead)
  // Whole rounds of the loop need no zeros behind them: then y is read where it lies, line by line.
  const inPlace = (4 * y.width) % rounds.short === 0
  const roundBytes = (4 * y.width) % rounds.long === 0 ? rounds.long : rounds.short
  const width = copied + Math.max(lead, read - lead - copied)
  const pitch = inPlace ? Math.ceil(width / alignment) * alignment : width
  const beyond = (kernel[0] - 1) * dilation[0]
  const wholeLines = (n: number): number => Math.max(1, Math.floor(n))
  const partLines = share(y.height, wholeLines(most.partPositions / pitch))
  const lines = partLines * share(Math.ceil(y.height / partLines), wholeLines((most.blockFloats / (pitch * d.inChannels) - beyond) / partLines))
  const [xLayout, yLayout] = [lineLayout(lines + beyond, copied, pitch), lineLayout(partLines, y.width, pitch)]
  const records = Array.from({ length: columnTiles * tile.columns }, (_, n) => {
    // The last tile's missing columns are the last one again, and not written.
    const column = Math.min(n, columns - 1)
    const [channel, i, j] = [Math.floor(column / taps), Math.floor((column % taps) / kernel[1]), column % kernel[1]]
    return [4 * (channel * xLayout.plane + i * dilation[0] * pitch + j * dilation[1] + lineHead - lead), channel * wIn + i * wTaps[0] + j * wTaps[1]]
  }).flat()

  const args = new Arguments()
  const number = (value: number): Local => args.number(value)
  const [xAt, yAt, wAt] = [args.buffer(0, x.offset), args.buffer(1, y.offset), args.buffer(2, w.offset)]
  const scratch = new ScratchAreas(args)
  const tileBytes = sumBytes * tile.rows * tile.columns
  const tileArea = scratch.area(tileBytes * rowTiles * columnTiles)
  const xArea = scratch.area(4 * xLayout.plane * d.inChannels)
  const yArea = scratch.area(inPlace ? 0 : 4 * yLayout.plane * tile.rows)
  const size = {
    images: number(d.batch), height: number(y.height), lines: number(lines), partLines: number(partLines), beyond: number(beyond), padding: number(padding[0]), channels: number(d.inChannels),
    columns: number(columns), columnTiles: number(columnTiles), whole: number(cut.whole), columnsOfChannel: number(taps), xHeight: number(x.height),
  }
  const steps = {
    xImage: number(x.image), xChannel: number(x.channel), xLine: number(x.line), yImage: number(y.image), yChannel: number(y.channel), yLine: number(y.line), wOut: number(wOut),
  }
  const pitchAt = number(4 * pitch)
  const xCopy = { area: xArea, pitch: pitchAt, planeBytes: number(4 * xLayout.plane), copied: number(4 * copied), gapVectors: gapVectors(xLayout) }
  const yCopy = { area: yArea, pitch: pitchAt, planeBytes: number(4 * yLayout.plane), copied: number(4 * y.width), gapVectors: gapVectors(yLayout) }
  // Packed lines are one that is long.
  const walk = { rowStep: inPlace ? steps.yChannel : yCopy.planeBytes, xGap: number(inPlace ? 4 * (pitch - y.width) : 0), yGap: number(inPlace ? y.line - 4 * y.width : 0), lineBytes: number(4 * y.width) }
  const table = args.table()

  return {
    key: `planeWeightGrad:${cut.size}${cut.short > 0 ? '-' : ''}x${tile.columns},${target.relaxed ? 'fused' : 'rounded'},${xCopy.gapVectors},${inPlace ? roundBytes : yCopy.gapVectors}`,
    args: args.list,
    items: rowTiles * columnTiles,
    scratchBytes: scratch.bytes,
    table: Int32Array.from(records),
    callFlops: flopsPerCopy * d.batch * d.inChannels * product(d.input),
    flops: convFlops(d),
    bytes: convBytes(d),
    build() {
      const f = args.open()
      const local = (): Local => f.local('i32')
      const [firstRow, lastRow, channelFrom, channelTo, row, column, columnTo, image, first, count, packed, tileAt, tileEnd, xBase, yBase, rowChannel, rows, yBytes, yLines, yPart, part, partCount, xPart] =
        [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
      const sums = new LaneSums(f, { ...tile, roundBytes, relaxed: target.relaxed }, { ...walk, x: xPart, y: yPart, bytes: yBytes, lines: yLines, table, column, tile: tileAt })

      const rowOf = (bound: Code): Code => i32.divu(bound, size.columnTiles)
      /** Rows of a tile before the short ones are all of the same number. */
      const beginRow = [
        set(rows, i32.sub(cut.size, i32.ge(row, size.whole))),
        set(rowChannel, i32.sub(i32.mul(row, cut.size), select(i32.sub(row, size.whole), i32.const(0), i32.gt(row, size.whole)))),
        set(column, select(i32.remu(begin, size.columnTiles), i32.const(0), i32.eq(row, firstRow))),
        set(columnTo, minimum(size.columnTiles, i32.sub(end, i32.mul(row, size.columnTiles)))),
      ]
      const eachTile = (code: Code): Code => loopWhile(i32.lt(column, columnTo), [code, advance(tileAt, tileBytes), advance(column, 1)])
      const block = [
        set(packed, i32.add(count, size.beyond)),
        set(xBase, i32.add(xAt, i32.mul(image, steps.xImage))),
        packLines(f, { base: xBase, channelStep: steps.xChannel, lineStep: steps.xLine, height: size.xHeight }, xCopy, i32.sub(first, size.padding), packed, channelFrom, channelTo),
        set(part, 0),
        loopWhile(i32.lt(part, count), [
          set(partCount, minimum(i32.sub(count, part), size.partLines)),
          set(xPart, i32.add(xArea, i32.mul(part, pitchAt))),
          inPlace
            ? [set(yLines, partCount), set(yBytes, walk.lineBytes)]
            : [set(yLines, 1), set(yBytes, i32.and(i32.add(i32.mul(partCount, pitchAt), roundBytes - 1), -roundBytes))],
          set(tileAt, tileArea),
          loopRange(row, firstRow, lastRow, 1, [
            beginRow,
            set(yBase, i32.add(i32.add(yAt, i32.mul(image, steps.yImage)), i32.mul(rowChannel, steps.yChannel))),
            inPlace
              ? set(yPart, i32.add(yBase, i32.mul(i32.add(first, part), steps.yLine)))
              : [
                packLines(f, { base: yBase, channelStep: steps.yChannel, lineStep: steps.yLine, height: size.height }, yCopy, i32.add(first, part), partCount, i32.const(0), rows),
                set(yPart, i32.add(yArea, 4 * lineHead)),
              ],
            cut.short > 0 ? when(i32.eq(rows, cut.size), eachTile(sums.add(cut.size)), eachTile(sums.add(cut.size - 1))) : eachTile(sums.add(cut.size)),
          ]),
          advance(part, partCount),
        ]),
      ]
      const finish = [
        set(tileAt, tileArea),
        loopRange(row, firstRow, lastRow, 1, [
          beginRow,
          eachTile(spreadSums(f, tile.columns, { tile: tileAt, table, column, columns: size.columns, rows, rowStep: steps.wOut, out: i32.add(wAt, i32.mul(rowChannel, steps.wOut)) })),
        ]),
      ]
      f.emit(
        scratch.prologue(),
        when(i32.lt(begin, end), [
          set(firstRow, rowOf(begin)),
          set(lastRow, i32.add(rowOf(i32.sub(end, 1)), 1)),
          // Tiles of one row need the channels of their columns; those of several, all.
          set(channelTo, size.channels),
          when(i32.eq(lastRow, i32.add(firstRow, 1)), [
            set(channelFrom, i32.divu(i32.mul(i32.remu(begin, size.columnTiles), tile.columns), size.columnsOfChannel)),
            set(column, i32.mul(i32.add(i32.remu(i32.sub(end, 1), size.columnTiles), 1), tile.columns)),
            set(channelTo, i32.add(i32.divu(i32.sub(minimum(column, size.columns), 1), size.columnsOfChannel), 1)),
          ]),
          set(tileEnd, i32.add(tileArea, i32.mul(i32.sub(end, begin), tileBytes))),
          loopRange(tileAt, tileArea, tileEnd, 16, v128.store(tileAt, v128.splatF32(0))),
          loopRange(image, 0, size.images, 1, [
            set(first, 0),
            loopWhile(i32.lt(first, size.height), [
              set(count, minimum(i32.sub(size.height, first), size.lines)),
              block,
              advance(first, count),
            ]),
          ]),
          finish,
        ]),
      )
      return f
    },
  }
}

/**
 * Addresses: of x, of the tile's first channel of y, of the records of columns, of the tile in scratch memory. Then the
 * column in hand; bytes from one channel of y to the next; lines, bytes of one, and bytes from its end to the next in either image.
 */
type SumLocals = Readonly<Record<'x' | 'y' | 'table' | 'tile' | 'column' | 'rowStep' | 'lines' | 'bytes' | 'xGap' | 'yGap', Local>>

interface LaneOptions extends RegisterTile {
  readonly roundBytes: number
  readonly relaxed: boolean
}

/** A register tile whose sums have eight lanes, two vectors. */
class LaneSums {
  private readonly f: FunctionBuilder
  private readonly options: LaneOptions
  private readonly at: SumLocals
  private readonly sums: readonly (readonly (readonly Local[])[])[]
  private readonly rows: readonly Local[][]
  private readonly columns: readonly Local[][]

  constructor(f: FunctionBuilder, options: LaneOptions, at: SumLocals) {
    const pair = (): Local[] => [f.local('v128'), f.local('v128')]
    const { rows, columns } = options
    this.f = f
    this.options = options
    this.at = at
    this.sums = Array.from({ length: rows }, () => Array.from({ length: columns }, pair))
    this.rows = Array.from({ length: rows }, pair)
    this.columns = Array.from({ length: columns }, pair)
  }

  /** Adds the products of all lines to the first `rows` rows of the tile. */
  add(rows: number): Code {
    const { f, at, columns } = this
    const { relaxed, roundBytes } = this.options
    const sums = this.sums.slice(0, rows)
    const [xOffset, yOffset, stop, left, record] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
    const lines = sums.map(() => f.local('i32'))
    const starts = columns.map(() => f.local('i32'))
    const [rowAt, columnAt] = [lines.map(() => f.local('i32')), starts.map(() => f.local('i32'))]
    const load = (vectors: readonly Local[], from: Local, k: number): Code => vectors.map((vector, v) => set(vector, v128.load(from, sumBytes * k + 16 * v)))
    const add = (r: number, c: number): Code => (sums[r]?.[c] ?? []).map((sum, v) => set(sum, multiplyAdd(relaxed, this.rows[r]?.[v] ?? sum, columns[c]?.[v] ?? sum, sum)))
    const [everyRow, everyColumn] = [sums.map((_, r) => r), columns.map((_, c) => c)]
    const loadRow = (r: number, k: number): Code => load(this.rows[r] ?? [], rowAt[r] ?? record, k)
    const loadColumn = (c: number, k: number): Code => load(columns[c] ?? [], columnAt[c] ?? record, k)
    // What is the lesser number stays in registers; the other goes by one after the other.
    const products = (k: number): Code => columns.length <= rows
      ? [everyColumn.map((c) => loadColumn(c, k)), everyRow.map((r) => [loadRow(r, k), everyColumn.map((c) => add(r, c))])]
      : [everyRow.map((r) => loadRow(r, k)), everyColumn.map((c) => [loadColumn(c, k), everyRow.map((r) => add(r, c))])]
    return [
      set(record, i32.add(at.table, i32.mul(at.column, columnBytes * columns.length))),
      starts.map((start, c) => set(start, i32.add(at.x, i32.load(record, columnBytes * c + columnFields.source)))),
      lines.map((line, r) => set(line, r === 0 ? at.y : i32.add(lines[r - 1] ?? line, at.rowStep))),
      sums.flat(2).map((sum) => set(sum, 0)),
      set(xOffset, 0),
      set(yOffset, 0),
      set(left, at.lines),
      doWhile([
        set(stop, i32.add(yOffset, at.bytes)),
        doWhile([
          rowAt.map((to, r) => set(to, i32.add(lines[r] ?? to, yOffset))),
          columnAt.map((to, c) => set(to, i32.add(starts[c] ?? to, xOffset))),
          Array.from({ length: roundBytes / sumBytes }, (_, k) => products(k)),
          advance(xOffset, roundBytes),
          advance(yOffset, roundBytes),
        ], i32.ne(yOffset, stop)),
        advance(xOffset, at.xGap),
        advance(yOffset, at.yGap),
        advance(left, -1),
      ], left),
      sums.map((row, r) => row.map((vectors, c) => {
        const place = (v: number): number => sumBytes * (r * columns.length + c) + 16 * v
        return [
          vectors.map((sum, v) => set(sum, f32x4.add(sum, v128.load(at.tile, place(v))))),
          vectors.map((sum, v) => v128.store(at.tile, sum, place(v))),
        ]
      })),
    ]
  }
}

interface Spread {
  readonly tile: Local
  readonly table: Local
  /** The tile's number along the columns, and how many columns there are in all. */
  readonly column: Local
  readonly columns: Local
  readonly rows: Local
  readonly rowStep: Local
  /** Address of the tile's first row in the weights. */
  readonly out: Code
}

/** Adds up the lanes of a tile's sums and writes them. */
function spreadSums(f: FunctionBuilder, columnsOfTile: number, { tile, table, column, columns, rows, rowStep, out }: Spread): Code {
  const [row, c, count, from, to, record, four] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('v128')]
  const lane = (k: number): Code => f32x4.extract(four, k)
  return [
    set(from, tile),
    set(to, out),
    set(count, minimum(columnsOfTile, i32.sub(columns, i32.mul(column, columnsOfTile)))),
    loopRange(row, 0, rows, 1, [
      set(record, i32.add(table, i32.mul(column, columnBytes * columnsOfTile))),
      loopRange(c, 0, columnsOfTile, 1, [
        when(i32.lt(c, count), [
          set(four, f32x4.add(v128.load(from), v128.load(from, 16))),
          f32.store(i32.add(to, i32.load(record, columnFields.weight)), f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3)))),
        ]),
        advance(record, columnBytes),
        advance(from, sumBytes),
      ]),
      advance(to, rowStep),
    ]),
  ]
}
