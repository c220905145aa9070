/**
 * Positions counted by one number: from it, code works out where each of several strided operands has its element. Sizes,
 * strides and offsets are parameters, so that the code depends on the number of axes that are left after merging alone.
 */
import { mergeStrides } from '../../ir/axes.ts'
import type { Strided } from '../../ir/descriptor.ts'
import type { Shader } from './shader.ts'

export interface Walker extends Strided {
  /** Has one element for four neighbouring positions; others have a vector. */
  readonly shared?: boolean
}

/** By the names of the variables that the code declares. */
type Walkers = Readonly<Record<string, Walker>>

/** Whether four neighbouring positions are a vector in memory, or one element where it is shared. */
export function walksInFours(shape: readonly number[], walkers: Walkers): boolean {
  const all = Object.values(walkers)
  const { sizes, strides } = mergeStrides(shape, all.map((walker) => walker.strides))
  const last = sizes.length - 1
  return (sizes[last] ?? 1) % 4 === 0 && all.every(({ offset, shared = false }, k) =>
    (shared ? strides[k]?.[last] === 0 : offset % 4 === 0 && strides[k]?.every((s, axis) => (axis === last ? s === 1 : s % 4 === 0))))
}

/**
 * Code that declares, for the position of `shape` whose number is the u32 expression `position` (the last axis fastest), an i32
 * variable for each operand: the number of its element there. With a width of 4, positions and elements are counted in vectors.
 */
export function walk(shader: Shader, shape: readonly number[], walkers: Walkers, width: 1 | 4 = 1): (position: string) => string {
  const { sizes, strides } = mergeStrides(shape, Object.values(walkers).map((walker) => walker.strides))
  const last = sizes.length - 1
  const sizeOf = sizes.map((size, axis) => (axis === 0 ? '' : shader.parameter(`size${axis}`, axis === last ? size / width : size)))
  const variables = Object.entries(walkers).map(([name, { offset, shared = false }], k) => {
    const unit = shared ? 1 : width
    return {
      name, offset: shader.parameter(`${name}Offset`, offset / unit, 'i32'),
      steps: shader.parameterList(`${name}Stride`, (strides[k] ?? []).map((s, axis) => (axis === last ? s : s / unit)), 'i32'),
    }
  })
  const axes = sizeOf.map((size, axis) => [
    ...(axis === 0 ? ['let axis0 = i32(position);'] : [`let axis${axis} = i32(position % ${size});`, `position /= ${size};`]),
    ...variables.map(({ name, steps }) => `${name} += axis${axis} * ${steps[axis]};`),
  ])
  return (position) => [
    ...variables.map(({ name, offset }) => `var ${name} = ${offset};`),
    ...(axes.length > 0 ? [`var position = ${position};`] : []),
    ...axes.toReversed().flat(),
  ].map((line) => `    ${line}`).join('\n')
}
