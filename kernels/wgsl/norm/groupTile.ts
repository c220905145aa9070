/**
 * How group norm cuts its samples into workgroups. Lines are channels, elements their positions. A tile that holds whole
 * groups needs one dispatch; larger groups are cut along their positions into parts, whose sums per channel another
 * dispatch puts together.
 */
import type { GroupNormSizes, Strided } from '../../ir/descriptor.ts'
import { adjacentIn, ceilToPower, floorToPower, invocations, type LineTile, locateLane, mostInvocations, mostPerLane } from '../core/lineTile.ts'
import type { Shader } from '../core/shader.ts'

export interface GroupTile {
  readonly tile: LineTile
  /** Every group lies in one workgroup. */
  readonly whole: boolean
  /** Workgroups along the channels and along the positions of a sample, and in all. */
  readonly blocks: number
  readonly parts: number
  readonly workgroups: number
  /** Positions in a part. */
  readonly length: number
}

/** Enough to occupy a large device, and the fewest invocations that make a workgroup worth its while. */
const enoughWorkgroups = 512
const fewestInvocations = 64
/** Neighbouring channels that fill a cache line's worth of memory. */
const adjacentChannels = 16

export function groupTile(sizes: GroupNormSizes, operands: readonly Strided[]): GroupTile {
  const { batch, channels, spatial } = sizes
  const adjacent = adjacentIn(operands)
  const finish = (tile: LineTile, whole: boolean): GroupTile => {
    const length = tile.lanes * tile.perLane
    const [blocks, parts] = [Math.ceil(channels / tile.lines), Math.ceil(spatial / length)]
    return { tile, whole, blocks, parts, workgroups: batch * blocks * parts, length }
  }
  const together = wholeGroups(sizes, adjacent)
  if (together !== undefined) return finish(together, true)
  const lines = adjacent === 'lines' ? Math.min(32, ceilToPower(channels)) : Math.min(ceilToPower(channels), mostInvocations / Math.min(mostInvocations, ceilToPower(spatial)))
  const lanes = Math.min(mostInvocations / lines, ceilToPower(spatial))
  const cut = (perLane: number): GroupTile => finish({ lines, lanes, perLane, adjacent }, false)
  let result = cut(Math.min(mostPerLane, ceilToPower(spatial / lanes)))
  while (result.workgroups < enoughWorkgroups && result.tile.perLane > 4) result = cut(result.tile.perLane / 2)
  return result
}

/** A tile of whole groups, as few as fill a workgroup reasonably; undefined where a group is too large for one. */
function wholeGroups({ channels, groups, spatial }: GroupNormSizes, adjacent: LineTile['adjacent']): LineTile | undefined {
  const tileOf = (together: number): LineTile => {
    const lines = Math.max(1, together * (channels / groups))
    const lanes = Math.min(floorToPower(mostInvocations / lines), ceilToPower(spatial))
    return { lines, lanes, perLane: ceilToPower(spatial / lanes), adjacent }
  }
  const fits = ({ lines, perLane }: LineTile): boolean => lines <= mostInvocations && perLane <= mostPerLane
  let [together, tile] = [1, tileOf(1)]
  if (!fits(tile)) return undefined
  while (together < groups && (invocations(tile) < fewestInvocations || (adjacent === 'lines' && tile.lines < adjacentChannels))) {
    const next = tileOf(++together)
    if (!fits(next)) break
    tile = next
  }
  return tile
}

/** Names for the sizes that the code below reads. */
export interface GroupParameters {
  readonly channels: string
  readonly perGroup: string
  readonly groups: string
  readonly spatial: string
  readonly parts: string
  readonly blocks: string
  readonly workgroups: string
}

export function groupParameters(shader: Shader, { channels, groups, spatial }: GroupNormSizes, { parts, blocks, workgroups }: GroupTile): GroupParameters {
  const parameter = (name: string, value: number): string => shader.parameter(name, value)
  return {
    channels: parameter('channels', channels), perGroup: parameter('perGroup', Math.max(1, channels / groups)), groups: parameter('groups', groups), spatial: parameter('spatial', spatial),
    parts: parameter('parts', parts), blocks: parameter('blocks', blocks), workgroups: parameter('workgroups', workgroups),
  }
}

/**
 * Declares an invocation's `sample`, `part` and `channel` (`present` unless it is beyond the last), the place `statistic` of those of its
 * group, and its positions `p0`, `p1`, … of which those before `stop` exist.
 */
export function locateGroup({ tile, length }: GroupTile, { channels, perGroup, groups, spatial, parts, blocks, workgroups }: GroupParameters): string {
  return `
    if (workgroup >= ${workgroups}) { return; }
    ${locateLane(tile)}
    let part = workgroup % ${parts};
    let sample = workgroup / ${parts} / ${blocks};
    let channelOfTile = (workgroup / ${parts} % ${blocks}) * ${tile.lines}u + line;
    let present = channelOfTile < ${channels};
    let channel = min(channelOfTile, ${channels} - 1u);
    let statistic = sample * ${groups} + channel / ${perGroup};
    let stop = select(0u, ${spatial}, present);
    ${Array.from({ length: tile.perLane }, (_, k) => `let p${k} = part * ${length}u + lane + ${k * tile.lanes}u;`).join('\n    ')}`
}

/** Where elements of an operand [sample, channel, position] lie. */
export class Plane {
  private readonly name: string
  private readonly offset: string
  private readonly steps: readonly string[]

  constructor(shader: Shader, name: string, { strides, offset }: Strided) {
    this.name = name
    this.offset = shader.parameter(`${name}Offset`, offset, 'i32')
    this.steps = shader.parameterList(`${name}Step`, strides, 'i32')
  }

  /** Declares where the invocation's channel begins. */
  get locate(): string {
    return `let ${this.name}Base = ${this.offset} + i32(sample) * ${this.steps[0]} + i32(channel) * ${this.steps[1]};`
  }

  at(position: string): string {
    return `${this.name}[${this.name}Base + i32(${position}) * ${this.steps[2]}]`
  }
}
