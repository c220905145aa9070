/**
 * Looks for NaN, or for anything that is not finite, in the elements of a strided tensor, and sets a word where there is one.
 * An invocation tests one element, by its bits: compilers may take it that floats are never NaN.
 */
import type { Operand } from '../../ir/descriptor.ts'
import { axesOf, mergeAxes, product, sortAxes } from '../../ir/domain.ts'
import type { WgslKernel } from './kernel.ts'
import { Addresses, indent, splitPosition } from './stridedOperands.ts'
import { Shader } from './shader.ts'

const groupSize = 256

export interface AnomalyDescriptor {
  readonly shape: readonly number[]
  readonly operand: Pick<Operand, 'strides' | 'offset'>
  /** How elements lie in memory. */
  readonly dtype: 'f32' | 'f16'
  /** Whether infinities count too. */
  readonly infinities: boolean
  /** Which word is set. */
  readonly flag: number
}

/** Magnitudes above the second number are NaN. */
const bitsOf = { f32: { magnitude: 0x7fffffff, infinity: 0x7f800000 }, f16: { magnitude: 0x7fff, infinity: 0x7c00 } } as const

/** Operands: the tensor, and the words. */
export function anomalyKernel({ shape, operand, dtype, infinities, flag }: AnomalyDescriptor): WgslKernel {
  const count = product(shape)
  const axes = mergeAxes(sortAxes(axesOf(shape, 0, [{ ...operand, dtype }], new Set()), 0))
  const shader = new Shader(`anomalies of ${dtype}`).storage('words', 0, 'read', 'u32').storage('flags', 1, 'read_write', 'atomic<u32>')
  const { magnitude, infinity } = bitsOf[dtype]
  const items = shader.parameter('items', count)
  const { lines, names } = splitPosition(shader, 'id', axes, 'p')
  const addresses = new Addresses(shader, 'p')
  const at = `${addresses.offset(0, { ...operand, dtype })} + ${addresses.along(0, axes, names)}`
  const element = dtype === 'f32' ? 'words[at]' : '(words[at >> 1u] >> (16u * (at & 1u)))'
  const test = [
    ...lines, ...addresses.lines, `let at = ${at};`,
    `if ((${element} & ${shader.parameter('magnitude', magnitude)}) > ${shader.parameter('most', infinities ? infinity - 1 : infinity)}) {`,
    `  atomicStore(&flags[${shader.parameter('flag', flag)}], 1u);`,
    '}',
  ]
  const body = `  if (id < ${items}) {\n${indent(test, 2)}\n  }`
  return { dispatches: count === 0 ? [] : [shader.dispatch({ body, size: groupSize, groups: Math.ceil(count / groupSize) })], flops: 0, bytes: (dtype === 'f32' ? 4 : 2) * count }
}
