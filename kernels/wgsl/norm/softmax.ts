/**
 * Softmax of rows, y = exp(x − max) / Σ exp(x − max), and its gradient dx = y·(dy − Σ dy·y), a workgroup for some whole rows. NaN
 * makes its whole row NaN, as does an infinity, by way of the sum.
 */
import type { SoftmaxDescriptor, SoftmaxGradDescriptor } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import type { WgslKernel, WgslTarget } from '../core/kernel.ts'
import { functionsOf } from '../core/functions.ts'
import { foldLines, stored } from '../core/lineTile.ts'
import { checkF16 } from '../core/stridedOperands.ts'
import { Rows } from './rows.ts'
import { lowest, Shader } from '../core/shader.ts'

/** Input x; output y, both of type `dtype`. */
export function softmaxKernel({ rows, length, x, y }: SoftmaxDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  checkF16('softmax', target, [dtype])
  const costs = { flops: 25 * rows * length, bytes: (dtype === 'f16' ? 4 : 8) * rows * length }
  if (rows * length === 0) return { dispatches: [], ...costs }
  const shader = new Shader('softmax').storage('x', 0, 'read', dtype).storage('y', 1, 'read_write', dtype)
  const walk = new Rows(shader, rows, length, { x: { strided: x, read: true }, y: { strided: y, read: false } })
  return {
    dispatches: [shader.dispatch({
      size: walk.size, groups: walk.groups,
      code: `${foldLines(walk.tile, 'largestOf', { op: 'max' })}${foldLines(walk.tile, 'sumOf')}${functionsOf('expOrNan()')}`,
      body: `
    ${walk.enter}
    var top = ${lowest};
    ${walk.each(({ x: value }) => `top = max(top, ${value});`)}
    let largest = largestOf(top, local, lane, line, 1u);
    var sum = 0.0;
    ${walk.each(({ x: value }) => `sum += expOrNan(${value} - largest);`)}
    let inverse = 1.0 / sumOf(sum, local, lane, line, 1u);
    ${walk.each(({ x: value }, e) => `${walk.at('y', e)} = ${stored(dtype, `expOrNan(${value} - largest) * inverse`)};`)}`,
    })],
    ...costs,
  }
}

/** Inputs y, dy; output dx, all of type `dtype`. */
export function softmaxGradKernel({ rows, length, y, dy, dx }: SoftmaxGradDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  checkF16('softmaxGrad', target, [dtype])
  const costs = { flops: 4 * rows * length, bytes: (dtype === 'f16' ? 6 : 12) * rows * length }
  if (rows * length === 0) return { dispatches: [], ...costs }
  const shader = new Shader('softmaxGrad').storage('y', 0, 'read', dtype).storage('dy', 1, 'read', dtype).storage('dx', 2, 'read_write', dtype)
  const walk = new Rows(shader, rows, length, { y: { strided: y, read: true }, dy: { strided: dy, read: true }, dx: { strided: dx, read: false } })
  return {
    dispatches: [shader.dispatch({
      size: walk.size, groups: walk.groups, code: foldLines(walk.tile, 'sumOf'),
      body: `
    ${walk.enter}
    var dot = 0.0;
    ${walk.each(({ y: probability, dy: slope }) => `dot += ${probability} * ${slope};`)}
    let total = sumOf(dot, local, lane, line, 1u);
    ${walk.each(({ y: probability, dy: slope }, e) => `${walk.at('dx', e)} = ${stored(dtype, `${probability} * (${slope} - total)`)};`)}`,
    })],
    ...costs,
  }
}
