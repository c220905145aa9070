/**
 * Elementwise kernels. The domain's axes are sorted by the output's strides and merged; the last one
 * runs in vectors, two at a time, then one at a time with its lanes guarded. A work item is one
 * position of the outer axes and at most 4096 of the last; of a transposition 32, and the next item
 * is its neighbour along the axis where the input is contiguous, so that a cache line is used whole.
 * What depends on the outer axes alone is computed once an item, what depends on none, once a
 * launch. Sizes, strides, offsets and bounds are arguments.
 */
import type { MapDescriptor } from '../../ir/descriptor.ts'
import { axesOf, type Axis, footprint, indexedAxes, isBlank, mergeAxes, product, sortAxes } from '../../ir/domain.ts'
import { type Expression, expressionKey } from '../../ir/expression.ts'
import { checkAccess, hoist, unknownNodes } from '../../ir/nodes.ts'
import { sizeShift } from '../core/access.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { advance, doWhile, type FunctionBuilder, i32, type Local, minimum, set, when } from '../core/assembler.ts'
import { advanceCursor, alongLane, type Cursor, type Place, write } from '../core/cursor.ts'
import { emitExpressions, Hoisted, type Leaf } from '../core/emit.ts'
import type { WasmKernel } from '../core/kernel.ts'
import { leaves } from '../core/leaves.ts'
import { axisKey, passAxis, type PassedAxis, Walk } from '../core/loops.ts'
import { accessOf, openCursor, operandKey, placeCursor, planOperand, type PlannedOperand } from '../core/vectorOperand.ts'
import { VectorScope } from '../core/scope.ts'
import { transposeKernel } from './transpose.ts'

const width = 2
const longestChunk = 4096
const transposedChunk = 32

/** The kernel of an elementwise computation. Outputs may be the inputs' own memory, position for position. */
export function mapKernel(d: MapDescriptor): WasmKernel {
  return transposeKernel(d) ?? generatedKernel(d)
}

function generatedKernel(d: MapDescriptor): WasmKernel {
  const plan = planMap(d)
  const count = product(d.shape)
  const operations = unknownNodes(plan.values, new Map()).filter((e) => e.args.length > 0).length
  const bytes = plan.operands.map((o, i) => (o.access === 'blank' ? 0 : footprint(plan.axes, i, 1 << sizeShift[o.dtype])))
  return { key: plan.key, build: () => buildMap(plan), args: plan.args.list, items: plan.items, flops: count * operations, bytes: bytes.reduce((a, b) => a + b, 0) }
}

interface MapPlan {
  readonly key: string
  readonly args: Arguments
  readonly items: number
  readonly axes: readonly Axis[]
  readonly operands: readonly PlannedOperand[]
  readonly inputs: number
  readonly values: readonly Expression[]
  /** Loops outside the vectorised axis, and the axis itself. */
  readonly outer: readonly PassedAxis[]
  readonly lane: PassedAxis
  readonly chunk: Local
  readonly chunks: Local
  /** The chunks are the last axis of the items, or else the last but one. */
  readonly chunksLast: boolean
  /** For each input, whether it is known once a launch (0), once an item (1) or varies. */
  readonly levels: readonly number[]
}

function planMap(d: MapDescriptor): MapPlan {
  const values = d.outputs.map((o) => o.value)
  const operands = [...d.inputs, ...d.outputs.map((o) => o.operand)]
  const loads = unknownNodes(values, new Map()).filter((e) => e.op === 'load')
  for (const e of loads) checkAccess('map', d.inputs[e.value]?.dtype ?? 'f32', e.type)
  for (const o of d.outputs) checkAccess('map', o.operand.dtype, o.value.type)

  const used = operands.map((o, i) => i >= d.inputs.length || (loads.some((e) => e.value === i) && !isBlank(o, d.shape)))
  const axes = mergeAxes(sortAxes(axesOf(d.shape, 0, operands, indexedAxes(values)), d.inputs.length))
  const lane: Axis = axes.at(-1) ?? { size: 1, index: undefined, strides: operands.map(() => 1), ranges: operands.map(() => undefined) }
  const crossed = d.inputs.findIndex((_, i) => used[i] === true && Math.abs(lane.strides[i] ?? 0) > 1)
  const outer = crossed < 0 ? axes.slice(0, -1) : sortAxes(axes.slice(0, -1), crossed)
  const transposed = crossed >= 0 && outer.length > 0
  const empty = product(d.shape) === 0
  const chunks = Math.max(1, Math.ceil(lane.size / (transposed ? transposedChunk : longestChunk)))
  const chunk = Math.ceil(lane.size / chunks / 8) * 8

  const args = new Arguments()
  const planned = operands.map((o, i) => planOperand(args, o, i, axes, lane, used[i] === true ? accessFor(lane, i, i < d.inputs.length) : 'blank'))
  const bytes = planned.map((o) => (o.access === 'blank' ? undefined : 1 << sizeShift[o.dtype]))
  const levels = d.inputs.map((_, i) => {
    if (planned[i]?.access === 'blank') return 0
    if (planned[i]?.access !== 'splat') return 2
    return outer.every((a) => a.strides[i] === 0 && a.ranges[i] === undefined) ? 0 : 1
  })
  const key = ['map', outer.map(axisKey).join(), axisKey(lane), planned.map(operandKey).join(), d.inputs.length, transposed, levels.join(''), expressionKey(values)].join('|')
  return {
    key, args, axes, values, levels,
    items: empty ? 0 : product(outer.map((a) => a.size)) * chunks,
    operands: planned,
    inputs: d.inputs.length,
    outer: outer.map((a) => passAxis(args, a, bytes)),
    lane: passAxis(args, lane, bytes.map(() => undefined)),
    chunk: args.number(chunk),
    chunks: args.number(chunks),
    chunksLast: !transposed,
  }
}

