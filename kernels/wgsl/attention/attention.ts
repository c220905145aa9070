/**
 * Attention, o = softmax(scale·q·kᵀ + mask)·v, with the log-sum-exp of every score row for the backward.
 * After Dao et al., "FlashAttention" (arXiv:2205.14135): block by block of keys, each query keeps its largest score and
 * the sum so far, and what it has summed is scaled down where the largest score grows.
 *
 * A workgroup has 32 queries of one head (see attentionTile.ts) and stops, if causal, at the last key that they see. Sums of weights
 * stay apart by columns until the end. A query that is masked everywhere gives 0, and its log-sum-exp is +∞.
 */
import type { AttentionDescriptor } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import { AttentionTile, blockRows, HeadMatrix, headsOf, maskHead, Scores, weigh } from './attentionTile.ts'
import type { WgslKernel, WgslTarget } from '../core/kernel.ts'
import { sumOf } from '../core/lineTile.ts'
import { checkF16 } from '../core/stridedOperands.ts'
import { lowest, Shader } from '../core/shader.ts'
import { walk } from '../core/walk.ts'

/** Inputs q, k, v, (mask), scale (one f32); outputs o, lse [...batch, queries]. All but scale and lse are of type `dtype`. */
export function attentionKernel(d: AttentionDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  const { batch, queries, keys, dim, valueDim, causal } = d
  const heads = batch.reduce((a, b) => a * b, 1)
  const masks = d.mask === undefined ? 0 : 1
  const costs = {
    flops: heads * queries * keys * (2 * dim + 2 * valueDim + 25) * (causal ? 0.5 : 1),
    bytes: (dtype === 'f16' ? 2 : 4) * heads * (queries * (dim + valueDim + 1) + keys * (dim + valueDim)),
  }
  if (heads * queries === 0) return { dispatches: [], ...costs }
  checkF16('attention', target, [dtype])
  const shader = new Shader('attention')
  const [query, key] = [{ rows: queries, dtype }, { rows: keys, dtype }]
  const q = new HeadMatrix(shader, 'q', { buffer: 0, strided: d.q, width: dim, ...query })
  const k = new HeadMatrix(shader, 'k', { buffer: 1, strided: d.k, width: dim, ...key })
  const v = new HeadMatrix(shader, 'v', { buffer: 2, strided: d.v, width: valueDim, ...key })
  const out = new HeadMatrix(shader, 'out', { buffer: 4 + masks, access: 'read_write', strided: d.out, width: valueDim, ...query })
  if (d.mask !== undefined) shader.storage('mask', 3, 'read', dtype)
  shader.storage('scaling', 3 + masks, 'read').storage('lse', 5 + masks, 'read_write')
  const tile = new AttentionTile(valueDim)
  const scores = new Scores(shader, d)
  const blocks = Math.ceil(queries / blockRows)
  const [groups, perHead] = [shader.parameter('groups', heads * blocks), shader.parameter('blocks', blocks)]
  // Infinity cannot be written as a constant.
  const infinity = shader.parameter('infinity', 0x7f800000)
  const findHead = walk(shader, batch, { ...headsOf([q, k, v, out]), ...maskHead(d) })
  const keyEnd = causal ? `min(${k.count}, ownFirst + ${blockRows}u)` : k.count
  const { scores: others } = tile
  const body = `
    if (workgroup >= ${groups}) { return; }
    let head = workgroup / ${perHead};
    let ownFirst = workgroup % ${perHead} * ${blockRows}u;
    ${findHead('head')}
    ${tile.locate}
    let scale = scaling[0];
    var largest = vec4(${lowest});
    var sum = vec4<f32>();
    ${tile.declareSums('o', v)}
    let end = ${keyEnd};
    for (var otherFirst = 0u; otherFirst < end; otherFirst += ${blockRows}u) {
      ${tile.products('s', q, k)}
      ${scores.apply(tile, 's', 'queries')}
      ${tile.foldColumns('top', others.map((j) => `s${j}`).reduce((x, y) => `max(${x}, ${y})`), 'max')}
      top = max(top, largest);
      let factor = expOrNan4(largest - top);
      largest = top;
      ${weigh(tile, 's', () => 'top')}
      sum = sum * factor + ${sumOf(others.map((j) => `s${j}`))};
      ${tile.keepWeights('s')}
      ${tile.scaleSums('o', v, 'factor')}
      ${tile.addProducts('o', v)}
    }
    workgroupBarrier();
    ${tile.foldColumns('total', 'sum', 'add')}
    let inverse = select(1.0 / total, vec4<f32>(), total == vec4<f32>());
    ${tile.writeSums('o', v, out, 'inverse')}
    let logs = select(largest + logOrNan4(total), bitcast<vec4<f32>>(vec4(${infinity})), total == vec4<f32>());
    if (column == 0u) {
      for (var i = 0u; i < 4u; i++) {
        let row = ownFirst + band * 4u + i;
        if (row < ${q.count}) { lse[head * ${q.count} + row] = logs[i]; }
      }
    }`
  return {
    dispatches: [shader.dispatch({ size: tile.invocations, groups: heads * blocks, code: [tile.memory, q.reader, k.reader, v.reader, out.writer, scores.code].join(''), body })],
    ...costs,
  }
}
