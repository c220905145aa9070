/**
 * Copies in which neighbours in the output are no neighbours in the input, but those along another axis are.
 * That axis and the output's last make a plane, which is copied in tiles of 64 × 64 elements: collected
 * four input rows at a time in scratch memory, then written in runs of whole cache lines. So both sides
 * are walked in long runs, and strides that fall on one cache set do no harm. Four rows become four columns
 * by loads of single lanes: shuffles are not safe where V8 widens code. An item is a strip of up to four tiles.
 */
import { mergeStrides } from '../../ir/axes.ts'
import type { MapDescriptor } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import { sizeShift } from '../core/access.ts'
import { Arguments, begin, end, Nest } from '../core/arguments.ts'
import { advance, type Code, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import type { WasmKernel } from '../core/kernel.ts'

/** Lanes are the output's neighbours, positions the input's. */
const tile = { lanes: 64, positions: 64 } as const
const stripPositions = 4 * tile.positions
/** Below so many positions the general kernel, which gathers along lanes, is as fast. */
const fewPositions = 8

/** The kernel of a map that only transposes elements of four bytes; undefined for others. */
export function transposeKernel({ shape, inputs: [input], outputs: [output, second] }: MapDescriptor): WasmKernel | undefined {
  if (input === undefined || output === undefined || second !== undefined) return undefined
  const { operand: out, value } = output
  if (value.op !== 'load' || value.value !== 0 || input.mask !== undefined || input.dtype !== out.dtype || sizeShift[out.dtype] !== 2) return undefined
  const { sizes, strides: [from = [], to = []] } = mergeStrides(shape, [input.strides, out.strides])
  const [lanes, positions] = [to.indexOf(1), from.indexOf(1)]
  if (product(shape) === 0 || lanes < 0 || positions < 0 || lanes === positions) return undefined
  const outer = [...sizes.keys()].filter((axis) => axis !== lanes && axis !== positions)
  const bytesOf = (strides: readonly number[]): number[] => outer.map((axis) => 4 * (strides[axis] ?? 0))
  const [width, height] = [sizes[lanes] ?? 1, sizes[positions] ?? 1]
  if (height < fewPositions) return undefined
  const strips = { across: Math.ceil(width / tile.lanes), along: Math.ceil(height / stripPositions) }

  const args = new Arguments()
  const [source, target, scratch] = [args.buffer(0, 4 * input.offset), args.buffer(1, 4 * out.offset), args.scratch()]
  const nest = new Nest(args, outer.map((axis) => sizes[axis] ?? 1), [bytesOf(from), bytesOf(to)])
  const plane: Plane = {
    source, target, scratch, nest,
    width: args.number(width), height: args.number(height),
    across: args.number(strips.across), along: args.number(strips.along),
    laneStep: args.number(4 * (from[lanes] ?? 0)), positionStep: args.number(4 * (to[positions] ?? 0)),
  }
  return {
    key: `transpose|${nest.key}`,
    args: args.list,
    items: nest.size * strips.across * strips.along,
    scratchBytes: 4 * tile.lanes * tile.positions,
    flops: 0,
    bytes: 4 * product(sizes.map((n, axis) => (from[axis] === 0 ? 1 : n))) + 4 * product(shape),
    build: () => build(args, plane),
  }
}

interface Plane {
  readonly source: Local
  readonly target: Local
  readonly scratch: Local
  readonly nest: Nest
  /** Lanes, and positions. */
  readonly width: Local
  readonly height: Local
  /** Strips side by side, and one behind the other. */
  readonly across: Local
  readonly along: Local
  /** Bytes between lanes of the input, and between positions of the output. */
  readonly laneStep: Local
  readonly positionStep: Local
}

function build(args: Arguments, { source, target, scratch, nest, width, height, across, along, laneStep, positionStep }: Plane): FunctionBuilder {
  const f = args.open()
  const local = (): Local => f.local('i32')
  const [item, rest, from, to, lanes, position, last, count, at, into, lane, step, row] = [local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local(), local()]
  const strip = i32.mul(position, 4)
  /** Four lanes of `count` positions from `from`, to `into`, `step` bytes apart. */
  const fourLanes = (first: Local): Code => {
    const rows = [local(), local(), local(), local()]
    const [left, value] = [local(), f.local('v128')]
    const column = (offset: number): Code => [
      set(value, v128.load32Zero(rows[0] ?? first, offset)),
      rows.slice(1).map((r, k) => set(value, v128.load32Lane(r, value, k + 1, offset))),
      v128.store(into, value),
      advance(into, step),
    ]
    const columns = (n: number): Code => [Array.from({ length: n }, (_, c) => column(4 * c)), rows.map((r) => advance(r, 4 * n)), advance(left, -n)]
    return [
      rows.map((r, k) => set(r, k === 0 ? first : i32.add(rows[k - 1] ?? first, laneStep))),
      set(left, count),
      loopWhile(i32.ge(left, 4), columns(4)),
      loopWhile(left, columns(1)),
    ]
  }
  const overLanes = (start: Code): Code => [
    set(at, from),
    set(lane, 0),
    loopWhile(i32.le(i32.add(lane, 4), lanes), [
      set(into, i32.add(start, i32.shl(lane, 2))),
      fourLanes(at),
      advance(at, i32.shl(laneStep, 2)),
      advance(lane, 4),
    ]),
  ]
  const whole = [
    set(step, 4 * tile.lanes),
    overLanes(scratch),
    set(row, scratch),
    set(into, to),
    loopRange(lane, 0, count, 1, [
      loopRange(step, 0, i32.shl(lanes, 2), 64,
        Array.from({ length: 4 }, (_, v) => v128.store(i32.add(into, step), v128.load(i32.add(row, step), 16 * v), 16 * v))),
      advance(row, 4 * tile.lanes),
      advance(into, positionStep),
    ]),
  ]
  const ragged = [
    set(step, positionStep),
    overLanes(to),
    loopRange(lane, lane, lanes, 1, [
      set(into, i32.add(to, i32.shl(lane, 2))),
      loopRange(row, at, i32.add(at, i32.shl(count, 2)), 4, [
        i32.store(into, i32.load(row)),
        advance(into, step),
      ]),
      advance(at, laneStep),
    ]),
  ]
  f.emit(loopRange(item, begin, end, 1, [
    set(rest, item),
    set(position, i32.mul(i32.remu(rest, along), stripPositions)),
    set(rest, i32.divu(rest, along)),
    set(lane, i32.mul(i32.remu(rest, across), tile.lanes)),
    set(rest, i32.divu(rest, across)),
    set(from, i32.add(i32.add(source, i32.mul(lane, laneStep)), strip)),
    set(to, i32.add(i32.add(target, i32.shl(lane, 2)), i32.mul(position, positionStep))),
    nest.locate(f, rest, [from, to]),
    set(lanes, minimum(i32.sub(width, lane), tile.lanes)),
    set(last, minimum(height, i32.add(position, stripPositions))),
    loopWhile(i32.lt(position, last), [
      set(count, minimum(i32.sub(last, position), tile.positions)),
      when(i32.and(lanes, 15), ragged, whole),
      advance(from, 4 * tile.positions),
      advance(to, i32.mul(positionStep, tile.positions)),
      advance(position, tile.positions),
    ]),
  ]))
  return f
}
