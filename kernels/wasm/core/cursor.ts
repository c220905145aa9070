/**
 * Reading and writing four elements of an operand along the vectorised axis, whatever its storage
 * type, stride and mask. Where an element may lie outside, its lane is touched only if it does not.
 */
import type { ScalarType } from '../../ir/expression.ts'
import { loadLane, loadSplat, loadVector, type MemoryType, narrow, sizeShift, storeLane, storeVector } from './access.ts'
import { advance, type Code, i32, i32x4, type Local, loopWhile, set, when } from './assembler.ts'
import type { VectorScope } from './scope.ts'

/** How an operand moves along the vectorised axis: not there at all, one by one, not at all, or with a stride. */
export type Access = 'blank' | 'vector' | 'splat' | 'lanes'

export interface Cursor {
  readonly dtype: MemoryType
  readonly access: Access
  /** Address of the element at the current position; for a splat, of the element. */
  readonly pointer: Local
  /** Bytes from one element to the next, used by `lanes` alone. */
  readonly stride: Local
  /** Positions lo ≤ i < hi that exist, for a masked operand; lo = hi if none does. */
  readonly range: { readonly lo: Local; readonly hi: Local } | undefined
  /** A spare address. */
  readonly walker: Local
}

/** Where the current bundle lies on the vectorised axis. */
export interface Place {
  readonly position: Local
  /** The end of the axis where a vector may run over it. */
  readonly stop: Local | undefined
}

/** Goes along the vectorised axis from `position` to `stop`, by bundles of `width` vectors, then vector by vector with its lanes guarded; `body` emits either. Nothing happens if the stop comes first. */
export function alongLane(scope: VectorScope, width: number, position: Local, stop: Local, body: (count: number, place: Place) => void): Code {
  const round = (count: number, place: Place): Code => scope.within(count, () => scope.block(() => {
    body(count, place)
    scope.emit(advance(position, 4 * count), scope.clear)
  }))
  return [
    loopWhile(i32.ge(i32.sub(stop, position), 4 * width), round(width, { position, stop: undefined })),
    loopWhile(i32.ltu(position, stop), round(1, { position, stop })),
  ]
}

const at = (position: Local, lane: number): Code => (lane === 0 ? position : i32.add(position, lane))

function laneExists({ range }: Cursor, { position, stop }: Place, lane: number): Code {
  if (range !== undefined) return i32.ltu(i32.sub(at(position, lane), range.lo), i32.sub(range.hi, range.lo))
  return stop === undefined ? i32.const(1) : i32.ltu(at(position, lane), stop)
}

function vectorExists({ range }: Cursor, { position, stop }: Place, lane: number): Code {
  if (range !== undefined) return i32.and(i32.geu(at(position, lane), range.lo), i32.leu(at(position, lane + 4), range.hi))
  return stop === undefined ? i32.const(1) : i32.leu(at(position, lane + 4), stop)
}

/** A vector to load lanes into, one by one. */
const empty = (scope: VectorScope): Code => scope.within(1, () => scope.i32(0))

/** The elements of vector `vector` of the bundle as 32-bit lanes, zero where there is none. */
export function readLanes(scope: VectorScope, cursor: Cursor, place: Place, vector: number): Code {
  const { dtype, access, pointer, stride, walker, range } = cursor
  const guarded = range !== undefined || place.stop !== undefined
  const bytes = 1 << sizeShift[dtype]
  const first = 4 * vector
  switch (access) {
    case 'blank': return scope.i32(0)
    case 'splat': return range === undefined ? scope.keep(loadSplat(dtype, pointer)) : readSplat(scope, cursor, range)
    case 'vector': {
      if (!guarded) return scope.keep(loadVector(dtype, pointer, first * bytes))
      // Before its first element a masked operand may lie below address 0: sums must wrap, which static offsets do not.
      const address = (lane: number): Code => i32.add(pointer, lane * bytes)
      const lanes = scope.temporary()
      const whole = loadVector(dtype, address(first), 0)
      const single = [0, 1, 2, 3].map((k) => when(laneExists(cursor, place, first + k), set(lanes, loadLane(dtype, address(first + k), lanes, k))))
      scope.emit(when(vectorExists(cursor, place, first), set(lanes, whole), [set(lanes, empty(scope)), single]))
      return scope.read(lanes)
    }
    case 'lanes': {
      const lanes = scope.temporary()
      scope.emit(set(lanes, empty(scope)))
      if (vector === 0) scope.emit(set(walker, pointer))
      for (let k = 0; k < 4; k++) {
        const read = set(lanes, loadLane(dtype, walker, lanes, k))
        scope.emit(guarded ? when(laneExists(cursor, place, first + k), read) : read, advance(walker, stride))
      }
      return scope.read(lanes)
    }
  }
}

function readSplat(scope: VectorScope, { dtype, pointer }: Cursor, range: { lo: Local; hi: Local }): Code {
  const lanes = scope.temporary()
  scope.emit(set(lanes, empty(scope)), when(i32.ltu(range.lo, range.hi), set(lanes, loadSplat(dtype, pointer))))
  return scope.read(lanes)
}

/** Stores a bundle of values of `type`; every value must be computed already. */
export function write(scope: VectorScope, cursor: Cursor, place: Place, type: ScalarType, values: readonly Code[]): void {
  const { dtype, access, pointer, stride, walker } = cursor
  const bytes = 1 << sizeShift[dtype]
  const narrowed = values.map((x) => scope.keep(narrow(scope, dtype, type, x)))
  narrowed.forEach((lanes, vector) => {
    const first = 4 * vector
    if (access === 'vector') {
      const whole = storeVector(scope, dtype, pointer, lanes, first * bytes)
      const single = [0, 1, 2, 3].map((k) => when(laneExists(cursor, place, first + k), storeLane(dtype, pointer, lanes, k, (first + k) * bytes)))
      scope.emit(place.stop === undefined ? whole : when(vectorExists(cursor, place, first), whole, single))
      return
    }
    if (vector === 0) scope.emit(set(walker, pointer))
    for (let k = 0; k < 4; k++) {
      const single = storeLane(dtype, walker, lanes, k)
      scope.emit(place.stop === undefined ? single : when(laneExists(cursor, place, first + k), single), advance(walker, stride))
    }
  })
}

/** Stores the first lane of `value` where the cursor points. */
export function writeOne(scope: VectorScope, { dtype, pointer }: Cursor, type: ScalarType, value: Code): void {
  scope.emit(storeLane(dtype, pointer, narrow(scope, dtype, type, value), 0))
}

/** Moves the cursor on by `elements`. */
export function advanceCursor({ dtype, access, pointer, stride }: Cursor, elements: number): Code {
  if (access === 'vector') return advance(pointer, elements << sizeShift[dtype])
  return access === 'lanes' ? advance(pointer, i32.mul(stride, elements)) : []
}

/** The positions of vector `vector` as integers. */
export function positions(scope: VectorScope, position: Local, vector: number): Code {
  const offsets = new Uint8Array(new Int32Array([0, 1, 2, 3].map((k) => 4 * vector + k)).buffer)
  return scope.keep(i32x4.add(i32x4.splat(position), scope.bytes([...offsets])))
}
