/**
 * Group norm (Wu and He 2018), y = ((x − μ)·rstd)·w + b over groups of channels, then SiLU if fused.
 *
 * A workgroup holds some channels of a sample in registers, so that sums of centred squares cost no second reading. If these are
 * whole groups it normalises them at once. Otherwise it leaves the mean and the centred squares of each channel's part, a second
 * dispatch merges those of a group (Chan, Golub and LeVeque 1983), a workgroup for each, and a third normalises. The mean of
 * centred values is what a mean is off by.
 */
import type { GroupNormDescriptor } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import { type GroupTile, groupParameters, groupTile, locateGroup, Plane } from './groupTile.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../core/kernel.ts'
import { eachElement, foldLines, invocations, type LineTile, mostInvocations, overElements, stored } from '../core/lineTile.ts'
import { checkF16 } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'
import { silu } from './silu.ts'

const buffers = { x: 0, weight: 1, bias: 2, y: 3, mean: 4, rstd: 5, partials: 6 } as const

/** Inputs x, weight [C], bias [C]; outputs y, mean [N, G], rstd [N, G]. Of these x and y are of type `dtype`. */
export function groupNormKernel(d: GroupNormDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  const cut = groupTile(d, [d.x, d.y])
  const elements = d.batch * d.channels * d.spatial
  const costs = { flops: elements * (d.silu ? 30 : 8), bytes: (dtype === 'f16' ? 2 : 4) * elements * (cut.whole ? 2 : 3) }
  if (elements === 0) return { dispatches: [], ...costs }
  checkF16('groupNorm', target, [dtype])
  if (cut.whole) return { dispatches: [normalise(d, cut, dtype)], ...costs }
  return {
    dispatches: [statistics(d, cut, dtype), merge(d, cut), normalise(d, cut, dtype)],
    temporaries: [8 * d.batch * d.channels * cut.parts], ...costs,
  }
}

/** Declares `rough`, a mean but for its rounding, what it is `off` by, `centred0`, `centred1`, … and their `variance`, of `together` lines with `count` elements. */
function centre(tile: LineTile, x: Plane, together: string, count: string): string {
  return `
    ${x.locate}
    ${eachElement(tile, (k) => `var value${k} = 0.0; if (p${k} < stop) { value${k} = f32(${x.at(`p${k}`)}); }`)}
    let rough = total(vec2(${overElements(tile, (k) => `value${k}`)}, 0.0), local, lane, line, ${together}).x / ${count};
    ${eachElement(tile, (k) => `let centred${k} = select(0.0, value${k} - rough, p${k} < stop);`)}
    let averages = total(vec2(${overElements(tile, (k) => `centred${k}`)}, ${overElements(tile, (k) => `centred${k} * centred${k}`)}), local, lane, line, ${together}) / ${count};
    let off = averages.x;
    let variance = max(averages.y - off * off, 0.0);`
}

/** Mean and centred squares of every channel's part. */
function statistics(d: GroupNormDescriptor, cut: GroupTile, dtype: FloatType): Dispatch {
  const { tile } = cut
  const shader = new Shader('groupNorm statistics').storage('x', buffers.x, 'read', dtype).storage('partials', buffers.partials, 'read_write', 'vec2<f32>')
  const n = groupParameters(shader, d, cut)
  const x = new Plane(shader, 'x', d.x)
  return shader.dispatch({
    size: invocations(tile), groups: cut.workgroups, code: foldLines(tile, 'total', { type: 'vec2<f32>' }),
    body: `
    ${locateGroup(cut, n)}
    let count = f32(min(${cut.length}u, ${n.spatial} - part * ${cut.length}u));
    ${centre(tile, x, '1u', 'count')}
    if (lane == 0u && present) { partials[(sample * ${n.channels} + channel) * ${n.parts} + part] = vec2(rough + off, variance * count); }`,
  })
}

