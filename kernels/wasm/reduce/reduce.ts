/**
 * Reductions. Either a reduced axis runs in vectors, and an output is the fold of their lanes
 * (`reduceRows.ts`), or a kept axis does, and each lane is an output (`reduceColumns.ts`): whichever
 * has more operands lying contiguously. An output, or each part of it, is folded in one order by one item.
 */
import type { Operand, ReduceDescriptor } from '../../ir/descriptor.ts'
import { axesOf, type Axis, footprint, indexedAxes, isBlank, leadingInput, mergeAxes, prefersColumns, product, sortAxes } from '../../ir/domain.ts'
import { type Expression, expressionKey } from '../../ir/expression.ts'
import { checkAccess, loadsOf, unknownNodes } from '../../ir/nodes.ts'
import { sizeShift } from '../core/access.ts'
import { inBlocks, monoid } from './accumulate.ts'
import { Arguments } from '../core/arguments.ts'
import type { Access } from '../core/cursor.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { axisKey, passAxis } from '../core/loops.ts'
import { accessOf, operandKey, planOperand } from '../core/vectorOperand.ts'
import type { Parts, ReducePlan } from './plan.ts'
import { buildColumns } from './reduceColumns.ts'
import { buildRows } from './reduceRows.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** Columns that an item does at most: whole stretches of memory, few enough that their sums stay in the fastest cache. */
const mostColumns = 1024
/** At least, if it is by columns that the work is shared. */
const leastColumns = 32
/** Elements that an item of columns has at least, if there are more columns. */
const elementsAtOnce = 8192
/** Folds of no more elements stay whole; others are cut until there are so many items, or parts so small. */
const [wholeElements, wantedItems, partElements] = [131_072, 32, 16_384]

/** What decides how a reduction is done. */
interface Shape {
  readonly columns: boolean
  readonly lane: Axis
  readonly kept: readonly Axis[]
  readonly reduced: readonly Axis[]
  /** Of all axes but `lane`. */
  readonly outerKept: readonly Axis[]
  readonly outerReduced: readonly Axis[]
  readonly chunks: number
}

function shapeOf(d: ReduceDescriptor): Shape {
  const operands = [...d.inputs, ...d.outputs.map((o) => o.operand)]
  const elementLoads = loadsOf([d.element])
  const indexed = indexedAxes([d.element, ...d.outputs.map((o) => o.value)])
  const leading = leadingInput(d.inputs, elementLoads) ?? d.inputs.length
  const kept = mergeAxes(sortAxes(axesOf(d.shape, 0, operands, indexed), leading))
  const reduced = mergeAxes(sortAxes(axesOf(d.reduced, d.shape.length, operands, indexed), leading))
  const columns = prefersColumns(kept.at(-1), reduced.at(-1), elementLoads)
  const lane = (columns ? kept : reduced).at(-1) ?? { ...single(operands), strides: operands.map(() => 1) }
  const [outerKept, outerReduced] = columns ? [kept.slice(0, -1), reduced] : [kept, reduced.slice(0, -1)]
  const inPieces = isWhole(d) ? Math.max(leastColumns, Math.ceil(lane.size / 8)) : lane.size
  const atOnce = Math.ceil(Math.max(Math.min(inPieces, mostColumns), elementsAtOnce / Math.max(1, product(d.reduced))) / 16) * 16
  return { columns, lane, kept, reduced, outerKept, outerReduced, chunks: columns ? Math.max(1, Math.ceil(lane.size / atOnce)) : 1 }
}

const single = (operands: readonly Operand[]): Axis => ({ size: 1, index: undefined, strides: operands.map(() => 0), ranges: operands.map(() => undefined) })

const isWhole = (d: ReduceDescriptor): boolean => product(d.shape) * product(d.reduced) <= wholeElements

/** Into how many parts a reduction should be cut to be shared by threads: 1, or more where there are few outputs of many elements. By its size alone. */
export function reduceParts(d: ReduceDescriptor): number {
  const total = product(d.shape) * product(d.reduced)
  const { outerKept, chunks } = shapeOf(d)
  const items = product(outerKept.map((a) => a.size)) * chunks
  return isWhole(d) ? 1 : Math.max(1, Math.min(Math.ceil(wantedItems / items), Math.floor(total / partElements)))
}

