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
import { type Code, type FunctionBuilder, get, i32, type Local, loopRange, loopWhile, minimum, set, v128, when } from '../core/assembler.ts'
import type { WasmKernel } from '../core/kernel.ts'

/** Lanes are the output's neighbours, positions the input's. */
const tile = { lanes: 64, positions: 64 } as const
const stripPositions = 4 * tile.positions
/** Below so many positions the general kernel, which gathers along lanes, is as fast. */
const fewPositions = 8

const advance = (pointer: Local, bytes: Code): Code => set(pointer, i32.add(get(pointer), bytes))

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
  const strip = i32.mul(get(position), i32.const(4))
  /** Four lanes of `count` positions from `from`, to `into`, `step` bytes apart. */
  const fourLanes = (first: Local): Code => {
    const rows = [local(), local(), local(), local()]
    const [left, value] = [local(), f.local('v128')]
    const column = (offset: number): Code => [
      set(value, v128.load32Zero(get(rows[0] ?? first), offset)),
      rows.slice(1).map((r, k) => set(value, v128.load32Lane(get(r), get(value), k + 1, offset))),
      v128.store(get(into), get(value)),
      advance(into, get(step)),
    ]
    const columns = (n: number): Code => [Array.from({ length: n }, (_, c) => column(4 * c)), rows.map((r) => advance(r, i32.const(4 * n))), advance(left, i32.const(-n))]
    return [
      rows.map((r, k) => set(r, k === 0 ? get(first) : i32.add(get(rows[k - 1] ?? first), get(laneStep)))),
      set(left, get(count)),
      loopWhile(i32.ge(get(left), i32.const(4)), columns(4)),
      loopWhile(get(left), columns(1)),
    ]
  }
  const overLanes = (start: Code): Code => [
    set(at, get(from)),
    set(lane, i32.const(0)),
    loopWhile(i32.le(i32.add(get(lane), i32.const(4)), get(lanes)), [
      set(into, i32.add(start, i32.shl(get(lane), i32.const(2)))),
      fourLanes(at),
      advance(at, i32.shl(get(laneStep), i32.const(2))),
      advance(lane, i32.const(4)),
    ]),
  ]
  const whole = [
    set(step, i32.const(4 * tile.lanes)),
    overLanes(get(scratch)),
    set(row, get(scratch)),
    set(into, get(to)),
    loopRange(lane, i32.const(0), get(count), 1, [
      loopRange(step, i32.const(0), i32.shl(get(lanes), i32.const(2)), 64,
        Array.from({ length: 4 }, (_, v) => v128.store(i32.add(get(into), get(step)), v128.load(i32.add(get(row), get(step)), 16 * v), 16 * v))),
      advance(row, i32.const(4 * tile.lanes)),
      advance(into, get(positionStep)),
    ]),
  ]
  const ragged = [
    set(step, get(positionStep)),
    overLanes(get(to)),
    loopRange(lane, get(lane), get(lanes), 1, [
      set(into, i32.add(get(to), i32.shl(get(lane), i32.const(2)))),
      loopRange(row, get(at), i32.add(get(at), i32.shl(get(count), i32.const(2))), 4, [
        i32.store(get(into), i32.load(get(row))),
        advance(into, get(step)),
      ]),
      advance(at, get(laneStep)),
    ]),
  ]
  f.emit(loopRange(item, get(begin), get(end), 1, [
    set(rest, get(item)),
    set(position, i32.mul(i32.remu(get(rest), get(along)), i32.const(stripPositions))),
    set(rest, i32.divu(get(rest), get(along))),
    set(lane, i32.mul(i32.remu(get(rest), get(across)), i32.const(tile.lanes))),
    set(rest, i32.divu(get(rest), get(across))),
    set(from, i32.add(i32.add(get(source), i32.mul(get(lane), get(laneStep))), strip)),
    set(to, i32.add(i32.add(get(target), i32.shl(get(lane), i32.const(2))), i32.mul(get(position), get(positionStep)))),
    nest.locate(f, rest, [from, to]),
    set(lanes, minimum(i32.sub(get(width), get(lane)), i32.const(tile.lanes))),
    set(last, minimum(get(height), i32.add(get(position), i32.const(stripPositions)))),
    loopWhile(i32.lt(get(position), get(last)), [
      set(count, minimum(i32.sub(get(last), get(position)), i32.const(tile.positions))),
      when(i32.and(get(lanes), i32.const(15)), ragged, whole),
      advance(from, i32.const(4 * tile.positions)),
      advance(to, i32.mul(get(positionStep), i32.const(tile.positions))),
      advance(position, i32.const(tile.positions)),
    ]),
  ]))
  return f
}
