/**
 * Reductions with a vectorised kept axis: an item is a stretch of it and a part of the reduced positions, which it goes
 * through one after another, so that memory is read as it lies. The sums of the stretch are in scratch memory.
 */
import type { Expression } from '../../ir/expression.ts'
import { hoist } from '../../ir/nodes.ts'
import { addBlock, blockRounds, monoid } from './accumulate.ts'
import { begin, end } from '../core/arguments.ts'
import { advance, type Code, doWhile, type FunctionBuilder, i32, type Local, minimum, set, v128, when } from '../core/assembler.ts'
import { advanceCursor, alongLane, type Place, write } from '../core/cursor.ts'
import { emitExpressions, Hoisted } from '../core/emit.ts'
import { leaves } from '../core/leaves.ts'
import { existsIn, type PassedAxis, Walk } from '../core/loops.ts'
import { openCursor, placeCursor } from '../core/vectorOperand.ts'
import type { ReducePlan } from './plan.ts'
import { VectorScope } from '../core/scope.ts'

export function buildColumns(plan: ReducePlan): FunctionBuilder {
  const f = plan.args.open()
  const scope = new VectorScope(f)
  const local = (): Local => f.local('i32')
  const [item, round, firstRound, left] = [local(), local(), local(), local()]
  const [position, start, stop] = [local(), local(), local()]
  const areas = plan.areas.map((area) => ({ area, at: local() }))
  const [block = missing(), total, lost] = areas
  const { fold, identity } = monoid(plan.op, plan.type)
  const [cursors, late] = [plan.inputs.map((o) => openCursor(f, o)), plan.epilogue.map((o) => openCursor(f, o))]
  // As in a map, the chunks are the innermost axis of the walk over items.
  const chunks: PassedAxis = { size: plan.chunks, index: undefined, steps: plan.epilogue.map(() => undefined), ranges: [] }
  const outer = plan.kept.map(() => undefined)
  const { parts } = plan
  const kept = parts === undefined
    ? new Walk(f, [...plan.kept, chunks], [[...outer, plan.chunk]])
    : new Walk(f, [...plan.kept, parts.axis, chunks], [[...outer, undefined, plan.chunk], [...outer, parts.roundStep, undefined]])
  const reduced = new Walk(f, plan.reduced)
  const known = new Hoisted(scope)
  const elements = (place: Place) => leaves({ scope, cursors, place, laneIndex: plan.lane.index, position: (axis) => kept.position(axis) ?? reduced.position(axis) })

  const [once = [], perRound = []] = hoist([plan.element], 2, (leaf) => {
    if (leaf.op === 'load') return plan.levels[leaf.value] ?? 0
    if (plan.lane.index === leaf.value) return 2
    return kept.position(leaf.value) === undefined && reduced.position(leaf.value) === undefined ? 0 : 1
  })
  const compute = (roots: readonly Expression[]): void => known.compute(roots, plan.width, () => elements({ position, stop: undefined }))
  const place = (level: number): Code => plan.inputs.map((o, i) => {
    const cursor = cursors[i]
    if (cursor === undefined || o.access === 'blank' || plan.levels[i] !== level) return []
    if (level === 0) return placeCursor(cursor, o, i32.const(0), undefined)
    const at = i32.add(i32.add(kept.offset(i), reduced.offset(i)), i32.mul(start, o.stride))
    return placeCursor(cursor, o, at, existsIn(kept, reduced, i))
  })

  /** The stretch from its start, a bundle at a time, then vector by vector; goes along in the areas that `body` uses. */
  const walk = (using: readonly Area[], body: (width: number, at: Place) => void): void => {
    scope.emit(set(position, start), using.map(({ area, at: pointer }) => set(pointer, area)))
    scope.emit(alongLane(scope, plan.width, position, stop, (width, at) => {
      body(width, at)
      scope.emit(using.map(({ at: pointer }) => advance(pointer, 16 * width)))
    }))
  }
  const numbers = (width: number): number[] => Array.from({ length: width }, (_, vector) => vector)
  const read = ({ at }: Area, width: number): Code[] => numbers(width).map((v) => scope.keep(v128.load(at, 16 * v)))
  const keep = ({ at }: Area, values: readonly Code[]): void => values.map((x) => scope.keep(x)).forEach((x, v) => scope.emit(v128.store(at, x, 16 * v)))

  const clear = (): void => walk(areas, (width) => areas.forEach((area) => keep(area, numbers(width).map(() => identity(scope)))))
  const addRound = (): void => walk([block], (width, at) => {
    const before = read(block, width)
    const [values = []] = emitExpressions(scope, [plan.element], width, known.of(width), elements(at))
    keep(block, before.map((x, v) => fold(x, values[v] ?? [])))
    scope.emit(cursors.map((cursor, i) => (plan.levels[i] === 2 ? advanceCursor(cursor, 4 * width) : [])))
  })
  const endBlock = (): void => {
    if (total === undefined || lost === undefined) return
    walk(areas, (width) => {
      const [blocks, totals, losses] = [read(block, width), read(total, width), read(lost, width)]
      const next = blocks.map((x, v) => addBlock(scope, totals[v] ?? x, losses[v] ?? x, x))
      keep(total, next.map((n) => n.total))
      keep(lost, next.map((n) => n.lost))
      keep(block, blocks.map(() => identity(scope)))
    })
  }

  const writeResults = (): void => {
    late.forEach((cursor, i) => {
      const operand = plan.epilogue[i]
      if (operand !== undefined && operand.access !== 'blank') scope.emit(placeCursor(cursor, operand, i32.add(kept.offset(i), i32.mul(start, operand.stride)), kept.exists(i)))
    })
    const result = total ?? block
    walk([result], (width, at) => {
      const results = emitExpressions(scope, plan.values, width, new Map(), leaves({ scope, cursors: late, place: at, laneIndex: plan.lane.index, position: (axis) => kept.position(axis), accumulator: read(result, width) }))
      late.slice(plan.inputs.length).forEach((cursor, i) => {
        const value = plan.values[i]
        if (value !== undefined) write(scope, cursor, at, value.type, results[i] ?? [])
      })
      scope.emit(late.map((cursor) => advanceCursor(cursor, 4 * width)))
    })
  }

  const code = scope.block(() => {
    scope.emit(plan.scratch.prologue(), place(0))
    compute(once)
    scope.emit(set(item, begin), kept.odometer.seek(begin))
    const body = scope.block(() => {
      scope.emit(set(start, kept.extra(0)), set(stop, minimum(i32.add(start, plan.chunk), plan.lane.size)))
      clear()
      scope.emit(set(left, blockRounds), set(round, plan.rounds))
      if (parts !== undefined) scope.emit(set(firstRound, kept.extra(1)), set(round, minimum(i32.sub(round, firstRound), parts.rounds)))
      const run = scope.block(() => {
        scope.emit(place(1), place(2))
        compute(perRound)
        addRound()
        scope.emit(reduced.odometer.advance(), set(round, i32.sub(round, 1)), set(left, i32.sub(left, 1)))
        if (total !== undefined) scope.emit(when(i32.eqz(left), scope.block(() => { endBlock(); scope.emit(set(left, blockRounds)) })))
        scope.emit(scope.clear)
      })
      // A walk over nothing must not be sought: it divides by its sizes.
      scope.emit(when(i32.gt(round, 0), [reduced.odometer.seek(firstRound), doWhile(run, round)]))
      endBlock()
      writeResults()
      scope.emit(kept.odometer.advance(), advance(item, 1))
    })
    scope.emit(doWhile(body, i32.ltu(item, end)))
  })
  f.emit(when(i32.ltu(begin, end), [scope.setup, code]))
  return f
}

/** An array in scratch memory, and the place in it. */
interface Area {
  readonly area: Local
  readonly at: Local
}

function missing(): never {
  throw new RangeError('reduce: columns need scratch memory')
}
