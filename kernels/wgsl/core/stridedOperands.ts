/**
 * Strided, masked operands in generated WGSL: which buffers a dispatch binds, how positions become addresses, and the statements
 * that load elements. Sizes, strides, offsets and bounds are parameters, but strides of 0 and 1. Arithmetic wraps at 2³², which
 * negative strides and the one comparison for both bounds of a mask rely on.
 */
import type { Operand } from '../../ir/descriptor.ts'
import type { Axis } from '../../ir/domain.ts'
import type { Expression, StorageType } from '../../ir/expression.ts'
import { elementType, literal, widen } from './emit.ts'
import type { WgslTarget } from './kernel.ts'
import type { ElementType, Shader } from './shader.ts'

const mostBuffers = 8

/** How one operand's buffer is bound. */
export interface Bound {
  readonly array: string
  readonly held: 'f32' | 'f16' | 'i32' | 'u32'
  /** The array is of vectors of four. */
  readonly quads: boolean
}

/** For each operand, whether it is read, written or left alone, and whether it is fit to be accessed by aligned vectors of four. */
export interface Use {
  readonly operand: Operand
  readonly access: 'read' | 'write' | 'none'
  readonly quads: boolean
}

/** Fails for operands of f16 on a device without it. */
export function checkF16(kernel: string, target: WgslTarget, types: readonly StorageType[]): void {
  if (!target.f16 && types.includes('f16')) throw new TypeError(`${kernel}: this device has no f16: use f32`)
}

export const bytesOf = (dtype: StorageType): number => (dtype === 'f16' ? 2 : 4)

/** The buffers whose operands in use can all be accessed by vectors. */
export function quadBuffers(uses: readonly Use[], buffers: readonly number[]): ReadonlySet<number> {
  const used = uses.flatMap((use, i) => (use.access === 'none' ? [] : [{ quads: use.quads, buffer: buffers[i] ?? i }]))
  const without = new Set(used.filter((use) => !use.quads).map((use) => use.buffer))
  return new Set(used.map((use) => use.buffer).filter((buffer) => !without.has(buffer)))
}

/** Binds what `uses` says, a buffer once whatever it holds: in its elements' type, or as bits where operands differ in that. Undefined for operands left alone. */
export function bindOperands(kernel: string, shader: Shader, uses: readonly Use[], buffers: readonly number[], quads: ReadonlySet<number>): (Bound | undefined)[] {
  const used = uses.map((use, i) => ({ ...use, buffer: buffers[i] ?? i })).filter((use) => use.access !== 'none')
  const distinct = [...new Set(used.map((use) => use.buffer))]
  if (distinct.length > mostBuffers) throw new RangeError(`${kernel}: ${distinct.length} buffers, of which a kernel can bind ${mostBuffers}: compute part of it first`)
  const bound = new Map(distinct.map((buffer, n): [number, Bound] => {
    const here = used.filter((use) => use.buffer === buffer)
    const types = new Set(here.map((use) => elementType[use.operand.dtype]))
    const [held = 'u32'] = types.size === 1 ? types : []
    if (types.size > 1 && types.has('f16')) throw new TypeError(`${kernel}: buffer ${buffer} holds f16 and other types, which one kernel cannot read: give them buffers of their own`)
    const array = `buffer${n}`
    shader.storage(array, buffer, here.some((use) => use.access === 'write') ? 'read_write' : 'read', quads.has(buffer) ? `vec4<${held}>` : held)
    return [buffer, { array, held, quads: quads.has(buffer) }]
  }))
  return uses.map((use, i) => (use.access === 'none' ? undefined : bound.get(buffers[i] ?? i)))
}

/** Statements that split `flat` into a position along each axis, the last running fastest; the names are `prefix` and the axis. */
export function splitPosition(shader: Shader, flat: string, axes: readonly Axis[], prefix: string): { readonly lines: string[]; readonly names: string[] } {
  const names = axes.map((_, a) => `${prefix}${a}`)
  const lines: string[] = []
  let rest = flat
  for (let a = axes.length - 1; a >= 0; a--) {
    if (a === 0) lines.push(`let ${prefix}0 = ${rest};`)
    else {
      const size = shader.parameter(`${prefix}Size${a}`, axes[a]?.size ?? 1)
      lines.push(`let ${prefix}${a} = ${rest} % ${size};`, `let ${prefix}Rest${a} = ${rest} / ${size};`)
      rest = `${prefix}Rest${a}`
    }
  }
  return { lines, names }
}

