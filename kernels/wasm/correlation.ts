/**
 * The product behind a convolution and behind its input gradient:
 * target[n, o, q] = Σ over taps t and channels c of source[n, c, q·step + t]·weight[o, c, t].
 * A problem is a phase (see `Phase`) of a group. With adjacent channels in the target, or an epilogue,
 * pixels are rows and channels columns, and rows of A are runs of channels; with adjacent pixels it is
 * the other way round. Weights are packed by every thread, once for each block of k.
 */
import type { Epilogue, Operand } from '../descriptor.ts'
import { Arguments } from './arguments.ts'
import { type Code, get, i32, type Local, set } from './assembler.ts'
import { dot, pixelBytes, pixelFields, product, type Tap, tapRecord } from './convShape.ts'
import { columnAccess, emitEpilogue, epilogueCost, epilogueKey, type EpilogueOperand, operandBytes } from './epilogue.ts'
import { blockLocals, emitGemm, Gemm, type Side } from './gemm.ts'
import { packPixelColumns, packPixelRows, type Window } from './im2col.ts'
import type { WasmKernel, WasmTarget } from './kernel.ts'
import { PositionTable, type Steps } from './odometer.ts'
import { packColumns } from './pack.ts'
import { evenSide, type Field, fillWeightOffsets, inRun, lookUp, markRuns } from './sides.ts'

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
const phaseFields = { rows: 0, taps: 4, firstTap: 8, target: 12, grid: 16 } as const
const phaseBytes = (rank: number, inputs: number): number => phaseFields.grid + 4 * (rank + inputs)

