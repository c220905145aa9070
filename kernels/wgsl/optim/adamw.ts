/**
 * AdamW (Loshchilov and Hutter 2019) in place over a segment of memory that holds any number of tensors, with an exponential moving
 * average of the parameters if wanted. Parameters, gradients, moments and averages have a buffer each, in which a tensor's
 * elements have the same places. An invocation updates a vector of four.
 *
 * Scalars first:
 *   decay = 1 − lr·weightDecay     size = lr / correction1     root = 1 / √correction2
 * then for every element:
 *   g′ = g·gradScale
 *   m′ = m + (1 − beta1)·(g′ − m)
 *   v′ = beta2·v + (1 − beta2)·(g′·g′)
 *   p′ = p·decay − (size·m′) / (√v′·root + eps)
 *   ema′ = ema + emaWeight·(p′ − ema)
 * If `apply` is 0 nothing is written, whatever g holds.
 */
import type { WgslKernel } from '../core/kernel.ts'
import { Shader } from '../core/shader.ts'

const size = 256
/** What the f32 of the buffer `numbers` mean, in order. `correction1` is 1 − beta1ᵗ, `correction2` is 1 − beta2ᵗ. */
const names = ['lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'correction1', 'correction2', 'gradScale', 'emaWeight', 'apply'] as const

export interface AdamwSegmentDescriptor {
  /** Buffers have whole vectors; what is beyond the last element stays as it is. */
  readonly elements: number
  readonly ema: boolean
}

/** Buffers numbers [10], p, g, m, v, (ema); p, m, v and ema are outputs as well. */
export function adamwKernel({ elements, ema }: AdamwSegmentDescriptor): WgslKernel {
  const shader = new Shader('adamw').storage('numbers', 0, 'read')
  const results = ['p', 'm', 'v', ...(ema ? ['ema'] : [])]
  shader.storage('p', 1, 'read_write', 'vec4<f32>').storage('g', 2, 'read', 'vec4<f32>').storage('m', 3, 'read_write', 'vec4<f32>').storage('v', 4, 'read_write', 'vec4<f32>')
  if (ema) shader.storage('ema', 5, 'read_write', 'vec4<f32>')
  const count = shader.parameter('elements', elements)
  const body = `
  // By its bits: implementations may take it that there is no NaN, which is not 0 either.
  let applies = (bitcast<u32>(numbers[${names.indexOf('apply')}]) & 0x7fffffffu) != 0u;
  if (applies && 4u * id < ${count}) {
${names.slice(0, ema ? -1 : -2).map((name, i) => `    let ${name} = numbers[${i}];`).join('\n')}
    let decay = 1.0 - lr * weightDecay;
    let size = lr / correction1;
    let root = 1.0 / sqrt(correction2);
${results.map((name) => `    let ${name}Before = ${name}[id];`).join('\n')}
    let scaled = g[id] * gradScale;
    let mAfter = mBefore + (1.0 - beta1) * (scaled - mBefore);
    let vAfter = beta2 * vBefore + (1.0 - beta2) * (scaled * scaled);
    let pAfter = pBefore * decay - (size * mAfter) / (sqrt(vAfter) * root + eps);${ema ? `
    let emaAfter = emaBefore + emaWeight * (pAfter - emaBefore);` : ''}
    let inside = 4u * id + vec4(0u, 1u, 2u, 3u) < vec4(${count});
${results.map((name) => `    ${name}[id] = select(${name}Before, ${name}After, inside);`).join('\n')}
  }`
  const lists = 2 * results.length + 1
  return {
    dispatches: elements === 0 ? [] : [shader.dispatch({ body, size, groups: Math.ceil(elements / 4 / size) })],
    flops: elements * (ema ? 17 : 14),
    bytes: 4 * elements * lists,
  }
}
