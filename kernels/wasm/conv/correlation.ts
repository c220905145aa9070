/**
 * Direct convolution, and what the input gradient is as well:
 * target[n, o, q] = Σ over taps t and channels c of source[n, c, q·step + t]·weight[o, c, t].
 * A problem is a phase (see `Phase`) of a group. An item is a block of its pixels and a group of panels
 * of target channels. A thread packs the weights of a group of panels when it meets them and fills
 * the table of pointers to a block's pixels; then tiles of pixels × channels sum over taps and channels,
 * in parts whose weights stay in the L1 cache, while the block's pixels stay in the L2 cache. The
 * source is read where it lies.
 */
import { dot } from '../../ir/convShape.ts'
import type { Epilogue, Operand } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { advance, type Code, doWhile, i32, type Local, loopRange, loopWhile, minimum, set, when } from '../core/assembler.ts'
import { convBlocking } from './blocking.ts'
import { segmentBytes, segmentTable, spillBytes } from './tile.ts'
import { type Tap, tapRecord } from './taps.ts'
import { columnAccess, emitEpilogue, epilogueCost, epilogueKey, type EpilogueOperand, operandBytes } from '../matmul/epilogue.ts'
import { type Filter, packFilter, packLanes } from './filterPanels.ts'
import { fillIndirection, gatherChannels, type Indirection, rowBytes } from './indirection.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { LaneTile } from './laneTile.ts'
import { zeroRun } from '../matmul/pack.ts'
import { PixelTile } from './pixelTile.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** Target positions first + q·targetStep, q in a grid, all of which meet the same taps. */
export interface Phase {
  readonly grid: readonly number[]
  readonly first: readonly number[]
  readonly taps: readonly Tap[]
}

/** Strides and offsets in bytes. */
export interface Image {
  readonly offset: number
  /** Image, channel, spatial dimensions. */
  readonly strides: readonly number[]
  /** Channels of a group. */
  readonly channels: number
  /** Spatial sizes. */
  readonly extent: readonly number[]
}

/** Buffers: source, weight, the epilogue's inputs, target. */
export interface Correlation {
  readonly batch: number
  readonly groups: number
  readonly source: Image
  readonly target: Image
  readonly weight: { readonly offset: number; readonly group: number; readonly sourceChannel: number; readonly targetChannel: number }
  /** Its inputs' strides are those of the target: image, channel, spatial dimensions. */
  readonly epilogue: Epilogue | undefined
  /** Source, or target, positions from one position of the grid to the next. */
  readonly sourceStep: readonly number[]
  readonly targetStep: readonly number[]
  readonly phases: readonly Phase[]
  readonly flops: number
  readonly bytes: number
}

/** Fields of a phase's record, in bytes; then the grid, then where each input of the epilogue begins. */
const phaseFields = { pixels: 0, pixelsPerBlock: 4, taps: 8, firstTap: 12, target: 16, grid: 20 } as const
const phaseBytes = (rank: number, inputs: number): number => phaseFields.grid + 4 * (rank + inputs)

/** An input of the epilogue. Strides in bytes. */
interface EpilogueInput {
  readonly operand: Operand
  readonly strides: readonly number[]
  /** Its number among those that are not the same at every pixel. */
  readonly table: number | undefined
}

function epilogueInputs(epilogue: Epilogue | undefined): EpilogueInput[] {
  let tables = 0
  return (epilogue?.inputs ?? []).map((operand) => {
    const [image = 0, , ...spatial] = operand.strides
    return { operand, strides: operand.strides.map((s) => s * operandBytes(operand)), table: [image, ...spatial].every((s) => s === 0) ? undefined : tables++ }
  })
}

