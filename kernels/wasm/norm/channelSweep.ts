/**
 * One pass over the values of some channels of one sample, [channel, position], for the norm kernels:
 * loads them, computes, stores results and adds up terms per channel.
 *
 * Layout `last` (channels contiguous): blocks of 64 positions, and in each panels of 16, 4 and 1
 * channels that walk the block with their per-channel sums in registers, which then go to memory: that keeps their
 * rounding error small. `any`: the same, one channel at a time. `first` (positions contiguous): channels are rows.
 */
import { advance, type Code, doWhile, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, settled, v128 } from '../core/assembler.ts'
import type { Strided } from '../../ir/descriptor.ts'
import { type Lanes, Uniform } from '../core/lanes.ts'
import { type Step, stepAt } from '../core/rounds.ts'
import { foldBytes, RowFold, walkRow } from './rows.ts'

export type Layout = 'last' | 'first' | 'any'

/** The layout that all operands [batch, channel, position] share. */
export function layoutOf(channels: number, spatial: number, operands: readonly Strided[]): Layout {
  if (spatial > 1 && operands.every((o) => o.strides[2] === 1)) return 'first'
  return channels === 1 || operands.every((o) => o.strides[1] === 1) ? 'last' : 'any'
}

/** An operand of a sweep: the address of the sample's channel 0, and its steps in bytes. */
export interface Plane {
  readonly base: Local
  readonly channel: Local
  readonly position: Local
}

export interface Sweep {
  readonly layout: Layout
  /** Channels from ≤ c < to. */
  readonly from: Code
  readonly to: Code
  readonly spatial: Local
  readonly planes: readonly Plane[]
  /** Addresses of arrays with one f32 per channel that `body` reads. */
  readonly constants: readonly Local[]
  /** Addresses of arrays with one f32 per channel, to which the terms are added. */
  readonly sums: readonly Local[]
  /** Address of `sweepScratch` bytes of scratch memory. */
  readonly spill: Local
  /** From the value at one place of a plane that is read, and from a constant of its channel: what to store, by plane, and the terms. */
  body(value: (plane: number) => Code, constant: (array: number) => Code): { readonly setup?: Code; readonly stores?: readonly (readonly [plane: number, value: Code])[]; readonly terms?: readonly Code[] }
  /** Planes that are read. */
  readonly reads: readonly number[]
}

/** Vectors of a panel. */
const width = 4

/** Sums that a sweep can have. */
const mostSums = 2
export const sweepScratch: number = foldBytes * mostSums

export function channelSweep(f: FunctionBuilder, lanes: Lanes, sweep: Sweep): Code {
  const [channel, position, stop] = [f.local('i32'), f.local('i32'), f.local('i32')]
  const pointers = sweep.planes.map(() => f.local('i32'))
  const setPointers = sweep.planes.map((plane, i) => {
    const pointer = pointers[i]
    const start = i32.add(plane.base, i32.mul(position, plane.position))
    return pointer === undefined ? [] : set(pointer, i32.add(start, i32.mul(channel, sweep.layout === 'last' ? 4 : plane.channel)))
  })
  const place = { f, lanes, sweep, channel, position, stop, pointers, setPointers }
  if (sweep.layout === 'first') return loopRange(channel, sweep.from, sweep.to, 1, alongPositions(place))
  const panel = (vectors: number, scalar: boolean): Code => {
    const width = scalar ? 1 : 4 * vectors
    return loopWhile(i32.le(i32.add(channel, width), sweep.to), [alongChannels(place, vectors, scalar), advance(channel, width)])
  }
  // All panels of a block before the next block: neighbouring cache lines are used together.
  const panels = [set(channel, sweep.from), sweep.layout === 'last' ? [panel(width, false), panel(1, false)] : [], panel(1, true)]
  return [
    set(position, 0),
    loopWhile(i32.lt(position, sweep.spatial), [set(stop, minimum(i32.add(position, 64), sweep.spatial)), panels, set(position, stop)]),
  ]
}