function phaseTable(c: Correlation, inputs: readonly EpilogueInput[]): Int32Array<ArrayBuffer> {
  const rank = c.sourceStep.length
  const head = c.phases.length * (phaseBytes(rank, inputs.length) / 4)
  const start = (strides: readonly number[], { first }: Phase): number => dot(first, strides.slice(2))
  const [records, taps]: [number[], number[]] = [[], []]
  for (const phase of c.phases) {
    // Without channels there is nothing to sum, whatever the taps.
    records.push(c.batch * product(phase.grid), c.source.channels === 0 ? 0 : phase.taps.length, 4 * (head + taps.length), start(c.target.strides, phase), ...phase.grid)
    records.push(...inputs.map(({ strides }) => start(strides, phase)))
    taps.push(...phase.taps.flatMap(tapRecord))
  }
  return Int32Array.from([...records, ...taps])
}

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
  const [, targetChannel = 0, ...targetSpatial] = c.target.strides
  const pixelsAreRows = targetChannel === 4 || targetSpatial[rank - 1] !== 4 || c.epilogue !== undefined
  const pixels = Math.max(0, ...c.phases.map((phase) => c.batch * product(phase.grid)))
  const depth = Math.max(0, ...c.phases.map((phase) => phase.taps.length)) * c.source.channels
  const channelsAdjacent = sourceChannel === 4
  const lineAdjacent = (sourceSpatial[rank - 1] ?? 0) * (c.sourceStep[rank - 1] ?? 0) === 4

  const inputs = epilogueInputs(c.epilogue)
  const tabled = inputs.filter((o) => o.table !== undefined)
  const accesses = inputs.map(({ operand }) => columnAccess(operand.strides[1] ?? 0))
  const cost = c.epilogue === undefined ? { flops: 0, bytes: 0 } : epilogueCost(c.epilogue, [c.batch, c.groups * c.target.channels, ...c.target.extent])

  const args = new Arguments()
  const origins = [args.buffer(0, c.source.offset), args.buffer(1, c.weight.offset), args.buffer(2 + inputs.length, c.target.offset)]
  const inputOrigins = inputs.map(({ operand }, i) => args.buffer(2 + i, operand.offset * operandBytes(operand)))
  const [m, n] = pixelsAreRows ? [pixels, c.target.channels] : [c.target.channels, pixels]
  const gemm = new Gemm(args, { problems: c.phases.length * c.groups, m, n, k: depth }, { target, layout: pixelsAreRows ? 'rows' : 'interleaved' })
  const pixelArea = gemm.scratch.area(pixelBytes(rank, tabled.length) * (pixelsAreRows ? gemm.limits.rows : gemm.limits.columns))
  const weightArea = gemm.scratch.area(4 * gemm.limits.depth)
  const runArea = gemm.scratch.area(4 * gemm.limits.columns)
  const number = (value: number): Local => args.number(value)
  const groups = number(c.groups)
  const targetChannels = number(c.target.channels)
  const sourceChannels = number(Math.max(1, c.source.channels))
  const groupSteps = [c.source.channels * sourceChannel, c.weight.group, c.target.channels * targetChannel].map(number)
  const steps = { sourceChannel: number(sourceChannel), targetChannel: number(targetChannel), weightSource: number(c.weight.sourceChannel), weightTarget: number(c.weight.targetChannel) }
  const zero = number(0)
  const inputChannels = inputs.map(({ strides }) => number(strides[1] ?? 0))
  const inputGroups = inputs.map(({ strides }) => number((strides[1] ?? 0) * c.target.channels))
  const extent = c.source.extent.map(number)
  const sourceSteps = [number(sourceImage), ...sourceSpatial.map((s, d) => number(s * (c.sourceStep[d] ?? 0)))]
  const overTarget = ([image = 0, , ...spatial]: readonly number[]): Local[] => [number(image), ...spatial.map((s, d) => number(s * (c.targetStep[d] ?? 0)))]
  const targetSteps = overTarget(c.target.strides)
  const tabledSteps = tabled.map(({ strides }) => overTarget(strides))
  const coordinateSteps = c.sourceStep.map(number)
  const table = args.table()

  const weightAdjacent = c.weight.targetChannel === 4
  return {
    key: `correlation:${rank},${gemm.key},${channelsAdjacent},${lineAdjacent},${weightAdjacent},${targetChannel === 4},${c.epilogue === undefined ? '' : `${inputs.map((o) => o.table ?? '').join()};${epilogueKey(c.epilogue, accesses)}`}`,
    args: args.list,
    items: gemm.items,
    scratchBytes: gemm.scratch.bytes,
    table: phaseTable(c, inputs),
    flops: c.flops + cost.flops,
    bytes: c.bytes + cost.bytes,
    build() {
      const f = args.open()
      const block = blockLocals(f)
      const local = (): Local => f.local('i32')
      const [source, weight, out, phase, group, size, k, taps] = [local(), local(), local(), local(), local(), local(), local(), local()]
      const inputBases = inputs.map(local)
      const grid = c.sourceStep.map(local)
      const coordinates = coordinateSteps.map((step, d): Steps => [undefined, ...grid.map((_, axis) => (axis === d ? get(step) : undefined))])
      const positions = new PositionTable(f, pixelArea, [[], ...grid.map(get)], [sourceSteps.map(get), targetSteps.map(get), ...coordinates, ...tabledSteps.map((list) => list.map(get))])
      const window: Window = { block, base: source, channels: sourceChannels, channelStep: steps.sourceChannel, channelsAdjacent, extent, pixels: positions, taps }
      const pixelField = (at: number): Field => ({ area: pixelArea, recordBytes: positions.recordBytes, at })
      const targetField = pixelField(pixelFields.other)
      const width = 4 * gemm.tile.vectors
      const weights = (columns: number, from: Local, count: Local, panels: Local): Code =>
        packColumns(f, columns, {
          base: weight, from, count, depth: block.kc, columnStep: steps.weightTarget, adjacent: weightAdjacent,
          depthStep: { table: weightArea, recordBytes: 4, field: 0 },
        }, panels)
      const weightOffsets = (): Code => fillWeightOffsets(f, weightArea, block.k0, block.kc, taps, rank, sourceChannels, steps.weightSource)
      const pixelSide: Side = {
        prepare: () => pixelsAreRows ? positions.fill(get(block.m0), get(block.mc)) : [positions.fill(get(block.n0), get(block.nc)), markRuns(f, targetField, block.nc, runArea)],
        offset: (position) => lookUp(targetField, position),
        adjacent: (position) => inRun(runArea, position, width),
      }
      const channelSide = evenSide(pixelsAreRows ? block.n0 : block.m0, steps.targetChannel, targetChannel === 4)
      const operands = inputs.map(({ operand, table: entry }, i): EpilogueOperand => ({
        dtype: operand.dtype,
        access: accesses[i] ?? 'lanes',
        base: inputBases[i] ?? out,
        rows: { offset: (position) => entry === undefined ? i32.const(0) : lookUp(pixelField(pixelBytes(rank, entry)), position) },
        columnStep: inputChannels[i] ?? zero,
      }))
      const whole: EpilogueOperand = { dtype: 'f32', access: targetChannel === 4 ? 'vector' : 'lanes', base: out, rows: pixelSide, columnStep: steps.targetChannel }
      emitGemm(f, gemm, block, {
        m: pixelsAreRows ? size : targetChannels,
        n: pixelsAreRows ? targetChannels : size,
        k,
        out,
        rows: pixelsAreRows ? pixelSide : channelSide,
        columns: pixelsAreRows ? channelSide : pixelSide,
        epilogue: c.epilogue && emitEpilogue(f, block, c.epilogue, operands, whole),
        enter: () => [
          set(group, i32.remu(get(block.problem), get(groups))),
          set(phase, i32.add(get(table), i32.mul(i32.divu(get(block.problem), get(groups)), i32.const(phaseBytes(rank, inputs.length))))),
          [source, weight, out].map((address, i) => set(address, i32.add(get(origins[i] ?? zero), i32.mul(get(group), get(groupSteps[i] ?? zero))))),
          set(out, i32.add(get(out), i32.load(get(phase), phaseFields.target))),
          inputBases.map((base, i) => set(base, i32.add(
            i32.add(get(inputOrigins[i] ?? zero), i32.mul(get(group), get(inputGroups[i] ?? zero))),
            i32.load(get(phase), phaseBytes(rank, i)),
          ))),
          set(size, i32.load(get(phase), phaseFields.rows)),
          set(k, i32.mul(i32.load(get(phase), phaseFields.taps), get(sourceChannels))),
          set(taps, i32.add(get(table), i32.load(get(phase), phaseFields.firstTap))),
          grid.map((g, d) => set(g, i32.load(get(phase), phaseFields.grid + 4 * d))),
        ],
        packA: () => pixelsAreRows
          ? packPixelRows(f, gemm.tile.rows, window, gemm.aPanels)
          : weights(gemm.tile.rows, block.m0, block.mc, gemm.aPanels),
        packB: () => [
          weightOffsets(),
          pixelsAreRows ? weights(width, block.n0, block.nc, gemm.bPanels) : packPixelColumns(f, width, window, coordinateSteps[rank - 1] ?? zero, lineAdjacent, gemm.bPanels),
        ],
      })
      return f
    },
  }
}