/** An output is never a splat: it has one element for each position. */
const accessFor = (lane: Axis, o: number, input: boolean): PlannedOperand['access'] => {
  const access = accessOf(lane, o)
  return access === 'splat' && !input ? 'lanes' : access
}

function buildMap(plan: MapPlan): FunctionBuilder {
  const f = plan.args.open()
  const scope = new VectorScope(f)
  const [item, position, stop] = [f.local('i32'), f.local('i32'), f.local('i32')]
  const cursors = plan.operands.map((o) => openCursor(f, o))
  // The chunks are an axis of the walk, whose extra function is where a chunk starts.
  const chunks: PassedAxis = { size: plan.chunks, index: undefined, steps: plan.operands.map(() => undefined), ranges: [] }
  const axes = plan.outer.toSpliced(plan.chunksLast ? plan.outer.length : -1, 0, chunks)
  const walk = new Walk(f, axes, [axes.map((axis) => (axis === chunks ? plan.chunk : undefined))])
  const emission: Emission = { plan, scope, cursors, walk, known: new Hoisted(scope) }
  const [once = [], perItem = []] = hoist(plan.values, 2, (leaf) => levelOf(emission, leaf))

  const code = scope.block(() => {
    placeCursors(emission, position, 0)
    emission.known.compute(once, width, () => mapLeaves(emission, { position, stop: undefined }))
    scope.emit(set(item, begin), walk.odometer.seek(begin))
    const body = scope.block(() => {
      scope.emit(set(position, walk.extra(0)), set(stop, minimum(i32.add(position, plan.chunk), plan.lane.size)))
      placeCursors(emission, position, 1)
      emission.known.compute(perItem, width, () => mapLeaves(emission, { position, stop: undefined }))
      scope.emit(alongLane(scope, width, position, stop, (count, place) => emitBundle(emission, count, place)))
      scope.emit(walk.odometer.advance(), advance(item, 1))
    })
    scope.emit(doWhile(body, i32.ltu(item, end)))
  })
  f.emit(when(i32.ltu(begin, end), [scope.setup, code]))
  return f
}

interface Emission {
  readonly plan: MapPlan
  readonly scope: VectorScope
  readonly cursors: readonly Cursor[]
  readonly walk: Walk
  readonly known: Hoisted
}

function levelOf({ plan, walk }: Emission, leaf: Expression): number {
  if (leaf.op === 'load') return plan.levels[leaf.value] ?? 0
  if (leaf.op === 'accumulator') throw new Error('map: a map has no accumulator')
  if (plan.lane.index === leaf.value) return 2
  return walk.position(leaf.value) === undefined ? 0 : 1
}

/** Operands of level 0 stay where they are for the whole launch, the others move with the item. */
function placeCursors({ plan, scope, cursors, walk }: Emission, position: Local, level: 0 | 1): void {
  plan.operands.forEach((o, i) => {
    const cursor = cursors[i]
    if (cursor === undefined || o.access === 'blank' || Math.min(plan.levels[i] ?? 2, 1) !== level) return
    const along = o.access === 'splat' ? walk.offset(i) : i32.add(walk.offset(i), i32.mul(position, o.stride))
    scope.emit(placeCursor(cursor, o, level === 0 ? i32.const(0) : along, walk.exists(i)))
  })
}

const mapLeaves = ({ plan, scope, cursors, walk }: Emission, place: Place): Leaf =>
  leaves({ scope, cursors, place, laneIndex: plan.lane.index, position: (axis) => walk.position(axis) })

/** The body of a loop over bundles of `count` vectors. */
function emitBundle(emission: Emission, count: number, place: Place): void {
  const { plan, scope, cursors, known } = emission
  const results = emitExpressions(scope, plan.values, count, known.of(count), mapLeaves(emission, place))
  cursors.slice(plan.inputs).forEach((cursor, i) => {
    const value = plan.values[i]
    if (value !== undefined) write(scope, cursor, place, value.type, results[i] ?? [])
  })
  scope.emit(cursors.map((cursor, i) => ((plan.levels[i] ?? 2) === 2 ? advanceCursor(cursor, 4 * count) : [])))
}