/** From those the statistics of every group. */
function merge(d: GroupNormDescriptor, cut: GroupTile): Dispatch {
  const perGroup = (d.channels / d.groups) * cut.parts
  const tile: LineTile = { lines: 1, lanes: perGroup > mostInvocations ? mostInvocations : 64, perLane: 1, adjacent: 'elements' }
  const shader = new Shader('groupNorm merge').storage('partials', buffers.partials, 'read', 'vec2<f32>').storage('means', buffers.mean, 'read_write').storage('rstds', buffers.rstd, 'read_write')
  const [groups, entries, parts] = [shader.parameter('groups', d.batch * d.groups), shader.parameter('entries', perGroup), shader.parameter('parts', cut.parts)]
  const [spatial, length] = [shader.parameter('spatial', d.spatial), shader.parameter('length', cut.length)]
  const [count, eps] = [shader.parameter('count', (d.channels / d.groups) * d.spatial, 'f32'), shader.parameter('eps', d.eps, 'f32')]
  const overEntries = (body: string): string => `
    for (var i = local; i < ${entries}; i += ${tile.lanes}u) {
      let entry = partials[workgroup * ${entries} + i];
      let size = f32(min(${length}, ${spatial} - (i % ${parts}) * ${length}));
      ${body}
    }`
  return shader.dispatch({
    size: tile.lanes, groups: d.batch * d.groups, code: foldLines(tile, 'total', { type: 'vec2<f32>' }),
    body: `
    if (workgroup >= ${groups}) { return; }
    var sum = 0.0;
    ${overEntries('sum += size * entry.x;')}
    let rough = total(vec2(sum, 0.0), local, local, 0u, 1u).x / ${count};
    var sums = vec2(0.0);
    ${overEntries('let away = entry.x - rough; sums += vec2(size * away, entry.y + size * away * away);')}
    let averages = total(sums, local, local, 0u, 1u) / ${count};
    let off = averages.x;
    if (local == 0u) { means[workgroup] = rough + off; rstds[workgroup] = inverseSqrt(max(averages.y - off * off, 0.0) + ${eps}); }`,
  })
}

/** Writes y, by statistics that it finds itself if a tile holds whole groups. */
function normalise(d: GroupNormDescriptor, cut: GroupTile, dtype: FloatType): Dispatch {
  const { tile, whole } = cut
  const shader = new Shader('groupNorm').storage('x', buffers.x, 'read', dtype).storage('weight', buffers.weight, 'read').storage('bias', buffers.bias, 'read').storage('y', buffers.y, 'read_write', dtype)
  const access = whole ? 'read_write' : 'read'
  shader.storage('means', buffers.mean, access).storage('rstds', buffers.rstd, access)
  const n = groupParameters(shader, d, cut)
  const [x, y] = [new Plane(shader, 'x', d.x), new Plane(shader, 'y', d.y)]
  const find = (): string => {
    const [count, eps] = [shader.parameter('count', (d.channels / d.groups) * d.spatial, 'f32'), shader.parameter('eps', d.eps, 'f32')]
    return `
    ${centre(tile, x, n.perGroup, count)}
    let rstd = inverseSqrt(variance + ${eps});
    if (lane == 0u && present && channel % ${n.perGroup} == 0u) { means[statistic] = rough + off; rstds[statistic] = rstd; }`
  }
  const centred = (k: number): string => (whole ? `(centred${k} - off)` : `(f32(${x.at(`p${k}`)}) - mean)`)
  return shader.dispatch({
    size: invocations(tile), groups: cut.workgroups, code: `${whole ? foldLines(tile, 'total', { type: 'vec2<f32>' }) : ''}${d.silu ? silu : ''}`,
    body: `
    ${locateGroup(cut, n)}
    ${whole ? find() : `let mean = means[statistic]; let rstd = rstds[statistic]; ${x.locate}`}
    ${y.locate}
    let scale = rstd * weight[channel];
    let shift = bias[channel];
    ${eachElement(tile, (k) => {
      const z = `${centred(k)} * scale + shift`
      return `if (p${k} < stop) { ${y.at(`p${k}`)} = ${stored(dtype, d.silu ? `silu(${z})` : z)}; }`
    })}`,
  })
}
