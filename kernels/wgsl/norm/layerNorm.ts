/**
 * Layer norm (Ba et al., arXiv:1607.06450) of rows, y = (x − μ)·rstd·w + b with rstd = 1 / √(σ² + eps), and its
 * gradient: with x̂ = (x − μ)·rstd, g = dy·w and ⟨·⟩ a row's mean, dx = rstd·(g − ⟨g⟩ − x̂·⟨g·x̂⟩). Uncentred, as RMS
 * norm (Zhang and Sennrich, arXiv:1910.07467), μ and ⟨g⟩ are 0. A workgroup takes some whole rows; variances are of centred values,
 * whose own mean is what μ is off by.
 */
import type { LayerNormDescriptor, LayerNormGradDescriptor } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import type { WgslKernel, WgslTarget } from '../core/kernel.ts'
import { foldLines, stored } from '../core/lineTile.ts'
import { checkF16 } from '../core/stridedOperands.ts'
import { Rows } from './rows.ts'
import { Shader } from '../core/shader.ts'

/** Inputs x, weight and bias [length]; outputs y, mean (zeros if not centred) and rstd [rows]. Of these x and y are of type `dtype`. */
export function layerNormKernel({ rows, length, centred, x, y, eps }: LayerNormDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  checkF16('layerNorm', target, [dtype])
  const costs = { flops: 8 * rows * length, bytes: (dtype === 'f16' ? 4 : 8) * rows * length }
  if (rows * length === 0) return { dispatches: [], ...costs }
  const shader = new Shader('layerNorm').storage('x', 0, 'read', dtype).storage('weight', 1, 'read').storage('bias', 2, 'read')
    .storage('y', 3, 'read_write', dtype).storage('means', 4, 'read_write').storage('rstds', 5, 'read_write')
  const walk = new Rows(shader, rows, length, { x: { strided: x, read: true }, y: { strided: y, read: false } })
  const [count, added] = [shader.parameter('count', length, 'f32'), shader.parameter('eps', eps, 'f32')]
  const findMean = `
    var sum = 0.0;
    ${walk.each(({ x: value }) => `sum += ${value};`)}
    let mean = sumOf(vec2(sum, 0.0), local, lane, line, 1u).x / ${count};`
  return {
    dispatches: [shader.dispatch({
      size: walk.size, groups: walk.groups, code: foldLines(walk.tile, 'sumOf', { type: 'vec2<f32>' }),
      body: `
    ${walk.enter}
    ${centred ? findMean : 'let mean = 0.0;'}
    var sums = vec2(0.0);
    ${walk.each(({ x: value }) => `{ let centred = ${value} - mean; sums += vec2(centred, centred * centred); }`)}
    let averages = sumOf(sums, local, lane, line, 1u) / ${count};
    let off = ${centred ? 'averages.x' : '0.0'};
    let rstd = inverseSqrt(max(averages.y - off * off, 0.0) + ${added});
    if (lane == 0u && present) { means[row] = mean + off; rstds[row] = rstd; }
    ${walk.each(({ x: value }, e) => `${walk.at('y', e)} = ${stored(dtype, `(${value} - mean - off) * rstd * weight[${e}] + bias[${e}]`)};`)}`,
    })],
    ...costs,
  }
}

/** Inputs dy, x, weight [length], mean and rstd [rows]; output dx. Of these dy, x and dx are of type `dtype`. */
export function layerNormGradKernel({ rows, length, centred, dy, x, dx }: LayerNormGradDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  checkF16('layerNormGrad', target, [dtype])
  const costs = { flops: 12 * rows * length, bytes: (dtype === 'f16' ? 6 : 12) * rows * length }
  if (rows * length === 0) return { dispatches: [], ...costs }
  const shader = new Shader('layerNormGrad').storage('dy', 0, 'read', dtype).storage('x', 1, 'read', dtype).storage('weight', 2, 'read')
    .storage('means', 3, 'read').storage('rstds', 4, 'read').storage('dx', 5, 'read_write', dtype)
  const walk = new Rows(shader, rows, length, { x: { strided: x, read: true }, dy: { strided: dy, read: true }, dx: { strided: dx, read: false } })
  const count = shader.parameter('count', length, 'f32')
  return {
    dispatches: [shader.dispatch({
      size: walk.size, groups: walk.groups, code: foldLines(walk.tile, 'sumOf', { type: 'vec2<f32>' }),
      body: `
    ${walk.enter}
    let mean = means[row];
    let rstd = rstds[row];
    var sums = vec2(0.0);
    ${walk.each(({ x: value, dy: slope }, e) => `{ let g = ${slope} * weight[${e}]; sums += vec2(g, g * (${value} - mean)); }`)}
    let averages = sumOf(sums, local, lane, line, 1u) / ${count};
    let first = ${centred ? 'rstd * averages.x' : '0.0'};
    let second = rstd * rstd * rstd * averages.y;
    ${walk.each(({ x: value, dy: slope }, e) => `${walk.at('dx', e)} = ${stored(dtype, `${slope} * weight[${e}] * rstd - first - (${value} - mean) * second`)};`)}`,
    })],
    ...costs,
  }
}