export function correlationKernel(c: Correlation, target: WasmTarget): WasmKernel {
  const rank = c.sourceStep.length
  const [sourceImage = 0, sourceChannel = 0, ...sourceSpatial] = c.source.strides
  const [, targetChannel = 0] = c.target.strides
  const gathered = sourceChannel !== 4 && c.source.channels > 1
  const pixelsOf = (phase: Phase): number => c.batch * product(phase.grid)
  // Without channels there is nothing to sum, whatever the taps.
  const tapsOf = (phase: Phase): number => (c.source.channels === 0 ? 0 : phase.taps.length)
  const [pixels, mostTaps] = [Math.max(0, ...c.phases.map(pixelsOf)), Math.max(0, ...c.phases.map(tapsOf))]
  const problems = c.phases.length * c.groups
  const { tile, segmentChannels, segmentsPerBlock, pixelBlocks, groupChannels } = convBlocking(
    { pixels, taps: mostTaps, sourceChannels: c.source.channels, targetChannels: c.target.channels, problems, sourcePixels: gathered ? mostTaps : product(c.sourceStep) }, target)
  const { width } = tile
  const perBlock = (count: number): number => Math.max(1, Math.ceil(count / pixelBlocks / tile.rows)) * tile.rows
  const pointerRow = rowBytes(perBlock(pixels))
  const panelGroups = Math.ceil(c.target.channels / groupChannels)
  const segmentsPerTap = Math.ceil(c.source.channels / segmentChannels)

  const inputs = epilogueInputs(c.epilogue)
  const tabled = inputs.filter((o) => o.table !== undefined)
  const accesses = inputs.map(({ operand }) => columnAccess(operand.strides[1] ?? 0))
  const cost = c.epilogue === undefined ? { flops: 0, bytes: 0 } : epilogueCost(c.epilogue, [c.batch, c.groups * c.target.channels, ...c.target.extent])

  const segments = segmentTable(mostTaps, c.source.channels, segmentChannels, pointerRow, width)
  const table = ((): Int32Array<ArrayBuffer> => {
    const head = c.phases.length * (phaseBytes(rank, inputs.length) / 4) + segments.length
    const start = (strides: readonly number[], { first }: Phase): number => dot(first, strides.slice(2))
    const taps: number[] = []
    const records = c.phases.flatMap((phase) => {
      const firstTap = 4 * (head + taps.length)
      taps.push(...phase.taps.flatMap(tapRecord))
      return [pixelsOf(phase), perBlock(pixelsOf(phase)), tapsOf(phase), firstTap, start(c.target.strides, phase), ...phase.grid, ...inputs.map(({ strides }) => start(strides, phase))]
    })
    return Int32Array.from([...records, ...segments, ...taps])
  })()

  const args = new Arguments()
  const number = (value: number): Local => args.number(value)
  const [sourceOrigin, weightOrigin, targetOrigin] = [args.buffer(0, c.source.offset), args.buffer(1, c.weight.offset), args.buffer(2 + inputs.length, c.target.offset)]
  const inputOrigins = inputs.map(({ operand }, i) => args.buffer(2 + i, operand.offset * operandBytes(operand)))
  const scratch = new ScratchAreas(args)
  const weights = scratch.area(4 * groupChannels * mostTaps * c.source.channels)
  const pointers = scratch.area(pointerRow * mostTaps)
  const offsets = scratch.area(pointerRow * (1 + tabled.length))
  const zeros = scratch.area(4 * c.source.channels)
  const spill = scratch.area(spillBytes(tile))
  const copies = scratch.area(gathered ? 4 * c.source.channels * mostTaps * perBlock(pixels) : 0)
  const sizes = {
    groups: number(c.groups), pixelBlocks: number(pixelBlocks), panelGroups: number(panelGroups), groupChannels: number(groupChannels),
    sourceChannels: number(c.source.channels), targetChannels: number(c.target.channels),
    tapSegments: number(segmentBytes * segmentsPerTap), blockSegments: number(segmentBytes * segmentsPerBlock),
    segments: number(c.phases.length * phaseBytes(rank, inputs.length)),
  }
  const steps = { sourceChannel: number(sourceChannel), targetChannel: number(targetChannel), weightSource: number(c.weight.sourceChannel), weightTarget: number(c.weight.targetChannel) }
  const groupSteps = { source: number(c.source.channels * sourceChannel), weight: number(c.weight.group), target: number(c.target.channels * targetChannel) }
  const inputSteps = inputs.map(({ strides }) => number(strides[1] ?? 0))
  const inputGroups = inputs.map(({ strides }) => number((strides[1] ?? 0) * c.target.channels))
  const overTarget = ([image = 0, , ...spatial]: readonly number[]): Local[] => [number(image), ...spatial.map((s, d) => number(s * (c.targetStep[d] ?? 0)))]
  const walk = {
    rowBytes: number(pointerRow),
    source: [number(sourceImage), ...sourceSpatial.map((s, d) => number(s * (c.sourceStep[d] ?? 0)))],
    positions: [c.target.strides, ...tabled.map(({ strides }) => strides)].map(overTarget),
    coordinates: c.sourceStep.map(number),
    unitSteps: c.sourceStep[rank - 1] === 1,
    extent: c.source.extent.map(number),
  }
  const tableAt = args.table()

  const weightAdjacent = c.weight.targetChannel === 4
  return {
    key: `correlation:${rank},${tile.vectors},${tile.rows}x${width},${target.relaxed ? 'fused' : 'rounded'},${walk.unitSteps},${gathered},${weightAdjacent},${targetChannel === 4},${c.epilogue === undefined ? '' : `${inputs.map((o) => o.table ?? '').join()};${epilogueKey(c.epilogue, accesses)}`}`,
    args: args.list,
    items: pixels === 0 || c.target.channels === 0 ? 0 : problems * panelGroups * pixelBlocks,
    scratchBytes: scratch.bytes,
    table,
    flops: c.flops + cost.flops,
    bytes: c.bytes + cost.bytes,
    build() {
      const f = args.open()
      const local = (): Local => f.local('i32')
      const [item, block, panels, problem, packed, filled, id, group, phase, size, source, weight, out, taps, tapCount, g0, gc] =
        [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
      const [m0, mc, n0, nc, i, panel, rows, pointer, part, partEnd, lastSegment, depthAt, panelBytes, b, outColumn] =
        [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
      const grid = c.sourceStep.map(local)
      const inputBases = inputs.map(local)
      const field = (at: number): Code => i32.load(phase, at)
      const indirection: Indirection = { ...walk, pointers, offsets, grid, base: source, taps, tapCount, zeros }
      const filter: Filter = { base: weight, ...sizes, sourceStep: steps.weightSource, targetStep: steps.weightTarget, adjacent: weightAdjacent, taps, tapCount, rank }
      const offset = (row: number, pixel: Code): Code => i32.load(i32.add(i32.add(offsets, i32.mul(walk.rowBytes, row)), i32.shl(pixel, 2)))
      const convTile = new (tile.vectors === 'targets' ? PixelTile : LaneTile)(f, tile, target.relaxed)
      const later = i32.ne(part, i32.add(tableAt, sizes.segments))

      const operands = inputs.map(({ operand, table: entry }, n): EpilogueOperand => ({
        dtype: operand.dtype,
        access: accesses[n] ?? 'lanes',
        base: inputBases[n] ?? out,
        row: (position) => (entry === undefined ? i32.const(0) : offset(1 + entry, position)),
        columnStep: inputSteps[n] ?? steps.targetChannel,
      }))
      const whole: EpilogueOperand = { dtype: 'f32', access: targetChannel === 4 ? 'vector' : 'lanes', base: out, row: (position) => offset(0, position), columnStep: steps.targetChannel }
      const finish = c.epilogue === undefined ? [] : when(i32.eq(partEnd, lastSegment), emitEpilogue(f, { mc, n0, nc }, c.epilogue, operands, whole))

      const enter = [
        set(block, i32.remu(item, sizes.pixelBlocks)),
        set(panels, i32.divu(item, sizes.pixelBlocks)),
        set(problem, i32.divu(panels, sizes.panelGroups)),
        set(group, i32.remu(problem, sizes.groups)),
        set(phase, i32.add(tableAt, i32.mul(i32.divu(problem, sizes.groups), phaseBytes(rank, inputs.length)))),
        set(source, i32.add(sourceOrigin, i32.mul(group, groupSteps.source))),
        set(weight, i32.add(weightOrigin, i32.mul(group, groupSteps.weight))),
        set(out, i32.add(i32.add(targetOrigin, i32.mul(group, groupSteps.target)), field(phaseFields.target))),
        inputBases.map((base, n) => set(base, i32.add(
          i32.add(inputOrigins[n] ?? out, i32.mul(group, inputGroups[n] ?? out)),
          field(phaseBytes(rank, n)),
        ))),
        grid.map((g, d) => set(g, field(phaseFields.grid + 4 * d))),
        set(taps, i32.add(tableAt, field(phaseFields.firstTap))),
        set(tapCount, field(phaseFields.taps)),
        set(g0, i32.mul(i32.remu(panels, sizes.panelGroups), sizes.groupChannels)),
        set(gc, minimum(i32.sub(sizes.targetChannels, g0), sizes.groupChannels)),
        set(m0, i32.mul(block, field(phaseFields.pixelsPerBlock))),
        set(mc, minimum(i32.sub(field(phaseFields.pixels), m0), field(phaseFields.pixelsPerBlock))),
        set(size, i32.mul(tapCount, sizes.sourceChannels)),
        set(panelBytes, i32.mul(size, 4 * width)),
        set(lastSegment, i32.add(i32.add(tableAt, sizes.segments), i32.mul(tapCount, sizes.tapSegments))),
      ]
      const prepare = [
        when(i32.ne(packed, panels), [set(packed, panels), tile.vectors === 'targets' ? packFilter(f, width, filter, g0, gc, weights) : packLanes(f, width, filter, weights)]),
        set(id, i32.add(i32.mul(problem, sizes.pixelBlocks), block)),
        when(i32.ne(filled, id), [
          set(filled, id),
          fillIndirection(f, indirection, m0, mc),
          gathered ? gatherChannels(f, indirection, mc, sizes.sourceChannels, steps.sourceChannel, copies) : [],
        ]),
      ]
      const tiles = [
        set(outColumn, i32.add(out, i32.mul(n0, steps.targetChannel))),
        set(pointer, pointers),
        loopRange(i, 0, mc, tile.rows, [
          set(rows, minimum(i32.sub(mc, i), tile.rows)),
          set(b, panel),
          convTile.sum(part, partEnd, pointer, b),
          convTile.write({
            rows, columns: nc, later, adjacent: targetChannel === 4, columnStep: steps.targetChannel, spill,
            row: (row) => i32.add(outColumn, offset(0, i32.add(i, row))),
          }),
          advance(pointer, 4 * tile.rows),
        ]),
      ]
      const sums = [
        set(part, i32.add(tableAt, sizes.segments)),
        set(depthAt, weights),
        doWhile([
          set(partEnd, minimum(i32.add(part, sizes.blockSegments), lastSegment)),
          set(panel, depthAt),
          set(n0, g0),
          loopWhile(i32.lt(n0, i32.add(g0, gc)), [
            set(nc, minimum(i32.sub(i32.add(g0, gc), n0), width)),
            tiles,
            finish,
            advance(panel, panelBytes),
            advance(n0, width),
          ]),
          // The next part's weights follow the last panel's.
          advance(depthAt, i32.sub(i32.add(b, panelBytes), panel)),
          set(part, partEnd),
        ], i32.ne(part, lastSegment)),
      ]
      f.emit(
        scratch.prologue(),
        set(size, sizes.sourceChannels),
        when(size, zeroRun(f, zeros, size)),
        set(packed, -1),
        set(filled, -1),
        loopRange(item, begin, end, 1, [enter, when(i32.gt(mc, 0), [prepare, sums])]),
      )
      return f
    },
  }
}
