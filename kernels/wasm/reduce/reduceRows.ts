/** Reductions over a vectorised axis: an item is a part of one output, its accumulators are folded across lanes at the end. */
import { hoist } from '../../ir/nodes.ts'
import { Accumulators } from './accumulate.ts'
import { begin, end } from '../core/arguments.ts'
import { advance, type Code, doWhile, type FunctionBuilder, i32, i32x4, minimum, set, v128, when } from '../core/assembler.ts'
import { advanceCursor, alongLane, type Place, positions, writeOne } from '../core/cursor.ts'
import { emitExpressions, Hoisted } from '../core/emit.ts'
import { leaves } from '../core/leaves.ts'
import { existsIn, Walk } from '../core/loops.ts'
import { openCursor, placeCursor } from '../core/vectorOperand.ts'
import type { ReducePlan } from './plan.ts'
import { VectorScope } from '../core/scope.ts'

export function buildRows(plan: ReducePlan): FunctionBuilder {
  const f = plan.args.open()
  const scope = new VectorScope(f)
  const [item, round, firstRound, position, first, stop] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')] // without parts the first ones stay 0
  const [spill = item] = plan.areas
  const [cursors, late] = [plan.inputs.map((o) => openCursor(f, o)), plan.epilogue.map((o) => openCursor(f, o))]
  const { parts } = plan
  // The parts are the innermost axis of the walk over items; where a part begins is a linear function of it.
  const starts = parts === undefined ? [] : [parts.roundStep, parts.laneStep].map((step) => [...plan.kept.map(() => undefined), step])
  const [kept, reduced] = [new Walk(f, parts === undefined ? plan.kept : [...plan.kept, parts.axis], starts), new Walk(f, plan.reduced)]
  const accumulators = new Accumulators(f, scope, plan.op, plan.type, plan.width, spill)
  const known = new Hoisted(scope)
  const whole: Place = { position, stop: undefined }
  const elements = (place: Place) => leaves({ scope, cursors, place, laneIndex: plan.lane.index, position: (axis) => kept.position(axis) ?? reduced.position(axis) })

  const hoisted = hoist([plan.element], 2, (leaf) => {
    if (leaf.op === 'load') return plan.levels[leaf.value] ?? 0
    if (plan.lane.index === leaf.value || reduced.position(leaf.value) !== undefined) return 2
    return kept.position(leaf.value) === undefined ? 0 : 1
  })
  const compute = (level: number): void => known.compute(hoisted[level] ?? [], plan.width, () => elements(whole))
  const place = (level: number): Code => plan.inputs.map((o, i) => {
    const cursor = cursors[i]
    if (cursor === undefined || o.access === 'blank' || plan.levels[i] !== level) return []
    if (level === 0) return placeCursor(cursor, o, i32.const(0), undefined)
    if (level === 1) return placeCursor(cursor, o, kept.offset(i), kept.exists(i))
    const offset = i32.add(kept.offset(i), reduced.offset(i))
    return placeCursor(cursor, o, parts === undefined ? offset : i32.add(offset, i32.mul(first, o.stride)), existsIn(kept, reduced, i))
  })
  const bundle = (count: number, at: Place): void => {
    const [values = []] = emitExpressions(scope, [plan.element], count, known.of(count), elements(at))
    const { stop: guard } = at
    const inside = (x: Code): Code => (guard === undefined ? x : v128.select(x, accumulators.identity, i32x4.ltu(positions(scope, position, 0), i32x4.splat(guard))))
    accumulators.add(values.map(inside))
    scope.emit(cursors.map((cursor, i) => (plan.levels[i] === 2 ? advanceCursor(cursor, 4 * count) : [])))
    accumulators.endRound()
  }

  const code = scope.block(() => {
    scope.emit(plan.scratch.prologue(), place(0))
    compute(0)
    scope.emit(set(item, begin), kept.odometer.seek(begin))
    const body = scope.block(() => {
      scope.emit(place(1))
      compute(1)
      accumulators.start()
      scope.emit(set(stop, plan.lane.size), set(round, plan.rounds))
      if (parts !== undefined) {
        scope.emit(set(firstRound, kept.extra(0)), set(round, minimum(i32.sub(round, firstRound), parts.rounds)))
        scope.emit(set(first, kept.extra(1)), set(stop, minimum(stop, i32.add(first, parts.lane))))
      }
      const run = scope.block(() => {
        scope.emit(place(2), set(position, first))
        scope.emit(alongLane(scope, plan.width, position, stop, bundle))
        scope.emit(reduced.odometer.advance(), set(round, i32.sub(round, 1)))
      })
      // A walk over nothing must not be sought: it divides by its sizes.
      scope.emit(when(i32.gt(round, 0), [reduced.odometer.seek(firstRound), doWhile(run, round)]))
      scope.within(1, () => writeResults(accumulators.finish()))
      scope.emit(kept.odometer.advance(), advance(item, 1))
    })
    scope.emit(doWhile(body, i32.ltu(item, end)))
  })

  function writeResults(result: Code): void {
    late.forEach((cursor, i) => {
      const operand = plan.epilogue[i]
      if (operand !== undefined && operand.access !== 'blank') scope.emit(placeCursor(cursor, operand, kept.offset(i), kept.exists(i)))
    })
    const results = emitExpressions(scope, plan.values, 1, new Map(), leaves({ scope, cursors: late, place: whole, laneIndex: undefined, position: (axis) => kept.position(axis), accumulator: [result] }))
    late.slice(plan.inputs.length).forEach((cursor, i) => {
      const [value, bundled = []] = [plan.values[i], results[i]]
      if (value !== undefined) writeOne(scope, cursor, value.type, bundled[0] ?? [])
    })
  }
  f.emit(when(i32.ltu(begin, end), [scope.setup, code]))
  return f
}
