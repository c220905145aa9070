/**
 * Gather along an axis: out[…, i, …] = x[…, index[…, i, …], …]. An invocation copies one element, or four that are neighbours in
 * x and out and share an index (rows of an embedding). An index outside the axis reads nothing: its elements become NaN, or 0 in
 * integer types.
 */
import type { GatherDescriptor } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import type { StorageType } from '../../ir/expression.ts'
import type { WgslKernel } from '../core/kernel.ts'
import { Shader } from '../core/shader.ts'
import { walksInFours, walk } from '../core/walk.ts'

const size = 256
const nan = 0x7fc00000
const invalid = { f32: nan, bf16: nan, f16: nan, i32: 0, u32: 0, u8: 0, bool: 0 } as const

/** Inputs x, index (i32); output out. `dtype` is that in which x and out lie in memory. */
export function gatherKernel({ shape, axis, extent, x, index, out, ...d }: GatherDescriptor, dtype: StorageType | 'f16' = d.dtype): WgslKernel {
  // Along the axis x moves by the index, not by the position.
  const still = { ...x, strides: x.strides.map((s, k) => (k === axis ? 0 : s)) }
  const step = x.strides[axis] ?? 0
  const walkers = { xAt: still, indexAt: { ...index, shared: true }, outAt: out }
  const width = step % 4 === 0 && walksInFours(shape, walkers) ? 4 : 1
  const element = dtype === 'f16' ? 'f16' : 'u32'
  const type = width === 4 ? `vec4<${element}>` as const : element
  const shader = new Shader('gather').storage('x', 0, 'read', type).storage('index', 1, 'read', 'i32').storage('out', 2, 'read_write', type)
  const elements = product(shape)
  const n = {
    count: shader.parameter('count', elements / width), extent: shader.parameter('extent', extent),
    step: shader.parameter('step', step / width, 'i32'), invalid: shader.parameter('invalid', invalid[dtype]),
  }
  const body = `
  if (id < ${n.count}) {
${walk(shader, shape, walkers, width)('id')}
    let chosen = index[indexAt];
    var value = ${type}(${dtype === 'f16' ? `f16(bitcast<f32>(${n.invalid}))` : n.invalid});
    if (u32(chosen) < ${n.extent}) { value = x[xAt + chosen * ${n.step}]; }
    out[outAt] = value;
  }`
  return {
    dispatches: elements === 0 ? [] : [shader.dispatch({ body, size, groups: Math.ceil(elements / width / size) })],
    flops: 0,
    bytes: elements * (dtype === 'f16' ? 4 : 8) + (4 * elements) / width,
  }
}
