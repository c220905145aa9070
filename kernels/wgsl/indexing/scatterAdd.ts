/**
 * Scatter by addition: y = x, then y[…, index[…, i, …], …] += src[…, i, …] along an axis: the gradient of gather.
 *
 * An invocation owns an element of y, or four neighbours that share their indices (the gradient of an embedding), and adds its
 * sources in the order of i. It looks at every index of its line if those are few; else lines of indices are sorted first, each
 * once however many columns share it, and sources for an element are neighbours that a binary search finds. A source whose index
 * lies outside the axis is dropped, and marks its line: element 0 becomes NaN (floats only).
 */
import type { ScatterAddDescriptor, Strided } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import type { WgslKernel } from '../core/kernel.ts'
import { packedLines } from '../core/lines.ts'
import { Shader } from '../core/shader.ts'
import { sortLines } from './sort.ts'
import { walksInFours, walk } from '../core/walk.ts'

const size = 256
/** Up to so many indices in a line, looking at all costs less than sorting them. */
const few = 32
/** Sources that are loaded at once, so that they do not wait for one another. */
const atOnce = 8
const [order, keys, temporary] = [4, 5, 6]

/** Inputs x, index (i32), src; output y. */
export function scatterAddKernel({ shape, axis, extent, x, index, src, y, dtype }: ScatterAddDescriptor): WgslKernel {
  const whole = shape.map((n, k) => (k === axis ? extent : n))
  const sources = shape[axis] ?? 1
  const sorted = sources > few
  const still = ({ strides, offset }: Strided): Strided => ({ strides: strides.map((s, k) => (k === axis ? 0 : s)), offset })
  // Positions that share their indices are one line of them.
  const lines = shape.map((n, k) => (k === axis || index.strides[k] === 0 ? 1 : n))
  const packed = packedLines(lines, sources, order)
  const line = sorted ? { strides: packed.strides.map((s, k) => (lines[k] === 1 ? 0 : s)), offset: 0 } : still(index)
  const step = src.strides[axis] ?? 0
  const walkersWith = (shared: boolean) => ({
    xAt: { ...x, shared }, srcAt: still(src), yAt: y, lineAt: { ...line, shared: true }, place: { strides: shape.map((_, k) => (k === axis ? 1 : 0)), offset: 0, shared: true },
  })
  // All of x may be one element, such as 0.
  const shared = [false, true].find((choice) => step % 4 === 0 && walksInFours(whole, walkersWith(choice)))
  const [width, walkers] = [shared === undefined ? 1 : 4, walkersWith(shared ?? false)] as const

  const scalar = dtype === 'f32' ? 'f32' : 'u32'
  const type = width === 4 ? `vec4<${scalar}>` as const : scalar
  const shader = new Shader('scatterAdd').storage('x', 0, 'read', shared === true ? scalar : type).storage('src', 2, 'read', type).storage('y', 3, 'read_write', type)
  if (sorted) shader.storage('order', order, 'read', 'i32').storage('keys', keys, 'read', 'u32')
  else shader.storage('index', 1, 'read', 'i32')
  const elements = product(whole)
  const n = {
    count: shader.parameter('count', elements / width), extent: shader.parameter('extent', extent), sources: shader.parameter('sources', sources, 'i32'),
    step: shader.parameter('step', step / width, 'i32'), indexStep: sorted ? '' : shader.parameter('indexStep', index.strides[axis] ?? 0, 'i32'),
  }
  const source = (i: string): string => `src[srcAt + ${i} * ${n.step}]`
  const each = Array.from({ length: atOnce }, (_, i) => i)
  const search = `
    let end = lineAt + ${n.sources};
    var at = lineAt;
    var high = end;
    while (at < high) {
      let middle = (at + high) / 2;
      if (keys[middle] < u32(place)) { at = middle + 1; } else { high = middle; }
    }
    while (at + ${atOnce - 1} < end && keys[at + ${atOnce - 1}] == u32(place)) {
      ${each.map((i) => `let source${i} = ${source(`order[at + ${i}]`)};`).join('\n      ')}
      ${each.map((i) => `value += source${i};`).join('\n      ')}
      at += ${atOnce};
    }
    while (at < end && keys[at] == u32(place)) {
      value += ${source('order[at]')};
      at++;
    }
    let outside = keys[end - 1] >= ${n.extent};`
  const lookAtAll = `
    var outside = false;
    for (var i = 0; i < ${n.sources}; i++) {
      let chosen = index[lineAt + i * ${n.indexStep}];
      if (chosen == place) { value += ${source('i')}; }
      outside = outside || u32(chosen) >= ${n.extent};
    }`
  const mark = dtype === 'f32' ? `
    if (outside && place == 0) { value = ${type}(bitcast<f32>(${shader.parameter('nan', 0x7fc00000)})); }` : ''
  const body = `
  if (id < ${n.count}) {
${walk(shader, whole, walkers, width)('id')}
    var value = ${type}(x[xAt]);
    ${sorted ? search : lookAtAll}${mark}
    y[yAt] = value;
  }`
  const sort = sorted && elements > 0
    ? sortLines({ shape: lines, length: sources, from: { ...still(index), buffer: 1, step: index.strides[axis] ?? 0 }, keyOf: '\n  return bits;', to: packed, keys, temporary })
    : { dispatches: [], temporaries: [] }
  const listed = 4 * product(lines) * sources
  return {
    dispatches: elements === 0 ? [] : [...sort.dispatches, shader.dispatch({ body, size, groups: Math.ceil(elements / width / size) })],
    ...(sort.dispatches.length > 0 ? { temporaries: [listed, listed, ...sort.temporaries] } : {}),
    flops: product(shape),
    bytes: 8 * elements + 4 * product(shape) + listed,
  }
}
