/**
 * Direct convolution of images that lie channel after channel, for few channels; what the input gradient is as well:
 * target[o, y, x] = Σ over channels c and taps (i, j) of source[c, y + i·dilation − padding, …]·weight[o, c, i, j].
 * Vectors go along lines of the image, as in Zhang, Franchetti and Low, "High Performance Zero-Memory Overhead Direct
 * Convolutions" (2018), but in the layout that images have outside. An item is some lines of one image: their source
 * is copied with its padding, then tiles of target channels × pixels sum over all channels and taps at once.
 */
import type { Epilogue } from '../../ir/descriptor.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { advance, type Code, doWhile, f32, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import { columnAccess, emitEpilogue, epilogueCost, epilogueKey, type EpilogueOperand, operandBytes } from '../matmul/epilogue.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { multiplyAdd } from '../core/multiplyAdd.ts'
import { gapVectors, lineHead, lineLayout, packLines } from './planeLines.ts'
import { chooseTile, cutRows, type Planes } from './planeShape.ts'
import { ScratchAreas } from '../core/scratch.ts'

type Pair = readonly [lines: number, columns: number]

export interface PlaneCorrelation {
  readonly batch: number
  readonly source: Planes
  readonly target: Planes
  /** Bytes; `taps` from one tap to the next. */
  readonly weight: { readonly offset: number; readonly sourceChannel: number; readonly targetChannel: number; readonly taps: Pair }
  readonly kernel: Pair
  readonly dilation: Pair
  /** Zeros before the source; less than none if some of it is not read. */
  readonly padding: Pair
  /** Its inputs' strides are those of the target: image, channel, spatial dimensions. */
  readonly epilogue: Epilogue | undefined
  readonly flops: number
  readonly bytes: number
}

/** The source of an item, which the L2 cache is to keep; lines that items have at least, and items that there should be. */
const most = { itemFloats: 48 * 1024, items: 16 } as const
const leastLines = 8
/** Taps along a line that are unrolled. */
const mostUnrolled = 5
/** Lines begin at multiples of so many floats. */
const alignment = 8
/** To pack a weight takes as long as so many operations. */
const flopsPerWeight = 100

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to