interface Place {
  readonly f: FunctionBuilder
  readonly lanes: Lanes
  readonly sweep: Sweep
  readonly channel: Local
  /** The block of positions from `position` to `stop`. */
  readonly position: Local
  readonly stop: Local
  readonly pointers: readonly Local[]
  readonly setPointers: Code
}

/** The body for each vector of a step, loads before stores; vector u's terms are added to `sums[u]`. */
function bundle({ lanes, sweep }: Place, step: Step, constant: (array: number, vector: number) => Code, add: (sum: number, vector: number, term: Code) => Code): Code {
  const [load, compute, store]: [Code[], Code[], Code[]] = [[], [], []]
  for (let u = 0; u < step.vectors; u++) {
    const values = new Map(sweep.reads.map((i) => [i, lanes.temporary()]))
    for (const [i, value] of values) load.push(set(value, step.load(i, u)))
    const { setup = [], stores = [], terms = [] } = sweep.body((i) => values.get(i) ?? [], (k) => constant(k, u))
    compute.push(setup)
    for (const [i, value] of stores) {
      const result = lanes.temporary()
      compute.push(set(result, value))
      store.push(step.store(i, u, result))
    }
    compute.push(terms.map((term, k) => add(k, u, term)))
  }
  return [load, compute, store]
}

/** A block of positions of a panel of channels. */
function alongChannels(place: Place, vectors: number, scalar: boolean): Code {
  const { f, lanes, sweep, channel, position, stop, pointers, setPointers } = place
  const left = f.local('i32')
  const inPanel = (array: Local): { readonly entries: Step; readonly values: readonly Local[] } =>
    ({ entries: stepAt([i32.add(array, i32.mul(channel, 4))], vectors, scalar), values: Array.from({ length: vectors }, () => f.local('v128')) })
  const [sums, constants] = [sweep.sums.map(inPanel), sweep.constants.map(inPanel)]
  const inner = lanes.within(vectors, () => bundle(place, stepAt(pointers, vectors, scalar), (k, u) => constants[k]?.values[u] ?? [], (k, u, term) => {
    const sum = sums[k]?.values[u]
    return sum === undefined ? [] : set(sum, f32x4.add(sum, term))
  }))
  const spillOffset = (sum: number, vector: number): number => foldBytes * sum + 16 * vector
  return [
    setPointers,
    constants.map(({ entries, values }) => values.map((value, u) => set(value, entries.load(0, u)))),
    sums.map(({ values }) => values.map((value) => set(value, 0))),
    set(left, i32.sub(stop, position)),
    doWhile([
      inner,
      sweep.planes.map((plane, i) => { const pointer = pointers[i]; return pointer === undefined ? [] : advance(pointer, plane.position) }),
      advance(left, -1),
      lanes.clear,
    ], left),
    // Running sums become 256 bits wide only if they end in adjacent stores to addresses that nothing else is stored to.
    sums.map(({ values }, k) => values.map((value, u) => v128.store(sweep.spill, settled(value), spillOffset(k, u)))),
    sums.map(({ entries, values }, k) => values.map((_, u) => entries.store(0, u, f32x4.add(entries.load(0, u), v128.load(sweep.spill, spillOffset(k, u)))))),
  ]
}

/** All positions of one channel, which lie one after another. */
function alongPositions(place: Place): Code {
  const { f, lanes, sweep, channel, position, pointers, setPointers } = place
  const at = (array: Local): Code => i32.add(array, i32.mul(channel, 4))
  const constants = sweep.constants.map((array) => ({ array, value: new Uniform(f) }))
  const folds = sweep.sums.map((array, k) => ({ array, fold: new RowFold(f, lanes, sweep.spill, foldBytes * k, 'sum') }))
  return [
    set(position, 0), setPointers,
    constants.map(({ array, value }) => value.set(f32.load(at(array)))),
    walkRow(f, lanes, pointers, sweep.spatial, folds.map(({ fold }) => fold), (step) =>
      bundle(place, step, (k) => constants[k]?.value.of(step.vectors) ?? [], (k, u, term) => folds[k]?.fold.add(step, u, term) ?? [])),
    folds.map(({ array, fold }) => f32.store(at(array), f32.add(f32.load(at(array)), fold.total))),
  ]
}
