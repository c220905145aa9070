/**
 * Group norm (Wu and He 2018), y = ((x − μ)·rstd)·w + b over groups of channels, then SiLU if fused.
 *
 * An item is one sample and a block of whole groups, at least 16 channels where there are as many:
 * then a channels-last block reads full cache lines. It makes three passes over its values (sums;
 * centred values and their squares; results), each a `channelSweep` whose per-channel sums are then added up over the
 * group in channel order. What the mean is off by, the mean of the centred values, goes into variance and shift.
 * Nothing depends on which thread takes which item.
 */
import { advance, type Code, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set } from '../core/assembler.ts'
import type { GroupNormDescriptor, GroupNormSizes, Strided } from '../../ir/descriptor.ts'
import { Arguments, begin, end } from '../core/arguments.ts'
import { channelSweep, layoutOf, type Plane, sweepScratch } from './channelSweep.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes, squareRoot } from '../core/lanes.ts'

/** Declares what every norm kernel needs to find its items, and walks them. */
export class GroupItems {
  readonly items: number
  readonly scratchBytes: number
  readonly channels: Local
  readonly perGroup: Local
  readonly spatial: Local
  /** Values in a group, an f32. */
  readonly count: Local
  private readonly groups: Local
  private readonly blocks: Local
  private readonly blockChannels: Local
  /** The start of the scratch memory, `sweepScratch` of which are free. */
  readonly spill: Local

  constructor(args: Arguments, { batch, channels, groups, spatial }: GroupNormSizes, arrays: number) {
    const perGroup = channels / groups
    const together = Math.min(groups, Math.max(1, 16 / greatestCommonDivisor(16, perGroup)))
    const blocks = Math.ceil(groups / together)
    this.items = batch * blocks
    this.scratchBytes = sweepScratch + arrays * 4 * channels
    this.channels = args.number(channels)
    this.perGroup = args.number(perGroup)
    this.spatial = args.number(spatial)
    this.count = args.float(perGroup * spatial)
    this.groups = args.number(groups)
    this.blocks = args.number(blocks)
    this.blockChannels = args.number(together * perGroup)
    this.spill = args.scratch()
  }

  /** Runs `body` for every item: sample n and channels from ≤ c < to. `array` makes the address of one more scratch array, an f32 for each channel. */
  each(f: FunctionBuilder, body: (place: { n: Local; from: Local; to: Local }, array: () => Local) => Code): Code {
    const [item, n, from, to] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')]
    const arrays: Local[] = []
    const code = body({ n, from, to }, () => {
      const array = f.local('i32')
      arrays.push(array)
      return array
    })
    return [
      arrays.map((local, k) => set(local, i32.add(i32.add(this.spill, sweepScratch), i32.mul(this.channels, 4 * k)))),
      loopRange(item, begin, end, 1, [
        set(n, i32.divu(item, this.blocks)),
        set(from, i32.mul(i32.remu(item, this.blocks), this.blockChannels)),
        set(to, minimum(i32.add(from, this.blockChannels), this.channels)),
        code,
      ]),
    ]
  }

