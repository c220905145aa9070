/**
 * Sums of squares over chunks of tensors, for the norm of a gradient: a workgroup sums a chunk, its invocations every 256th vector of
 * four, then a tree over the invocations. Tensors may lie side by side in one buffer, which then takes one dispatch; where
 * chunks begin is a table.
 */
import type { WgslKernel } from '../core/kernel.ts'
import { Shader } from '../core/shader.ts'

const size = 256

export interface SquaredNormDescriptor {
  /** Elements of a chunk; a multiple of four. */
  readonly chunk: number
  /** In the order of their partial sums: the operand they lie in, their first element there (a multiple of four), and how many there are. */
  readonly tensors: readonly { readonly buffer: number; readonly first: number; readonly elements: number }[]
  /** The operand that gets the sums, one for each chunk. */
  readonly output: number
  /** How many operands there are. */
  readonly operands: number
}

const code = `
var<workgroup> parts: array<f32, ${size}>;
`

export function squaredNormKernel({ chunk, tensors, output, operands }: SquaredNormDescriptor): WgslKernel {
  const buffers = [...new Set(tensors.map(({ buffer }) => buffer))]
  const chunks = tensors.flatMap(({ buffer, first, elements }) => Array.from({ length: Math.ceil(elements / chunk) }, (_, i) => ({ buffer, first: first / 4 + (i * chunk) / 4, elements: Math.min(chunk, elements - i * chunk) })))
  const tables = buffers.map((buffer) => Uint32Array.from(chunks.flatMap((c, place) => (c.buffer === buffer ? [c.first, c.elements, place] : []))))
  const dispatches = buffers.map((buffer, b) => {
    const groups = (tables[b]?.length ?? 0) / 3
    const shader = new Shader('sums of squares').storage('x', buffer, 'read', 'vec4<f32>').storage('table', operands + b, 'read', 'u32').storage('sums', output, 'read_write')
    const count = shader.parameter('groups', groups)
    const body = `
  let chunk = 3u * min(workgroup, ${count} - 1u);
  let elements = table[chunk + 1u];
  var sum = vec4<f32>();
  for (var i = local; 4u * i < elements; i += ${size}u) {
    let value = select(vec4<f32>(), x[table[chunk] + i], 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(elements));
    sum += value * value;
  }
  parts[local] = (sum.x + sum.y) + (sum.z + sum.w);
  for (var half = ${size / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { parts[local] += parts[local + half]; }
  }
  if (local == 0u && workgroup < ${count}) { sums[table[chunk + 2u]] = parts[0]; }`
    return shader.dispatch({ code, body, size, groups })
  })
  const elements = tensors.reduce((sum, t) => sum + t.elements, 0)
  return { dispatches, tables, flops: 2 * elements, bytes: 4 * (elements + 4 * chunks.length) }
}
