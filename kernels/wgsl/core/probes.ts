/**
 * Kernels that measure what a device can do at most: multiply-adds in registers, with eight independent chains of vectors in each
 * invocation; and a copy, a vector of four for each invocation.
 */
import type { WgslKernel } from './kernel.ts'
import { indent } from './stridedOperands.ts'
import { Shader } from './shader.ts'

const groupSize = 256
const chains = Array.from({ length: 8 }, (_, i) => `sum${i}`)
const unrolled = 4

/** `rounds` of a loop in each of `groups` workgroups. Operands: a word for each invocation, so that nothing is left out. */
export function multiplyAddProbe(groups: number, rounds: number): WgslKernel {
  const shader = new Shader('multiply-add probe').storage('sums', 0, 'read_write')
  const [limit, factor, term] = [shader.parameter('rounds', rounds), shader.parameter('factor', 0.5, 'f32'), shader.parameter('term', 0.5, 'f32')]
  const round = Array.from({ length: unrolled }, () => chains.map((sum) => `${sum} = ${sum} * ${factor} + ${term};`)).flat()
  const body = `
${indent(chains.map((sum, i) => `var ${sum} = vec4<f32>(f32(id + ${i}u));`))}
  for (var round = 0u; round < ${limit}; round++) {
${indent(round, 2)}
  }
  let all = ${chains.join(' + ')};
  sums[id] = all.x + all.y + all.z + all.w;`
  const invocations = groups * groupSize
  return { dispatches: [shader.dispatch({ body, size: groupSize, groups })], flops: invocations * rounds * unrolled * chains.length * 8, bytes: 4 * invocations }
}

/** Operands: of `elements` f32 each, a multiple of four. */
export function copyProbe(elements: number): WgslKernel {
  const shader = new Shader('copy probe').storage('x', 0, 'read', 'vec4<f32>').storage('y', 1, 'read_write', 'vec4<f32>')
  const body = `  if (id < ${shader.parameter('vectors', elements / 4)}) { y[id] = x[id]; }`
  return { dispatches: [shader.dispatch({ body, size: groupSize, groups: Math.ceil(elements / 4 / groupSize) })], flops: 0, bytes: 8 * elements }
}
