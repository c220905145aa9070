/**
 * Gradient of attention. With scores s = scale·q·kᵀ + mask, the probabilities are computed again as
 * p = exp(s − lse); then dv = pᵀ·do, dp = do·vᵀ, ds = p∘(dp − D) with D = rowsum(do∘o), and
 * dq = scale·ds·k, dk = scale·dsᵀ·q.
 *
 * Three dispatches: the first leaves lse and D of every query; in the second a workgroup has 32 keys of a head and sums up their dk
 * and dv over the queries; in the third one has 32 queries and sums up their dq over the keys (see attentionTile.ts). Scores and dp
 * are computed twice (seven products), but nothing is ever added up across workgroups.
 */
import type { AttentionGradDescriptor } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import { AttentionTile, blockRows, type HeadOperand, HeadMatrix, headsOf, maskHead, range, Scores, weigh } from './attentionTile.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../core/kernel.ts'
import { adjacentIn, ceilToPower, foldLines, invocations, type LineTile, locateLane, mostInvocations } from '../core/lineTile.ts'
import { checkF16 } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'
import { walk } from '../core/walk.ts'

/** Inputs q, k, v, (mask), scale (one f32), o, lse [...batch, queries], do; outputs dq, dk, dv. All but scale and lse are of type `dtype`. */
export function attentionGradKernel(d: AttentionGradDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  checkF16('attentionGrad', target, [dtype])
  const { batch, queries, keys, dim, valueDim, causal } = d
  const heads = batch.reduce((a, b) => a * b, 1)
  const costs = {
    flops: heads * queries * keys * (8 * dim + 6 * valueDim + 30) * (causal ? 0.5 : 1),
    bytes: (dtype === 'f16' ? 2 : 4) * heads * (queries + keys) * 3 * (dim + valueDim),
  }
  if (heads * (queries + keys) === 0) return { dispatches: [], ...costs }
  const gradient = new AttentionGrad(d, heads, dtype)
  return { dispatches: [gradient.statistics(), gradient.ofKeys(), gradient.ofQueries()], temporaries: [8 * (heads * queries + 1)], ...costs }
}

class AttentionGrad {
  private readonly d: AttentionGradDescriptor
  private readonly heads: number
  private readonly dtype: FloatType
  private readonly buffers: { readonly scale: number; readonly o: number; readonly lse: number; readonly dout: number; readonly dq: number; readonly dk: number; readonly dv: number; readonly statistics: number }

  constructor(d: AttentionGradDescriptor, heads: number, dtype: FloatType) {
    this.d = d
    this.heads = heads
    this.dtype = dtype
    const first = d.mask === undefined ? 3 : 4
    this.buffers = { scale: first, o: first + 1, lse: first + 2, dout: first + 3, dq: first + 4, dk: first + 5, dv: first + 6, statistics: first + 7 }
  }

  /** Of every query the log-sum-exp, finite also where all is masked, and D; behind the last the scale, lest it take a binding. */
  statistics(): Dispatch {
    const { d, buffers, dtype } = this
    const rows = this.heads * d.queries
    const adjacent = adjacentIn([d.out, d.dout])
    const lanes = Math.min(32, ceilToPower(d.valueDim))
    const tile: LineTile = { lines: mostInvocations / lanes, lanes, perLane: 1, adjacent }
    const groups = Math.max(1, Math.ceil(rows / tile.lines))
    const shader = new Shader('attentionGrad statistics').storage('o', buffers.o, 'read', dtype).storage('dout', buffers.dout, 'read', dtype)
      .storage('lse', buffers.lse, 'read').storage('scaling', buffers.scale, 'read').storage('statistics', buffers.statistics, 'read_write', 'vec2<f32>')
    const [count, width, groupCount] = [shader.parameter('rows', rows), shader.parameter('width', d.valueDim), shader.parameter('groups', groups)]
    const [oElement, doutElement] = [shader.parameter('oElement', d.out.strides.at(-1) ?? 0, 'i32'), shader.parameter('doutElement', d.dout.strides.at(-1) ?? 0, 'i32')]
    const findRow = walk(shader, [...d.batch, d.queries], { oRow: { strides: d.out.strides.slice(0, -1), offset: d.out.offset }, doutRow: { strides: d.dout.strides.slice(0, -1), offset: d.dout.offset } })
    return shader.dispatch({
      size: invocations(tile), groups, code: foldLines(tile, 'sumOf'),
      body: `
    if (workgroup >= ${groupCount}) { return; }
    ${locateLane(tile)}
    let rowOfTile = workgroup * ${tile.lines}u + line;
    let row = min(rowOfTile, max(${count}, 1u) - 1u);
    ${findRow('row')}
    var dot = 0.0;
    for (var e = lane; e < select(0u, ${width}, rowOfTile < ${count}); e += ${lanes}u) { dot += f32(o[oRow + i32(e) * ${oElement}]) * f32(dout[doutRow + i32(e) * ${doutElement}]); }
    let delta = sumOf(dot, local, lane, line, 1u);
    if (lane == 0u && rowOfTile < ${count}) {
      let logSum = lse[row];
      statistics[row] = vec2(select(logSum, 3.4e38, bitcast<u32>(logSum) == 0x7f800000u), delta);
    }
    if (id == 0u) { statistics[${count}] = vec2(scaling[0], 0.0); }`,
    })
  }

