/**
 * Indices over several axes in generated code: a number is cut into digits, the last axis fastest, and each digit moves
 * quantities (addresses, coordinates) by a stride. Sizes and strides are parameters; a stride of 0 is left out of the code.
 */
import { mergeStrides } from '../../ir/axes.ts'
import type { Shader } from './shader.ts'

/** Sizes, and for each quantity its stride along every axis. */
export interface Axes {
  readonly sizes: readonly number[]
  readonly strides: readonly (readonly number[])[]
}

/** The axes of `outer`, then those of `inner`. */
export const joinAxes = (outer: Axes, inner: Axes): Axes =>
  ({ sizes: [...outer.sizes, ...inner.sizes], strides: outer.strides.map((strides, q) => [...strides, ...(inner.strides[q] ?? [])]) })

/** What is adjacent: the size of the fastest axis and the strides along it, after merging. */
export function innermost(axes: Axes): { readonly size: number; readonly strides: readonly number[] } {
  const { sizes, strides } = mergeStrides(axes.sizes, axes.strides)
  return { size: sizes.at(-1) ?? 1, strides: strides.map((s) => s.at(-1) ?? 0) }
}

/** Whether four neighbours, counted from a multiple of four, always lie side by side on a multiple of four elements. */
export function comesInFours(axes: Axes, quantity: number): boolean {
  const { sizes, strides } = mergeStrides(axes.sizes, axes.strides)
  const [size = 1, steps = []] = [sizes.at(-1), strides[quantity]]
  return size % 4 === 0 && steps.at(-1) === 1 && steps.slice(0, -1).every((s) => s % 4 === 0)
}

export class Digits {
  private readonly shader: Shader
  private readonly name: string
  private readonly sizes: readonly number[]
  /** Text of each size but the first, which bounds nothing. */
  private readonly sizeOf: readonly string[]
  /** Text of each quantity's strides, or undefined where it does not move. */
  private readonly strideOf: readonly (readonly (string | undefined)[])[]

  constructor(shader: Shader, name: string, axes: Axes) {
    const { sizes, strides } = mergeStrides(axes.sizes, axes.strides)
    this.shader = shader
    this.name = name
    this.sizes = sizes.length === 0 ? [1] : sizes
    this.sizeOf = this.sizes.map((size, axis) => (axis === 0 ? '' : shader.parameter(`${name}Size${axis}`, size)))
    this.strideOf = strides.map((steps, q) => steps.map((s, axis) => (s === 0 ? undefined : shader.parameter(`${name}Stride${q}_${axis}`, s, 'i32'))))
  }

  /** Declares the digits of `index`, a u32 expression, under the name `at`. */
  declare(at: string, index: string, keyword: 'let' | 'var' = 'let'): string[] {
    const lines: string[] = []
    let rest = index
    for (let axis = this.sizes.length - 1; axis > 0; axis--) {
      lines.push(`let ${at}Rest${axis} = ${rest};`, `${keyword} ${at}_${axis} = i32(${at}Rest${axis} % ${this.sizeOf[axis]});`)
      rest = `${at}Rest${axis} / ${this.sizeOf[axis]}`
    }
    return [...lines, `${keyword} ${at}_0 = i32(${rest});`]
  }

  /** The i32 quantity at the digits declared as `at`, counted from its value at 0. */
  quantity(at: string, q: number): string {
    const terms = (this.strideOf[q] ?? []).flatMap((stride, axis) => (stride === undefined ? [] : [`${at}_${axis} * ${stride}`]))
    return terms.length === 0 ? '0' : terms.join(' + ')
  }

  /** Parameters that `advance` reads: the digits of `by`. */
  private stepsOf(by: number): string[] {
    let rest = by
    const digits = this.sizes.map(() => 0)
    for (let axis = this.sizes.length - 1; axis > 0; axis--) {
      const size = Math.max(1, this.sizes[axis] ?? 1)
      digits[axis] = rest % size
      rest = Math.floor(rest / size)
    }
    digits[0] = rest
    return this.shader.parameterList(`${this.name}Next`, digits, 'i32')
  }

  /** Code that moves digits declared as variables `by` positions on: a sum with carries, cheaper than divisions. */
  advance(by: number): (at: string) => string[] {
    const steps = this.stepsOf(by)
    return (at) => this.sizes.map((_, axis) => axis).toReversed().flatMap((axis) => [
      `${at}_${axis} += ${steps[axis]};`,
      ...(axis === 0 ? [] : [`if (${at}_${axis} >= i32(${this.sizeOf[axis]})) { ${at}_${axis} -= i32(${this.sizeOf[axis]}); ${at}_${axis - 1} += 1; }`]),
    ])
  }
}
