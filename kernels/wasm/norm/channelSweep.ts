/**
 * One pass over the values of some channels of one sample, [channel, position], for the norm kernels:
 * loads them, computes, stores results and adds up terms per channel.
 *
 * Layout `last` (channels contiguous): blocks of 64 positions, and in each panels of 16, 4 and 1
 * channels that walk the block with their per-channel sums in registers. `first` (positions
 * contiguous): channel by channel, lanes run over positions. `any`: one channel at a time.
 * Sums go to memory after every block of positions, which keeps their rounding error small.
 */
import { advance, type Code, doWhile, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, settled, v128 } from '../core/assembler.ts'
import type { Strided } from '../../ir/descriptor.ts'
import { type Lanes, sumLanes, Uniform } from '../core/lanes.ts'

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
  /** From the values at one place of each plane and the constants of its channel: what to store, by plane, and the terms. */
  body(values: readonly Local[], constants: readonly Code[]): { setup: Code; stores: readonly (readonly [plane: number, value: Code])[]; terms: readonly Code[] }
  /** Planes that are read. */
  readonly reads: readonly number[]
}

/** Vectors of a bundle. */
const width = 4

/** Sums that a sweep can have. */
const mostSums = 2
export const sweepScratch: number = 16 * width * mostSums

export function channelSweep(f: FunctionBuilder, lanes: Lanes, sweep: Sweep): Code {
  const [channel, position, stop] = [f.local('i32'), f.local('i32'), f.local('i32')]
  const pointers = sweep.planes.map(() => f.local('i32'))
  const setPointers = sweep.planes.map((plane, i) => {
    const pointer = pointers[i]
    const start = i32.add(plane.base, i32.mul(position, plane.position))
    return pointer === undefined ? [] : set(pointer, i32.add(start, i32.mul(channel, sweep.layout === 'last' ? 4 : plane.channel)))
  })
  const place = { f, lanes, sweep, channel, position, stop, pointers, setPointers }
  /** All positions, a block at a time. */
  const blocks = (size: number, body: Code): Code => [
    set(position, 0),
    loopWhile(i32.lt(position, sweep.spatial), [set(stop, minimum(i32.add(position, size), sweep.spatial)), body, set(position, stop)]),
  ]
  if (sweep.layout === 'first') return loopRange(channel, sweep.from, sweep.to, 1, blocks(4096, alongPositions(place)))
  const panel = (vectors: number, scalar: boolean): Code => {
    const width = scalar ? 1 : 4 * vectors
    return loopWhile(i32.le(i32.add(channel, width), sweep.to), [alongChannels(place, vectors, scalar), advance(channel, width)])
  }
  // All panels of a block before the next block: neighbouring cache lines are used together.
  return blocks(64, [set(channel, sweep.from), sweep.layout === 'last' ? [panel(width, false), panel(1, false)] : [], panel(1, true)])
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

/** `vectors` bundles of the body at the pointers, loads before stores; `add` receives each vector's terms. */
function bundle({ lanes, sweep, pointers }: Place, vectors: number, scalar: boolean, constants: readonly (readonly Code[])[], sums: readonly (readonly Local[])[]): Code {
  const load: Code[] = []
  const compute: Code[] = []
  const store: Code[] = []
  for (let u = 0; u < vectors; u++) {
    const values = sweep.planes.map(() => lanes.temporary())
    for (const i of sweep.reads) {
      const [value, pointer] = [values[i], pointers[i]]
      if (value !== undefined && pointer !== undefined) load.push(set(value, scalar ? v128.load32Zero(pointer) : v128.load(pointer, 16 * u)))
    }
    const { setup, stores, terms } = sweep.body(values, constants[u] ?? [])
    compute.push(setup)
    for (const [i, value] of stores) {
      const result = lanes.temporary()
      const pointer = pointers[i]
      compute.push(set(result, value))
      if (pointer !== undefined) store.push(scalar ? v128.store32Lane(pointer, result, 0) : v128.store(pointer, result, 16 * u))
    }
    terms.forEach((term, k) => {
      const sum = sums[u]?.[k]
      if (sum !== undefined) compute.push(set(sum, f32x4.add(sum, term)))
    })
  }
  return [load, compute, store]
}

const localGrid = (f: FunctionBuilder, rows: number, columns: number): Local[][] => Array.from({ length: rows }, () => Array.from({ length: columns }, () => f.local('v128')))
const zeroAll = (grid: readonly (readonly Local[])[]): Code => grid.map((row) => row.map((local) => set(local, 0)))

const spillOffset = (sum: number, vector: number): number => 16 * (width * sum + vector)
/** Running sums become 256 bits wide only if they end in adjacent stores to addresses that nothing else is stored to. */
const spill = (sweep: Sweep, sums: readonly (readonly Local[])[]): Code =>
  sweep.sums.map((_, k) => sums.map((row, u) => { const sum = row[k]; return sum === undefined ? [] : v128.store(sweep.spill, settled(sum), spillOffset(k, u)) }))
const spilled = (sweep: Sweep, sum: number, vector: number): Code => v128.load(sweep.spill, spillOffset(sum, vector))

/** A block of positions of a panel of channels. */
function alongChannels(place: Place, vectors: number, scalar: boolean): Code {
  const { f, lanes, sweep, channel, position, stop, pointers, setPointers } = place
  const left = f.local('i32')
  const sums = localGrid(f, vectors, sweep.sums.length)
  const at = (array: Local): Code => i32.add(array, i32.mul(channel, 4))
  const constants = sums.map((_, u) => sweep.constants.map((array) => {
    const local = f.local('v128')
    return { local, code: set(local, scalar ? v128.load32Zero(at(array)) : v128.load(at(array), 16 * u)) }
  }))
  const inner = lanes.within(vectors, () => bundle(place, vectors, scalar, constants.map((row) => row.map((c) => c.local)), sums))
  const flush = sweep.sums.map((array, k) => sums.map((_, u) => (scalar
    ? v128.store32Lane(at(array), f32x4.add(v128.load32Zero(at(array)), spilled(sweep, k, u)), 0)
    : v128.store(at(array), f32x4.add(v128.load(at(array), 16 * u), spilled(sweep, k, u)), 16 * u))))
  return [
    setPointers,
    constants.map((row) => row.map((c) => c.code)),
    zeroAll(sums),
    set(left, i32.sub(stop, position)),
    doWhile([
      inner,
      sweep.planes.map((plane, i) => { const pointer = pointers[i]; return pointer === undefined ? [] : advance(pointer, plane.position) }),
      advance(left, -1),
      lanes.clear,
    ], left),
    spill(sweep, sums),
    flush,
  ]
}

/** A block of positions of one channel, which lie one after another. */
function alongPositions(place: Place): Code {
  const { f, lanes, sweep, channel, position, stop, pointers, setPointers } = place
  const left = f.local('i32')
  const at = (array: Local): Code => i32.add(array, i32.mul(channel, 4))
  const constants = sweep.constants.map((array) => {
    const local = new Uniform(f)
    return { local, code: local.set(f32.load(at(array))) }
  })
  const [wide, single, tail] = [localGrid(f, width, sweep.sums.length), localGrid(f, 1, sweep.sums.length), localGrid(f, 1, sweep.sums.length)]
  const next = (bytes: number): Code => pointers.map((pointer) => advance(pointer, bytes))
  const run = (u: number, scalar: boolean, sums: readonly (readonly Local[])[]): Code => {
    const elements = scalar ? 1 : 4 * u
    const shared = constants.map((c) => c.local.of(u))
    const inner = lanes.within(u, () => bundle(place, u, scalar, Array.from({ length: u }, () => shared), sums))
    return loopWhile(i32.ge(left, elements), [inner, next(4 * elements), advance(left, -elements), lanes.clear])
  }
  const total = (array: Local, k: number): Code => {
    const [rest, last] = [single[0]?.[k], tail[0]?.[k]]
    if (rest === undefined || last === undefined) return []
    return [
      set(rest, f32x4.add(rest, f32x4.add(f32x4.add(spilled(sweep, k, 0), spilled(sweep, k, 1)), f32x4.add(spilled(sweep, k, 2), spilled(sweep, k, 3))))),
      f32.store(at(array), f32.add(f32.load(at(array)), f32.add(sumLanes(rest), f32x4.extract(last, 0)))), // of the last only lane 0 counts
    ]
  }
  return [
    setPointers,
    constants.map((c) => c.code),
    zeroAll(wide), zeroAll(single), zeroAll(tail),
    set(left, i32.sub(stop, position)),
    run(width, false, wide), run(1, false, single), run(1, true, tail),
    spill(sweep, wide),
    sweep.sums.map(total),
  ]
}