/** The kernel of a reduction. */
export function reduceKernel(d: ReduceDescriptor): WasmKernel {
  const values = d.outputs.map((o) => o.value)
  check(d, values)
  const operands = [...d.inputs, ...d.outputs.map((o) => o.operand)]
  const elementLoads = loadsOf([d.element])
  const { columns, lane, kept, reduced, outerKept, outerReduced, chunks } = shapeOf(d)
  const [inside, outside] = [product(d.reduced), product(d.shape)]
  const chunk = Math.ceil(lane.size / chunks / 16) * 16
  const width = lane.size >= 64 ? 4 : lane.size >= 8 ? 2 : 1
  const rounds = product(outerReduced.map((a) => a.size))

  const args = new Arguments()
  const all = [...kept, ...reduced]
  const blank = d.inputs.map((o) => isBlank(o, [...d.shape, ...d.reduced]))
  const inputs = d.inputs.map((o, i) => planOperand(args, o, i, all, lane, elementLoads.has(i) && blank[i] === false ? accessOf(lane, i) : 'blank'))
  const levels = inputs.map((o, i) => levelOf(o.access, i, lane, outerKept, outerReduced, columns))
  // Seen from the epilogue there are only the kept axes, and in rows none of them is vectorised.
  const epilogueLane = columns ? lane : single(operands)
  const lateLoads = loadsOf(values)
  const excluded = (i: number): boolean => reduced.some((a) => (a.ranges[i]?.[0] ?? 0) > 0)
  const epilogue = operands.map((o, i) => {
    const used = i >= d.inputs.length || (lateLoads.has(i) && blank[i] === false && !excluded(i))
    return planOperand(args, o, i, kept, epilogueLane, used ? epilogueAccess(epilogueLane, i, i >= d.inputs.length) : 'blank')
  })
  const bytes = operands.map((o, i) => (inputs[i]?.access !== 'blank' || epilogue[i]?.access !== 'blank' ? 1 << sizeShift[o.dtype] : undefined))
  const scratch = new ScratchAreas(args)
  const plan: ReducePlan = {
    args, scratch, inputs, levels, epilogue, width, values,
    op: d.op,
    type: d.element.type,
    element: d.element,
    kept: outerKept.map((a) => passAxis(args, a, bytes)),
    reduced: outerReduced.map((a) => passAxis(args, a, bytes)),
    lane: passAxis(args, lane, bytes.map(() => undefined)),
    rounds: args.number(rounds),
    chunk: args.number(chunk),
    chunks: args.number(chunks),
    parts: d.parts && passParts(args, d.parts, bytes.map((b, i) => (i < d.inputs.length ? undefined : b)), rounds, columns ? undefined : lane.size),
    areas: columns ? Array.from({ length: inBlocks(d.op, d.element.type) ? 3 : 1 }, () => scratch.area(4 * chunk)) : [scratch.area(16 * width)],
  }
  const key = [
    columns ? 'columns' : 'rows', d.parts === undefined ? '' : 'parts', d.op, width, outerKept.map(axisKey).join(), outerReduced.map(axisKey).join(), axisKey(lane),
    inputs.map(operandKey).join(), levels.join(''), epilogue.map(operandKey).join(), d.inputs.length, expressionKey([d.element, ...values]),
  ].join('|')
  const operations = unknownNodes([d.element], new Map()).filter((e) => e.args.length > 0).length + 1
  return {
    key,
    build: () => (columns ? buildColumns(plan) : buildRows(plan)),
    args: args.list,
    items: outside === 0 ? 0 : product(outerKept.map((a) => a.size)) * chunks * (d.parts?.count ?? 1),
    scratchBytes: scratch.bytes,
    flops: outside * inside * operations,
    bytes: operands.reduce((sum, o, i) => sum + (bytes[i] === undefined ? 0 : footprint(all, i, 1 << sizeShift[o.dtype])), 0),
  }
}

/** Parts of several rounds each, or else of the vectorised reduced axis. */
function passParts(args: Arguments, { count, stride }: { readonly count: number; readonly stride: number }, outputBytes: readonly (number | undefined)[], rounds: number, lane: number | undefined): Parts {
  const cutsLane = lane !== undefined && rounds < 4 * count
  const [partRounds, partLane] = cutsLane ? [rounds, Math.ceil(lane / count / 16) * 16] : [Math.ceil(rounds / count), lane ?? 0]
  return {
    axis: { size: args.number(count), index: undefined, ranges: [], steps: outputBytes.map((b) => (b === undefined ? undefined : args.number(stride * b))) },
    rounds: args.number(partRounds), roundStep: args.number(cutsLane ? 0 : partRounds),
    lane: args.number(partLane), laneStep: args.number(cutsLane ? partLane : 0),
  }
}

function check(d: ReduceDescriptor, values: readonly Expression[]): void {
  monoid(d.op, d.element.type)
  for (const e of unknownNodes([d.element, ...values], new Map())) {
    if (e.op === 'load') checkAccess('reduce', d.inputs[e.value]?.dtype ?? 'f32', e.type)
    if (e.op === 'accumulator' && e.type !== d.element.type) throw new TypeError(`reduce: the accumulator is ${d.element.type}, not ${e.type}`)
  }
  for (const o of d.outputs) checkAccess('reduce', o.operand.dtype, o.value.type)
}

const still = (axes: readonly Axis[], o: number): boolean => axes.every((a) => a.strides[o] === 0 && a.ranges[o] === undefined)

function levelOf(access: Access, o: number, lane: Axis, kept: readonly Axis[], reduced: readonly Axis[], columns: boolean): number {
  if (access === 'blank' || still([lane, ...kept, ...reduced], o)) return 0
  return still(columns ? [lane] : [lane, ...reduced], o) ? 1 : 2
}

function epilogueAccess(lane: Axis, o: number, output: boolean): Access {
  const access = accessOf(lane, o)
  return access === 'splat' && output ? 'lanes' : access
}
