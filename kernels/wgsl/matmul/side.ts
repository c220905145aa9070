/**
 * One factor of a product of matrices, as its tiles are read: `lines` (rows of a, columns of b) by `depth`, the summed index.
 * A matrix, or an image whose element is found by where its line and its depth meet, zero outside (implicit GEMM:
 * Chetlur et al. 2014, "cuDNN"). A tile goes through registers into workgroup memory in groups of four elements along
 * the axis that is adjacent in memory, and stays in that order: each mode's inner product reads groups of either kind.
 */
import { type Axes, comesInFours, Digits, innermost } from '../core/digits.ts'
import { every } from '../core/stridedOperands.ts'
import type { Shader } from '../core/shader.ts'

export interface Side {
  readonly buffer: number
  /** Of the element at line 0 and depth 0. */
  readonly offset: number
  /** What the problem, the line and the depth add to the offset; the latter two also to each coordinate. */
  readonly problems: Axes
  readonly lines: Axes
  readonly depth: Axes
  /** Elements with a coordinate outside 0 ≤ c < extent are zero. */
  readonly coordinates: readonly { readonly base: number; readonly extent: number }[]
}

/** How four elements are read at a time. */
export interface Access {
  readonly along: 'lines' | 'depth'
  /** As one vector. */
  readonly vector: boolean
}

/** Vectors wherever four neighbours are one; otherwise along the axis whose neighbours lie closest. */
export function accessOf({ offset, problems, lines, depth, coordinates }: Side): Access {
  const aligned = offset % 4 === 0 && problems.strides[0]?.every((s) => s % 4 === 0) === true
  const inFours = (inner: Axes, outer: Axes): boolean =>
    aligned && comesInFours(inner, 0) && coordinates.every((_, i) => innermost(inner).strides[1 + i] === 0) && outer.strides[0]?.every((s, axis) => s % 4 === 0 || outer.sizes[axis] === 1) === true
  if (inFours(depth, lines)) return { along: 'depth', vector: true }
  if (inFours(lines, depth)) return { along: 'lines', vector: true }
  const step = (axes: Axes): number => (innermost(axes).size === 1 ? Infinity : Math.abs(innermost(axes).strides[0] ?? 0))
  return { along: step(depth) < step(lines) ? 'depth' : 'lines', vector: false }
}

interface TileSide {
  /** Of a tile. */
  readonly lines: number
  readonly depth: number
  /** Invocations of the workgroup. */
  readonly threads: number
  /** Invocations that share the lines, each with the fours of lines `thread`, `thread + spread` and so on. */
  readonly spread: number
}

/** Unused vectors behind each row of a tile whose groups run along the depth, so that stores hit different banks. */
const padding = 2
const components = ['x', 'y', 'z', 'w'] as const

const indexes = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Writes the code that moves one side's tiles. Everything it declares begins with `name`. */
export class SideLoader {
  readonly access: Access
  private readonly name: string
  private readonly tile: TileSide
  private readonly whole: boolean
  private readonly lines: Digits
  private readonly depth: Digits
  private readonly lineCount: string
  private readonly offset: string
  private readonly extents: readonly { readonly base: string; readonly extent: string }[]
  private readonly next: (at: string) => string[]

  /** `whole`: every tile has all of its depth. `thread`: text of the invocation's number among those that share the lines. */
  constructor(shader: Shader, name: string, side: Side, tile: TileSide, { whole, lineCount, scalar }: { readonly whole: boolean; readonly lineCount: string; readonly scalar: 'f32' | 'f16' }) {
    this.name = name
    this.tile = tile
    this.whole = whole
    this.lineCount = lineCount
    this.access = accessOf(side)
    shader.storage(name, side.buffer, 'read', this.access.vector ? `vec4<${scalar}>` : scalar)
    this.offset = shader.parameter(`${name}Offset`, side.offset, 'i32')
    this.lines = new Digits(shader, `${name}Line`, side.lines)
    this.depth = new Digits(shader, `${name}Depth`, side.depth)
    this.next = this.depth.advance(tile.depth)
    this.extents = side.coordinates.map(({ base, extent }, i) => ({ base: shader.parameter(`${name}Base${i}`, base, 'i32'), extent: shader.parameter(`${name}Extent${i}`, extent) }))
  }

  /** Groups of four in a tile. */
  private get groups(): number {
    return (this.tile.lines * this.tile.depth) / 4
  }

  /** Groups that each invocation reads of a tile; there may be fewer than invocations. */
  private get passes(): number {
    return Math.max(1, this.groups / this.tile.threads)
  }

  /** Groups side by side along the axis of access, and how many of the other axis the invocations cover at once. */
  private get slots(): { readonly across: number; readonly step: number } {
    const across = (this.access.along === 'depth' ? this.tile.depth : this.tile.lines) / 4
    return { across, step: this.tile.threads / across }
  }

  private get lanes(): number {
    return this.access.vector ? 1 : 4
  }

  /** Positions of lines and of depths that an invocation keeps track of. */
  private get kept(): { readonly lines: number; readonly depths: number } {
    return this.access.along === 'depth' ? { lines: this.passes, depths: this.lanes } : { lines: this.lanes, depths: this.passes }
  }

  /** Workgroup memory, in vectors. */
  get memory(): number {
    return this.access.along === 'depth' ? (this.tile.depth / 4) * (this.tile.lines + padding) : (this.tile.lines / 4) * this.tile.depth
  }

  get code(): string {
    return `var<workgroup> ${this.name}Tile: array<vec4<f32>, ${this.memory}>;`
  }