/** A sum of products, without what is zero. */
const sum = (terms: readonly string[]): string => (terms.length === 0 ? '0u' : terms.join(' + '))

/** Addresses of operands along some axes; operands that move alike share a statement. */
export class Addresses {
  readonly lines: string[] = []
  private readonly shader: Shader
  private readonly prefix: string
  private readonly known = new Map<string, string>()
  private readonly parameters = new Map<string, string>()

  constructor(shader: Shader, prefix: string) {
    this.shader = shader
    this.prefix = prefix
  }

  /** How far operand `o` is from where it starts, at the positions called `names` along `axes`. */
  along(o: number, axes: readonly Axis[], names: readonly string[]): string {
    const strides = axes.map((axis) => axis.strides[o] ?? 0)
    const key = `${strides.join()}@${names.join()}`
    const known = this.known.get(key)
    if (known !== undefined) return known
    const terms = strides.flatMap((stride, a) => {
      const name = names[a] ?? '0u'
      return stride === 0 ? [] : [stride === 1 ? name : `${name} * ${this.stride(o, a, stride)}`]
    })
    const name = this.name(sum(terms))
    this.known.set(key, name)
    return name
  }

  stride(o: number, axis: number, stride: number): string {
    return this.parameter(`Stride${o}_${axis}`, stride)
  }

  /** Where operand `o` starts. */
  offset(o: number, operand: Operand): string {
    return this.parameter(`Offset${o}`, operand.offset)
  }

  /** Whether operand `o` exists at the positions `names`, as a condition; undefined if it does everywhere. */
  exists(o: number, axes: readonly Axis[], names: readonly string[]): string | undefined {
    const conditions = axes.flatMap((axis, a) => {
      const range = axis.ranges[o]
      if (range === undefined) return []
      const [lo, length] = [this.parameter(`Lo${o}_${a}`, range[0]), this.parameter(`Length${o}_${a}`, range[1] - range[0])]
      return [`${names[a]} - ${lo} < ${length}`]
    })
    return conditions.length === 0 ? undefined : every(conditions)
  }

  private parameter(name: string, value: number): string {
    const text = this.parameters.get(name) ?? this.shader.parameter(`${this.prefix}${name}`, value)
    this.parameters.set(name, text)
    return text
  }

  private name(code: string): string {
    const name = `${this.prefix}At${this.known.size}`
    this.lines.push(`let ${name} = ${code};`)
    return name
  }
}

/** Loads `code`, of `type`, into `name`, or zero where `exists` does not hold. */
export function loadLines(name: string, code: string, type: ElementType, exists: string | undefined): string[] {
  return exists === undefined ? [`let ${name} = ${code};`] : [`var ${name} = ${type}();`, `if (${exists}) { ${name} = ${code}; }`]
}

export interface Operands {
  readonly uses: readonly Use[]
  readonly bound: readonly (Bound | undefined)[]
}

/** An index or a load at the positions `names` along `axes`, as a value of its type; `loaded` is an input's element, undefined where it is zero. */
export function leafOf(kernel: string, e: Expression, { uses, bound }: Operands, axes: readonly Axis[], names: readonly string[], loaded: (o: number) => string | undefined): string {
  if (e.op === 'index') {
    const name = names[axes.findIndex((axis) => axis.index === e.value)]
    return name === undefined ? 'i32(0)' : `i32(${name})`
  }
  const use = uses[e.value]
  if (use === undefined) throw new RangeError(`${kernel}: there is no input ${e.value}`)
  const element = loaded(e.value)
  return element === undefined ? literal(0, e.type) : widen(element, use.operand.dtype, bound[e.value]?.held ?? 'f32', e.type)
}

/** That all `conditions` hold, found without branches, which && has. */
export const every = (conditions: readonly string[]): string => (conditions.length === 1 ? conditions.join() : conditions.map((c) => `(${c})`).join(' & '))

/** Statements indented by so many levels. */
export const indent = (lines: readonly string[], levels = 1): string => lines.map((line) => `${'  '.repeat(levels)}${line}`).join('\n')