export function planeConvKernel(c: PlaneCorrelation, target: WasmTarget): WasmKernel {
  const { source, target: out, kernel, dilation } = c
  const lanes = target.wide === true ? 8 : 4
  const tile = chooseTile(out.channels, Math.floor(out.width / lanes), 1, ({ rows, columns }) => rows + 1.5 * columns)
  const cut = cutRows(out.channels, tile.rows)
  const unrolled = kernel[1] <= mostUnrolled
  const depth = source.channels * kernel[0] * kernel[1]

  const skipped = Math.max(0, -c.padding[1])
  const lead = Math.max(0, c.padding[1])
  const read = out.width + (kernel[1] - 1) * dilation[1]
  const copied = Math.min(source.width - skipped, read - lead)
  const pitch = roundUp(copied + Math.max(lead, read - lead - copied), alignment)
  const beyond = (kernel[0] - 1) * dilation[0]
  const fitting = Math.floor(most.itemFloats / (pitch * source.channels)) - beyond
  const wanted = Math.max(leastLines, Math.ceil(out.height / Math.ceil(most.items / c.batch)))
  const blocks = Math.ceil(out.height / Math.max(1, Math.min(fitting, wanted)))
  const blockLines = Math.ceil(out.height / blocks)
  const layout = lineLayout(blockLines + beyond, copied, pitch)
  const entries = Array.from({ length: source.channels }, (_, channel) => Array.from({ length: kernel[0] }, (__, i) => {
    const line = 4 * (channel * layout.plane + i * dilation[0] * pitch)
    return unrolled ? [line] : Array.from({ length: kernel[1] }, (___, j) => line + 4 * j * dilation[1])
  })).flat(2)

  const inputs = c.epilogue?.inputs ?? []
  const accesses = inputs.map(({ strides }) => columnAccess(strides.at(-1) ?? 0))
  const cost = c.epilogue === undefined ? { flops: 0, bytes: 0 } : epilogueCost(c.epilogue, [c.batch, out.channels, ...(inputs.some(({ strides }) => strides.length === 3) ? [] : [out.height]), out.width])

  const args = new Arguments()
  const number = (value: number): Local => args.number(value)
  const sourceAt = args.buffer(0, source.offset + 4 * skipped)
  const weightAt = args.buffer(1, c.weight.offset)
  const outAt = args.buffer(2 + inputs.length, out.offset)
  const operandSteps = inputs.map((operand, n) => {
    const [image = 0, channel = 0, ...spatial] = operand.strides.map((s) => s * operandBytes(operand))
    return { origin: args.buffer(2 + n, operand.offset * operandBytes(operand)), image: number(image), channel: number(channel), line: number(spatial.length > 1 ? (spatial[0] ?? 0) : 0), column: number(spatial.at(-1) ?? 0) }
  })
  const scratch = new ScratchAreas(args)
  const weights = scratch.area(4 * depth * out.channels)
  const area = scratch.area(4 * layout.plane * source.channels)
  const size = {
    blocks: number(blocks), blockLines: number(blockLines), height: number(out.height), width: number(out.width), beyond: number(beyond), padding: number(c.padding[0]),
    lastTile: number(out.width - lanes * tile.columns), channels: number(source.channels), rows: number(out.channels),
    whole: number(cut.whole), short: number(cut.short), entries: number(4 * entries.length), taps: [number(kernel[0]), number(kernel[1])] as const,
  }
  const steps = {
    sourceImage: number(source.image), sourceChannel: number(source.channel), sourceLine: number(source.line),
    image: number(out.image), channel: number(out.channel), line: number(out.line), column: number(4),
    weightSource: number(c.weight.sourceChannel), weightTarget: number(c.weight.targetChannel), weightTaps: [number(c.weight.taps[0]), number(c.weight.taps[1])] as const,
  }
  const copy = { area, pitch: number(4 * pitch), planeBytes: number(4 * layout.plane), copied: number(4 * copied), gapVectors: gapVectors(layout) }
  const firstColumn = number(4 * (lineHead - lead))
  const sourceHeight = number(source.height)
  const table = args.table()

  return {
    key: `planes:${cut.size}${cut.short > 0 ? '-' : ''}x${lanes * tile.columns},${unrolled ? `${kernel[1]}by${dilation[1]}` : ''},${target.relaxed ? 'fused' : 'rounded'},${lanes},${copy.gapVectors},${c.epilogue === undefined ? '' : epilogueKey(c.epilogue, accesses)}`,
    args: args.list,
    items: c.batch * blocks,
    scratchBytes: scratch.bytes,
    table: Int32Array.from(entries),
    callFlops: flopsPerWeight * depth * out.channels,
    flops: c.flops + cost.flops,
    bytes: c.bytes + cost.bytes,
    build() {
      const f = args.open()
      const local = (): Local => f.local('i32')
      const [item, image, line, first, count, base, lineBase, x, x0, outLine, at, weight, tiles, entriesEnd, zero] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
      const lineBases = inputs.map(local)
      const sums = Array.from({ length: cut.size }, () => Array.from({ length: tile.columns * (lanes / 4) }, () => f.local('v128')))
      const shared = { entries: table, entriesEnd, base, weight, out: at, channelStep: steps.channel }
      const sum = (rows: number, repeat: Local): Code => loopRange(tiles, 0, repeat, 1, tileCode(f, sums.slice(0, rows), { columns: tile.columns, taps: unrolled ? kernel[1] : 1, step: 4 * dilation[1], relaxed: target.relaxed }, shared))
      const operands = inputs.map(({ dtype }, n): EpilogueOperand => {
        const o = operandSteps[n]
        return { dtype, access: accesses[n] ?? 'lanes', base: lineBases[n] ?? item, row: (row) => (o === undefined ? [] : i32.mul(row, o.channel)), columnStep: o?.column ?? item }
      })
      const whole: EpilogueOperand = { dtype: 'f32', access: 'vector', base: outLine, row: (row) => i32.mul(row, steps.channel), columnStep: steps.column }
      const finish = c.epilogue === undefined ? [] : emitEpilogue(f, { mc: size.rows, n0: zero, nc: size.width }, c.epilogue, operands, whole)
      const inImage = (origin: Local, imageStep: Local, lineStep: Local): Code =>
        i32.add(i32.add(origin, i32.mul(image, imageStep)), i32.mul(i32.add(first, line), lineStep))

      const oneLine = [
        set(outLine, inImage(outAt, steps.image, steps.line)),
        operandSteps.map((o, n) => set(lineBases[n] ?? item, inImage(o.origin, o.image, o.line))),
        // The last tile of a line moves back until all of it is inside.
        loopRange(x, 0, size.width, lanes * tile.columns, [
          set(x0, i32.shl(minimum(x, size.lastTile), 2)),
          set(base, i32.add(lineBase, x0)),
          set(at, i32.add(outLine, x0)),
          set(weight, weights),
          sum(cut.size, size.whole),
          cut.short > 0 ? sum(cut.size - 1, size.short) : [],
        ]),
        finish,
      ]
      const sourceBase = local()
      const packed = local()
      f.emit(
        scratch.prologue(),
        set(entriesEnd, i32.add(table, size.entries)),
        packWeights(f, { sizes: [size.channels, ...size.taps], steps: [steps.weightSource, ...steps.weightTaps], base: weightAt, rowStep: steps.weightTarget }, [
          { rows: cut.size, tiles: size.whole }, ...(cut.short > 0 ? [{ rows: cut.size - 1, tiles: size.short }] : []),
        ], weights),
        loopRange(item, begin, end, 1, [
          set(image, i32.divu(item, size.blocks)),
          set(first, i32.mul(i32.remu(item, size.blocks), size.blockLines)),
          set(count, minimum(i32.sub(size.height, first), size.blockLines)),
          when(i32.gt(count, 0), [
            set(sourceBase, i32.add(sourceAt, i32.mul(image, steps.sourceImage))),
            set(packed, i32.add(count, size.beyond)),
            packLines(f, { base: sourceBase, channelStep: steps.sourceChannel, lineStep: steps.sourceLine, height: sourceHeight }, copy, i32.sub(first, size.padding), packed, i32.const(0), size.channels),
            set(lineBase, i32.add(area, firstColumn)),
            loopRange(line, 0, count, 1, [oneLine, advance(lineBase, copy.pitch)]),
          ]),
        ]),
      )
      return f
    },
  }
}

