/**
 * Random words from Philox4x32-10 (see kernels/ir/philox.ts): row r of the output is the stream of key r from the 64-bit counter r. An
 * invocation makes the four words of one counter. Products of 64 bits are put together from those of halves of 16 bits.
 */
import { philoxMultipliers, philoxRounds, philoxWeyl } from '../../ir/philox.ts'
import type { WgslKernel } from '../core/kernel.ts'
import { Shader } from '../core/shader.ts'

const size = 256

const code = `
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let middle = (a >> 16u) * (b & 0xffffu) + (((a & 0xffffu) * (b & 0xffffu)) >> 16u);
  let carry = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (carry >> 16u);
}

fn philoxRound(c: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
  let high = vec2(multiplyHigh(${philoxMultipliers[0]}u, c.x), multiplyHigh(${philoxMultipliers[1]}u, c.z));
  return vec4(high.y ^ c.y ^ key.x, ${philoxMultipliers[1]}u * c.z, high.x ^ c.w ^ key.y, ${philoxMultipliers[0]}u * c.x);
}`

/** Inputs key u32 [rows, 2], counter u32 [rows, 2] (low, high); output u32 [rows, length]. */
export function philoxKernel({ rows, length }: { readonly rows: number; readonly length: number }): WgslKernel {
  const whole = length % 4 === 0
  const shader = new Shader('philox').storage('keys', 0, 'read', 'u32').storage('counters', 1, 'read', 'u32').storage('words', 2, 'read_write', whole ? 'vec4<u32>' : 'u32')
  const blocks = Math.ceil(length / 4)
  const [count, blocksOf, lengthOf] = [shader.parameter('count', rows * blocks), shader.parameter('blocks', blocks), shader.parameter('length', length)]
  const rounds = Array.from({ length: philoxRounds }, (_, i) => `
    c = philoxRound(c, key + vec2(${Math.imul(i, philoxWeyl[0]) >>> 0}u, ${Math.imul(i, philoxWeyl[1]) >>> 0}u));`).join('')
  const store = whole ? 'words[id] = c;' : `
    let first = row * ${lengthOf} + 4u * block;
    let left = ${lengthOf} - 4u * block;
    words[first] = c.x;
    if (left > 1u) { words[first + 1u] = c.y; }
    if (left > 2u) { words[first + 2u] = c.z; }
    if (left > 3u) { words[first + 3u] = c.w; }`
  const body = `
  if (id < ${count}) {
    let row = id / ${blocksOf};
    let block = id % ${blocksOf};
    let key = vec2(keys[2u * row], keys[2u * row + 1u]);
    let low = counters[2u * row] + block;
    var c = vec4(low, counters[2u * row + 1u] + u32(low < block), 0u, 0u);
    ${rounds}
    ${store}
  }`
  return {
    dispatches: rows * blocks === 0 ? [] : [shader.dispatch({ code, body, size, groups: Math.ceil((rows * blocks) / size) })],
    flops: 25 * rows * length,
    bytes: 4 * rows * length,
  }
}
