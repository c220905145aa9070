/** Reductions with a vectorised kept axis: an item is a stretch of it, and each bundle of it runs through all reduced positions. */
import type { Expression } from '../expression.ts'
import { Accumulators } from './accumulate.ts'
import { begin, end } from './arguments.ts'
import { type Code, doWhile, type FunctionBuilder, get, i32, loopWhile, select, set, when } from './assembler.ts'
import { type Place, write } from './cursor.ts'
import { type Bundle, emitExpressions } from './emit.ts'
import { hoist } from './hoist.ts'
import { leaves } from './leaves.ts'
import { type PassedAxis, Walk } from './loops.ts'
import { openCursor, placeCursor } from './operands.ts'
import type { ReducePlan } from './reduce.ts'
import { VectorScope } from './scope.ts'

export function buildColumns(plan: ReducePlan): FunctionBuilder {
  const f = plan.args.open()
  const scope = new VectorScope(f)
  const [item, round, position, stop] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
  const [cursors, late] = [plan.inputs.map((o) => openCursor(f, o)), plan.epilogue.map((o) => openCursor(f, o))]
  // As in a map, the chunks are the innermost axis of the walk over items.
  const chunks: PassedAxis = { size: plan.chunks, index: undefined, steps: plan.epilogue.map(() => undefined), ranges: [] }
  const kept = new Walk(f, [...plan.kept, chunks], [[...plan.kept.map(() => undefined), get(plan.chunk)]])
  const reduced = new Walk(f, plan.reduced)
  const once = new Map<Expression, Bundle>()
  const elements = (place: Place) => leaves({ scope, cursors, place, laneIndex: plan.lane.index, position: (axis) => kept.position(axis) ?? reduced.position(axis) })

  const [constants = [], outside = []] = hoist([plan.element], 2, (leaf) => {
    if (leaf.op === 'load') return plan.levels[leaf.value] ?? 0
    if (reduced.position(leaf.value) !== undefined) return 2
    return plan.lane.index === leaf.value || kept.position(leaf.value) !== undefined ? 1 : 0
  })
  const compute = (roots: readonly Expression[], width: number, place: Place, into: Map<Expression, Bundle>): void => {
    const bundles = emitExpressions(scope, roots, width, into, elements(place))
    roots.forEach((e, i) => into.set(e, bundles[i] ?? []))
  }
  const along = (stride: Code): Code => i32.mul(get(position), stride)
  const place = (level: number): Code => plan.inputs.map((o, i) => {
    const cursor = cursors[i]
    if (cursor === undefined || o.access === 'blank' || plan.levels[i] !== level) return []
    if (level === 0) return placeCursor(cursor, o, i32.const(0), undefined)
    const base = i32.add(kept.offset(i), along(get(o.stride)))
    if (level === 1) return placeCursor(cursor, o, base, kept.exists(i))
    const [outer, inner] = [kept.exists(i), reduced.exists(i)]
    return placeCursor(cursor, o, i32.add(base, reduced.offset(i)), outer === undefined || inner === undefined ? (outer ?? inner) : i32.and(outer, inner))
  })

  /** All reduced positions for `width` vectors, and their results. */
  const bundle = (width: number, at: Place): Code => scope.block(() => {
    const accumulators = new Accumulators(f, scope, plan.op, plan.type, width, true)
    const known = new Map(once)
    scope.emit(place(1))
    compute(outside, width, at, known)
    accumulators.start()
    const run = scope.block(() => {
      scope.emit(place(2))
      const [values = []] = emitExpressions(scope, [plan.element], width, known, elements(at))
      accumulators.add(Array.from({ length: width }, (_, vector) => values[vector] ?? values[0] ?? []))
      accumulators.endRound()
      scope.emit(reduced.odometer.advance(), set(round, i32.sub(get(round), i32.const(1))))
      scope.reset()
    })
    scope.emit(set(round, get(plan.rounds)), when(get(round), [reduced.odometer.seek(i32.const(0)), doWhile(run, get(round))]))
    writeResults(accumulators.finish(), width, at)
    scope.emit(set(position, i32.add(get(position), i32.const(4 * width))))
    scope.reset()
  })

  function writeResults(accumulator: readonly Code[], width: number, at: Place): void {
    late.forEach((cursor, i) => {
      const operand = plan.epilogue[i]
      if (operand !== undefined && operand.access !== 'blank') scope.emit(placeCursor(cursor, operand, i32.add(kept.offset(i), along(get(operand.stride))), kept.exists(i)))
    })
    const results = emitExpressions(scope, plan.values, width, new Map(), leaves({ scope, cursors: late, place: at, laneIndex: plan.lane.index, position: (axis) => kept.position(axis), accumulator }))
    late.slice(plan.inputs.length).forEach((cursor, i) => {
      const [value, bundled = []] = [plan.values[i], results[i]]
      if (value !== undefined) write(scope, cursor, at, value.type, Array.from({ length: width }, (_, vector) => bundled[vector] ?? bundled[0] ?? []))
    })
  }

  const code = scope.block(() => {
    scope.emit(place(0))
    compute(constants, 1, { position, stop: undefined }, once)
    scope.emit(set(item, get(begin)), kept.odometer.seek(get(begin)))
    const body = scope.block(() => {
      scope.emit(set(position, kept.extra(0)), set(stop, i32.add(get(position), get(plan.chunk))))
      scope.emit(set(stop, select(get(stop), get(plan.lane.size), i32.ltu(get(stop), get(plan.lane.size)))))
      scope.emit(loopWhile(i32.geu(i32.sub(get(stop), get(position)), i32.const(4 * plan.width)), bundle(plan.width, { position, stop: undefined })))
      scope.emit(loopWhile(i32.ltu(get(position), get(stop)), bundle(1, { position, stop })))
      scope.emit(kept.odometer.advance(), set(item, i32.add(get(item), i32.const(1))))
    })
    scope.emit(doWhile(body, i32.ltu(get(item), get(end))))
  })
  f.emit(when(i32.ltu(get(begin), get(end)), [scope.setup, code]))
  return f
}