interface TileShape {
  /** In vectors of the machine. */
  readonly columns: number
  /** Taps of an entry, and bytes between them. */
  readonly taps: number
  readonly step: number
  readonly relaxed: boolean
}

type TileLocals = Readonly<Record<'entries' | 'entriesEnd' | 'base' | 'weight' | 'out' | 'channelStep', Local>>

/** The sums of a tile, written to the output. Moves `weight` and `out` behind the tile's channels. */
function tileCode(f: FunctionBuilder, sums: readonly (readonly Local[])[], { columns, taps, step, relaxed }: TileShape, { entries, entriesEnd, base, weight, out, channelStep }: TileLocals): Code {
  const [entry, from] = [f.local('i32'), f.local('i32')]
  const rows = sums.length
  const pixels = (sums[0] ?? []).map(() => f.local('v128'))
  const elements = sums.map(() => f.local('v128'))
  const load = (j: number, v: number): Code => pixels.slice(v, v + 2).map((pixel, k) => set(pixel, v128.load(from, step * j + 16 * (v + k))))
  const splat = (j: number, r: number): Code => elements.slice(r, r + 1).map((w) => set(w, v128.load32Splat(weight, 4 * (j * rows + r))))
  const add = (r: number, v: number): Code => pixels.slice(v, v + 2).map((pixel, k) => {
    const [sum, w] = [sums[r]?.[v + k] ?? pixel, elements[r] ?? pixel]
    return set(sum, multiplyAdd(relaxed, w, pixel, sum))
  })
  const [each, pairs] = [sums.map((_, r) => r), pixels.flatMap((_, v) => (v % 2 === 0 ? [v] : []))]
  // What is the lesser number stays in registers; the other goes by one after the other.
  const product = (j: number): Code => rows >= columns
    ? [pairs.map((v) => load(j, v)), each.map((r) => [splat(j, r), pairs.map((v) => add(r, v))])]
    : [each.map((r) => splat(j, r)), pairs.map((v) => [load(j, v), each.map((r) => add(r, v))])]
  return [
    sums.flat().map((sum) => set(sum, 0)),
    set(entry, entries),
    doWhile([
      set(from, i32.add(base, i32.load(entry))),
      Array.from({ length: taps }, (_, j) => product(j)),
      advance(entry, 4),
      advance(weight, 4 * rows * taps),
    ], i32.ne(entry, entriesEnd)),
    sums.map((vectors) => [vectors.map((sum, v) => v128.store(out, sum, 16 * v)), advance(out, channelStep)]),
  ]
}

interface WeightSource {
  /** Source channels, and taps of either dimension: sizes, and bytes from one to the next. */
  readonly sizes: readonly Local[]
  readonly steps: readonly Local[]
  readonly base: Local
  readonly rowStep: Local
}

/** Packs weights tile by tile, and in a tile in the order in which they are summed, those of its rows together. */
function packWeights(f: FunctionBuilder, { sizes, steps, base, rowStep }: WeightSource, parts: readonly { readonly rows: number; readonly tiles: Local }[], weights: Local): Code {
  const [to, corner, tile] = [f.local('i32'), f.local('i32'), f.local('i32')]
  const counters = sizes.map(() => f.local('i32'))
  const starts = sizes.map(() => f.local('i32'))
  const nest = (axis: number, from: Local, rows: number): Code => {
    const [counter, start, size, step] = [counters[axis], starts[axis], sizes[axis], steps[axis]]
    if (counter === undefined || start === undefined || size === undefined || step === undefined) {
      return [
        set(tile, from),
        Array.from({ length: rows }, (_, r) => [f32.store(to, f32.load(tile), 4 * r), advance(tile, rowStep)]),
        advance(to, 4 * rows),
      ]
    }
    return [set(start, from), loopRange(counter, 0, size, 1, [nest(axis + 1, start, rows), advance(start, step)])]
  }
  const left = f.local('i32')
  return [
    set(to, weights),
    set(corner, base),
    parts.map(({ rows, tiles }) => [
      set(left, tiles),
      loopWhile(left, [nest(0, corner, rows), advance(corner, i32.mul(rows, rowStep)), advance(left, -1)]),
    ]),
  ]
}