  /** dk and dv. */
  ofKeys(): Dispatch {
    const { d, buffers } = this
    const shader = new Shader('attentionGrad of keys')
    const { q, k, v, dout } = this.inputs(shader)
    const dk = new HeadMatrix(shader, 'dk', this.operand(buffers.dk, d.dk, d.keys, d.dim, 'read_write'))
    const dv = new HeadMatrix(shader, 'dv', this.operand(buffers.dv, d.dv, d.keys, d.valueDim, 'read_write'))
    const tile = new AttentionTile(Math.max(d.dim, d.valueDim))
    const statistic = (j: number): string => `statistics[head * ${q.count} + min(otherFirst + ${tile.other(j)}, ${q.count} - 1u)]`
    return this.dispatch(shader, tile, {
      own: 'keys', readers: [q, k, v, dout], writers: [dk, dv],
      enter: `${tile.declareSums('key', k)}\n      ${tile.declareSums('value', v)}`,
      start: d.causal ? 'ownFirst' : '0u', end: q.count,
      block: (scores) => `
      ${tile.products('p', k, q)}
      ${tile.products('slope', v, dout)}
      ${scores.apply(tile, 'p', 'keys')}
      ${tile.scores.map((j) => `let statistic${j} = ${statistic(j)};`).join(' ')}
      ${weigh(tile, 'p', (j) => `statistic${j}.x`)}
      ${tile.scores.map((j) => `slope${j} = p${j} * (slope${j} - statistic${j}.y);`).join(' ')}
      ${tile.keepWeights('p')}
      ${tile.addProducts('value', dout)}
      workgroupBarrier();
      ${tile.keepWeights('slope')}
      ${tile.addProducts('key', q)}`,
      leave: `${tile.writeSums('key', k, dk, 'vec4(scale)')}\n      ${tile.writeSums('value', v, dv, 'vec4(1.0)')}`,
    })
  }

  /** dq. */
  ofQueries(): Dispatch {
    const { d, buffers } = this
    const shader = new Shader('attentionGrad of queries')
    const { q, k, v, dout } = this.inputs(shader)
    const dq = new HeadMatrix(shader, 'dq', this.operand(buffers.dq, d.dq, d.queries, d.dim, 'read_write'))
    const tile = new AttentionTile(d.dim)
    return this.dispatch(shader, tile, {
      own: 'queries', readers: [q, k, v, dout], writers: [dq],
      enter: `${tile.declareSums('query', q)}
      ${range(4).map((i) => `let statistic${i} = statistics[head * ${q.count} + min(ownFirst + band * 4u + ${i}u, ${q.count} - 1u)];`).join('\n      ')}
      let logs = vec4(${range(4).map((i) => `statistic${i}.x`).join(', ')});
      let deltas = vec4(${range(4).map((i) => `statistic${i}.y`).join(', ')});`,
      start: '0u', end: d.causal ? `min(${k.count}, ownFirst + ${blockRows}u)` : k.count,
      block: (scores) => `
      ${tile.products('p', q, k)}
      ${tile.products('slope', dout, v)}
      ${scores.apply(tile, 'p', 'queries')}
      ${weigh(tile, 'p', () => 'logs')}
      ${tile.scores.map((j) => `slope${j} = p${j} * (slope${j} - deltas);`).join(' ')}
      ${tile.keepWeights('slope')}
      ${tile.addProducts('query', k)}`,
      leave: tile.writeSums('query', q, dq, 'vec4(scale)'),
    })
  }

  private operand(buffer: number, strided: HeadOperand['strided'], rows: number, width: number, access: HeadOperand['access'] = 'read'): HeadOperand {
    return { buffer, access, strided, rows, width, dtype: this.dtype }
  }

  private inputs(shader: Shader): Readonly<Record<'q' | 'k' | 'v' | 'dout', HeadMatrix>> {
    const { d, buffers } = this
    const matrix = (name: string, ...operand: Parameters<AttentionGrad['operand']>): HeadMatrix => new HeadMatrix(shader, name, this.operand(...operand))
    const inputs = {
      q: matrix('q', 0, d.q, d.queries, d.dim), k: matrix('k', 1, d.k, d.keys, d.dim),
      v: matrix('v', 2, d.v, d.keys, d.valueDim), dout: matrix('dout', buffers.dout, d.dout, d.queries, d.valueDim),
    }
    if (d.mask !== undefined) shader.storage('mask', 3, 'read', this.dtype)
    shader.storage('statistics', buffers.statistics, 'read', 'vec2<f32>')
    return inputs
  }

  /** A workgroup for each 32 own rows of a head, which goes over blocks of the other rows. */
  private dispatch(shader: Shader, tile: AttentionTile, parts: {
    readonly own: 'queries' | 'keys'; readonly readers: readonly HeadMatrix[]; readonly writers: readonly HeadMatrix[]
    readonly enter: string; readonly start: string; readonly end: string; readonly block: (scores: Scores) => string; readonly leave: string
  }): Dispatch {
    const { d } = this
    const blocks = Math.ceil(d[parts.own] / blockRows)
    const [groups, perHead, last] = [shader.parameter('groups', this.heads * blocks), shader.parameter('blocks', blocks), shader.parameter('scaleAt', this.heads * d.queries)]
    const scores = new Scores(shader, d)
    const findHead = walk(shader, d.batch, { ...headsOf([...parts.readers, ...parts.writers]), ...maskHead(d) })
    return shader.dispatch({
      size: tile.invocations, groups: this.heads * blocks,
      code: [tile.memory, ...parts.readers.map((m) => m.reader), ...parts.writers.map((m) => m.writer), scores.code].join(''),
      body: `
    if (workgroup >= ${groups}) { return; }
    let head = workgroup / ${perHead};
    let ownFirst = workgroup % ${perHead} * ${blockRows}u;
    ${findHead('head')}
    ${tile.locate}
    let scale = statistics[${last}].x;
    ${parts.enter}
    let end = ${parts.end};
    for (var otherFirst = ${parts.start}; otherFirst < end; otherFirst += ${blockRows}u) {${parts.block(scores)}
    }
    ${parts.leave}`,
    })
  }
}