  /** Runs parts 0, 2, … once for each group and parts 1, 3, … for each of its channels; `at(array)` addresses the channel's entry, `group` is its number in [sample, group]. */
  eachGroup(f: FunctionBuilder, place: { n: Local; from: Local; to: Local }, parts: (at: (array: Local) => Code, group: Code) => readonly Code[]): Code {
    const [c, first, stop] = [f.local('i32'), f.local('i32'), f.local('i32')]
    const at = (array: Local): Code => i32.add(array, i32.mul(c, 4))
    const group = i32.add(i32.mul(place.n, this.groups), i32.divu(first, this.perGroup))
    const runs = parts(at, group).map((code, k) => (k % 2 === 0 ? code : loopWhile(i32.lt(c, stop), [code, advance(c, 1)])))
    return [
      set(first, place.from),
      loopWhile(i32.lt(first, place.to), [
        set(stop, i32.add(first, this.perGroup)),
        runs.map((code) => [set(c, first), code]),
        set(first, stop),
      ]),
    ]
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/** Byte strides of an operand [sample, channel, position], as arguments, and the plane of sample n. */
export function samplePlane(args: Arguments, buffer: number, { strides: [n = 0, c = 0, s = 0], offset }: Strided): (f: FunctionBuilder, sample: Local) => { locate: Code; plane: Plane } {
  const address = args.buffer(buffer, 4 * offset)
  const [sampleStep, channel, position] = [args.number(4 * n), args.number(4 * c), args.number(4 * s)]
  return (f, sample) => {
    const base = f.local('i32')
    return { locate: set(base, i32.add(address, i32.mul(sample, sampleStep))), plane: { base, channel, position } }
  }
}

/** Inputs x, weight [C], bias [C]; outputs y, mean [N, G], rstd [N, G]. */
export function groupNormKernel(options: GroupNormDescriptor, target: WasmTarget): WasmKernel {
  const { channels, spatial, silu } = options
  const layout = layoutOf(channels, spatial, [options.x, options.y])
  const args = new Arguments()
  const [x, y] = [samplePlane(args, 0, options.x), samplePlane(args, 3, options.y)]
  const [weight, bias, mean, rstd] = [args.buffer(1), args.buffer(2), args.buffer(4), args.buffer(5)]
  const eps = args.float(options.eps)
  const items = new GroupItems(args, options, 4)
  const elements = options.batch * channels * spatial
  return {
    key: `groupNorm ${layout}${silu ? ' silu' : ''}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: elements === 0 ? 0 : items.items,
    scratchBytes: items.scratchBytes,
    flops: elements * (silu ? 30 : 8),
    bytes: 8 * elements,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const [sum, off, value] = [f.local('f32'), f.local('f32'), f.local('f32')]
      const code = items.each(f, (place, array) => {
        const [sums, means, scales, shifts] = [array(), array(), array(), array()]
        const [input, output] = [x(f, place.n), y(f, place.n)]
        const sweep = { layout, spill: items.spill, from: place.from, to: place.to, spatial: items.spatial, planes: [input.plane, output.plane], reads: [0] }
        const add = (at: (array: Local) => Code): Code => [set(sum, f32.add(sum, f32.load(at(sums)))), f32.store(at(sums), 0)]
        const count = f32.reinterpretI32(items.count)
        return [
          input.locate, output.locate,
          items.eachGroup(f, place, (at) => [[], [f32.store(at(sums), 0), f32.store(at(shifts), 0)]]),
          channelSweep(f, lanes, { ...sweep, constants: [], sums: [sums], body: (v) => ({ terms: [v(0)] }) }),
          items.eachGroup(f, place, (at) => [set(sum, 0), add(at), set(value, f32.div(sum, count)), f32.store(at(means), value)]),
          channelSweep(f, lanes, {
            ...sweep, constants: [means], sums: [sums, shifts],
            body(v, constant) {
              const centred = lanes.temporary()
              return { setup: set(centred, f32x4.sub(v(0), constant(0))), terms: [f32x4.mul(centred, centred), centred] }
            },
          }),
          items.eachGroup(f, place, (at, group) => [
            [set(sum, 0), set(off, 0)], [add(at), set(off, f32.add(off, f32.load(at(shifts))))],
            [
              set(off, f32.div(off, count)),
              set(sum, f32.max(f32.sub(f32.div(sum, count), f32.mul(off, off)), 0)),
              set(value, f32.div(1, squareRoot(f32.add(sum, f32.reinterpretI32(eps))))),
              f32.store(i32.add(mean, i32.mul(group, 4)), f32.add(f32.load(at(means)), off)),
              f32.store(i32.add(rstd, i32.mul(group, 4)), value),
            ],
            [f32.store(at(scales), f32.mul(value, f32.load(at(weight)))), f32.store(at(shifts), f32.sub(f32.load(at(bias)), f32.mul(off, f32.load(at(scales)))))],
          ]),
          channelSweep(f, lanes, {
            ...sweep, constants: [means, scales, shifts], sums: [],
            body(v, constant) {
              const z = lanes.temporary()
              return { setup: set(z, lanes.madd(f32x4.sub(v(0), constant(0)), constant(1), constant(2))), stores: [[1, silu ? lanes.silu(z) : z]] }
            },
          }),
        ]
      })
      f.emit(lanes.setup, code)
      return f
    },
  }
}