  /** Finds the invocation's elements of the first tile: lines from `line`, depths from `first`. */
  prologue(line: string, first: string, problem: string): string[] {
    const { name } = this
    const { across, step } = this.slots
    const alongDepth = this.access.along === 'depth'
    const lineAt = (i: number): string => (alongDepth ? `${name}Row + ${i * step}u` : `4u * ${name}Slot + ${i}u`)
    // Invocations without a group of their own read another's.
    const own = this.groups < this.tile.threads ? `(local % ${this.groups}u)` : 'local'
    return [
      `let ${name}Slot = ${own} % ${across}u;`,
      `let ${name}Row = ${own} / ${across}u;`,
      ...indexes(this.kept.lines).flatMap((i) => [
        // Lines past the last are read as if they were the last: nothing of them is kept.
        ...this.lines.declare(`${name}Line${i}`, `min(${line} + ${lineAt(i)}, ${this.lineCount} - ${this.access.vector && !alongDepth ? 4 : 1}u)`),
        `let ${name}Line${i}At = ${this.offset} + ${problem} + ${this.lines.quantity(`${name}Line${i}`, 0)};`,
        ...this.extents.map(({ base }, c) => `let ${name}Line${i}C${c} = ${base} + ${this.lines.quantity(`${name}Line${i}`, 1 + c)};`),
      ]),
      ...indexes(this.kept.depths).flatMap((i) => this.depth.declare(`${name}Depth${i}`, `${first} + ${this.depthAt(i)}`, 'var')),
      ...indexes(this.passes).map((p) => `var ${name}Next${p} = vec4<f32>();`),
    ]
  }

  private depthAt(i: number): string {
    return this.access.along === 'depth' ? `4u * ${this.name}Slot + ${i}u` : `${this.name}Row + ${i * this.slots.step}u`
  }

  /** Reads the tile at depth `k0` into registers, and moves on to the one after. */
  fetch(k0: string, end: string): string[] {
    const { name, extents } = this
    const alongDepth = this.access.along === 'depth'
    const read = (pass: number, lane: number): string => {
      const [line, depth] = alongDepth ? [pass, lane] : [lane, pass]
      const inside = [
        ...(this.whole ? [] : [`${name}Depth${depth}In`]),
        ...extents.map(({ extent }, c) => `u32(${name}Line${line}C${c} + ${name}Depth${depth}C${c}) < ${extent}`),
      ]
      const at = `u32(${name}Line${line}At + ${name}Depth${depth}At)`
      // What is not there is read as the first element is, lest a branch make others wait.
      const held = inside.length === 0 ? at : `select(0u, ${at}, ${every(inside)})`
      const [zero, value] = this.access.vector ? ['vec4<f32>()', `vec4<f32>(${name}[${held} >> 2u])`] : ['0.0', `f32(${name}[${held}])`]
      return inside.length === 0 ? value : `select(${zero}, ${value}, ${every(inside)})`
    }
    return [
      ...indexes(this.kept.depths).flatMap((i) => [
        ...(this.whole ? [] : [`let ${name}Depth${i}In = ${k0} + ${this.depthAt(i)} < ${end};`]),
        `let ${name}Depth${i}At = ${this.depth.quantity(`${name}Depth${i}`, 0)};`,
        ...extents.map((_, c) => `let ${name}Depth${i}C${c} = ${this.depth.quantity(`${name}Depth${i}`, 1 + c)};`),
      ]),
      ...indexes(this.passes).map((p) => `${name}Next${p} = ${this.access.vector ? read(p, 0) : `vec4<f32>(${indexes(4).map((lane) => read(p, lane)).join(', ')})`};`),
      ...indexes(this.kept.depths).flatMap((i) => this.next(`${name}Depth${i}`)),
    ]
  }

  /** Puts the registers into workgroup memory. */
  store(): string[] {
    const { name } = this
    const { across, step } = this.slots
    const row = this.access.along === 'depth' ? this.tile.lines + padding : 0
    const stores = indexes(this.passes)
      .map((p) => (this.access.along === 'depth' ? `${name}Tile[${name}Slot * ${row}u + ${name}Row + ${p * step}u]` : `${name}Tile[(${name}Row + ${p * step}u) * ${across}u + ${name}Slot]`) + ` = ${name}Next${p};`)
    return this.groups < this.tile.threads ? [`if (local < ${this.groups}u) { ${stores.join(' ')} }`] : stores
  }

  /**
   * Where line `l` of group `group` of an invocation lies in the tile. With depth along the groups, lines of neighbouring
   * invocations are neighbours, which read from different banks; else an invocation has four in a row.
   */
  lineOf(thread: string, group: number, l: number): string {
    const { spread } = this.tile
    return this.access.along === 'depth' ? `${(4 * group + l) * spread}u + ${thread}` : `${4 * group * spread + l}u + 4u * ${thread}`
  }

  /** Reads four depths, those of step `s` (text), of an invocation's group of four lines. */
  read(thread: string, group: number, s: string): string[] {
    const { name, tile } = this
    const at = (i: number): string => (this.access.along === 'depth'
      ? `${s} * ${tile.lines + padding}u + ${this.lineOf(thread, group, i)}`
      : `(4u * ${s} + ${i}u) * ${tile.lines / 4}u + ${group * tile.spread}u + ${thread}`)
    return indexes(4).map((i) => `let ${name}${group}_${i} = ${name}Tile[${at(i)}];`)
  }

  /** One of the elements read. */
  element(group: number, line: number, depth: number): string {
    const [vector, component] = this.access.along === 'depth' ? [line, depth] : [depth, line]
    return `${this.name}${group}_${vector}.${components[component]}`
  }

  /** The four lines at a depth. */
  fourLines(group: number, depth: number): string {
    return this.access.along === 'lines' ? `${this.name}${group}_${depth}` : `vec4<f32>(${indexes(4).map((l) => this.element(group, l, depth)).join(', ')})`
  }
}
