/**
 * A factor of a product copied so that its tiles are read in vectors: the weights of a convolution lie with the taps side by
 * side, not the channels. Many lines of the other factor meet each element, so that the copy costs little beside the product.
 */
import { product } from '../../ir/domain.ts'
import { type Axes, Digits, joinAxes } from '../core/digits.ts'
import type { Dispatch } from '../core/kernel.ts'
import { bytesOf, indent } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'
import { accessOf, type Side } from './side.ts'

/** A copy is read at least so often, by as many tiles as have these lines. */
const leastLines = 512

/** Whether a copy of `side` can be read by vectors where it cannot itself, by enough of the `others` lines to be worth while. */
export function packable(side: Side, others: number): boolean {
  return others >= leastLines && side.coordinates.length === 0 && !accessOf(side).vector && [side.lines, side.depth].some(({ sizes }) => product(sizes) % 4 === 0)
}

/** Copies `side` into `buffer`. */
export function packSide(label: string, side: Side, dtype: 'f32' | 'f16', buffer: number): { readonly packed: Side; readonly dispatch: Dispatch; readonly bytes: number } {
  const [lines, depth] = [product(side.lines.sizes), product(side.depth.sizes)]
  const linesInside = lines % 4 === 0
  // Problems that share the factor share its copy.
  const problems: Axes = { sizes: side.problems.sizes.map((size, axis) => (side.problems.strides[0]?.[axis] === 0 ? 1 : size)), strides: [side.problems.strides[0] ?? []] }
  const problemSteps = problems.sizes.map((size, axis) => (size === 1 ? 0 : lines * depth * product(problems.sizes.slice(axis + 1))))
  const elements = product(problems.sizes) * lines * depth
  const size = 256
  const shader = new Shader(`${label}, copy of a factor`).storage('factor', side.buffer, 'read', dtype).storage('copy', buffer, 'read_write', dtype)
  const [count, offset] = [shader.parameter('elements', elements), shader.parameter('offset', side.offset, 'i32')]
  const [outer, inner] = linesInside ? [side.depth, side.lines] : [side.lines, side.depth]
  const digits = new Digits(shader, 'factor', joinAxes(joinAxes(problems, outer), inner))
  const body = `
  if (id < ${count}) {
${indent(digits.declare('digit', 'id'), 2)}
    copy[id] = factor[u32(${offset} + ${digits.quantity('digit', 0)})];
  }`
  return {
    packed: {
      buffer, offset: 0, coordinates: [], problems: { sizes: side.problems.sizes, strides: [problemSteps] },
      lines: { sizes: [lines], strides: [[linesInside ? 1 : depth]] }, depth: { sizes: [depth], strides: [[linesInside ? lines : 1]] },
    },
    dispatch: shader.dispatch({ body, size, groups: Math.ceil(elements / size) }),
    bytes: bytesOf(dtype) * elements,
  }
}
