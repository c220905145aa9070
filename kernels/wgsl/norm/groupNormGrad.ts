/**
 * Gradient of group norm (with SiLU if fused). With x̂ = (x − μ)·rstd, z = x̂·w + b and dz the gradient at z (dy, or dy·silu′(z)):
 *   dbias[c] = Σ dz,  dweight[c] = Σ dz·x̂,  and over each group, with means of g = dz·w,
 *   dx = rstd·(g − mean(g) − x̂·mean(g·x̂)), where the means are Σ_c w·dbias and Σ_c w·dweight over the count.
 *
 * Tiles are those of the forward kernel. Where they hold whole groups, one dispatch finds the sums and dx; otherwise it leaves the
 * sums of each channel's part, and another dispatch makes dx after the merge. The merge, a workgroup for each group, writes dweight
 * and dbias, which stay per sample: the caller adds them over the batch.
 */
import type { GroupNormGradDescriptor } from '../../ir/descriptor.ts'
import type { FloatType } from '../../ir/expression.ts'
import { type GroupTile, groupParameters, groupTile, locateGroup, Plane } from './groupTile.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../core/kernel.ts'
import { eachElement, foldLines, invocations, type LineTile, overElements, stored } from '../core/lineTile.ts'
import { checkF16 } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'
import { siluSlope } from './silu.ts'

const buffers = { dy: 0, x: 1, weight: 2, bias: 3, mean: 4, rstd: 5, dx: 6, dweight: 7, dbias: 8, partials: 9, slopes: 10 } as const

/** Inputs dy, x, weight [C], bias [C], mean [N, G], rstd [N, G]; outputs dx, dweight [N, C], dbias [N, C]. Of these dy, x and dx are of type `dtype`. */
export function groupNormGradKernel(d: GroupNormGradDescriptor, target: WgslTarget, dtype: FloatType = 'f32'): WgslKernel {
  const cut = groupTile(d, [d.x, d.dy, d.dx])
  const elements = d.batch * d.channels * d.spatial
  const costs = { flops: elements * (d.silu ? 45 : 12), bytes: (dtype === 'f16' ? 2 : 4) * elements * (cut.whole ? 3 : 5) }
  if (elements === 0) return { dispatches: [], ...costs }
  checkF16('groupNormGrad', target, [dtype])
  const partials = 8 * d.batch * d.channels * cut.parts
  if (cut.whole) return { dispatches: [differentiate(d, cut, 'sums and dx', dtype), merge(d, cut)], temporaries: [partials], ...costs }
  return {
    dispatches: [differentiate(d, cut, 'sums', dtype), merge(d, cut), differentiate(d, cut, 'dx', dtype)],
    temporaries: [partials, 8 * d.batch * d.groups], ...costs,
  }
}

/** Finds each channel's sums of dz and dz·x̂, over a part, or dx, or both. */
function differentiate(d: GroupNormGradDescriptor, cut: GroupTile, finds: 'sums' | 'dx' | 'sums and dx', dtype: FloatType): Dispatch {
  const { tile } = cut
  const [sums, result] = [finds !== 'dx', finds !== 'sums']
  const shader = new Shader(`groupNormGrad ${finds}`)
    .storage('dy', buffers.dy, 'read', dtype).storage('x', buffers.x, 'read', dtype).storage('means', buffers.mean, 'read').storage('rstds', buffers.rstd, 'read')
  if (d.silu || result) shader.storage('weight', buffers.weight, 'read')
  if (d.silu) shader.storage('bias', buffers.bias, 'read')
  if (sums) shader.storage('partials', buffers.partials, 'read_write', 'vec2<f32>')
  else shader.storage('slopes', buffers.slopes, 'read', 'vec2<f32>')
  if (result) shader.storage('dx', buffers.dx, 'read_write', dtype)
  const n = groupParameters(shader, d, cut)
  const [dy, x, dx] = [new Plane(shader, 'dy', d.dy), new Plane(shader, 'x', d.x), new Plane(shader, 'dx', d.dx)]
  const count = shader.parameter('count', (d.channels / d.groups) * d.spatial, 'f32')
  const atInput = (k: number): string => `f32(${dy.at(`p${k}`)})${d.silu ? ` * siluSlope(hat${k} * w + shift)` : ''}`
  return shader.dispatch({
    size: invocations(tile), groups: cut.workgroups, code: `${sums ? foldLines(tile, 'total', { type: 'vec2<f32>' }) : ''}${d.silu ? siluSlope : ''}`,
    body: `
    ${locateGroup(cut, n)}
    let mean = means[statistic];
    let rstd = rstds[statistic];
    ${d.silu || result ? 'let w = weight[channel];' : ''}
    ${d.silu ? 'let shift = bias[channel];' : ''}
    ${x.locate} ${dy.locate}
    ${eachElement(tile, (k) => `
    var hat${k} = 0.0; var dz${k} = 0.0;
    if (p${k} < stop) { hat${k} = (f32(${x.at(`p${k}`)}) - mean) * rstd; dz${k} = ${atInput(k)}; }`)}
    ${sums ? `
    let sums = vec2(${overElements(tile, (k) => `dz${k}`)}, ${overElements(tile, (k) => `dz${k} * hat${k}`)});
    let channelSums = total(sums, local, lane, line, 1u);
    if (lane == 0u && present) { partials[(sample * ${n.channels} + channel) * ${n.parts} + part] = channelSums; }` : ''}
    ${result ? `
    ${dx.locate}
    let slope = ${sums ? `total(sums * w, local, lane, line, ${n.perGroup}) / ${count}` : 'slopes[statistic]'};
    ${eachElement(tile, (k) => `if (p${k} < stop) { ${dx.at(`p${k}`)} = ${stored(dtype, `rstd * (dz${k} * w - slope.x - hat${k} * slope.y)`)}; }`)}` : ''}`,
  })
}

/** Adds up the parts of every channel; if there are several, finds mean(g) and mean(g·x̂) of the group as well. */
function merge(d: GroupNormGradDescriptor, cut: GroupTile): Dispatch {
  const perGroup = d.channels / d.groups
  const lanes = 64
  const tile: LineTile = { lines: 1, lanes, perLane: 1, adjacent: 'elements' }
  const shader = new Shader('groupNormGrad merge').storage('partials', buffers.partials, 'read', 'vec2<f32>').storage('weight', buffers.weight, 'read')
    .storage('dweight', buffers.dweight, 'read_write').storage('dbias', buffers.dbias, 'read_write')
  if (!cut.whole) shader.storage('slopes', buffers.slopes, 'read_write', 'vec2<f32>')
  const [all, groups, channels, parts] = [shader.parameter('all', d.batch * d.groups), shader.parameter('groups', d.groups), shader.parameter('channels', perGroup), shader.parameter('parts', cut.parts)]
  const count = shader.parameter('count', perGroup * d.spatial, 'f32')
  return shader.dispatch({
    size: lanes, groups: d.batch * d.groups, code: cut.whole ? '' : foldLines(tile, 'total', { type: 'vec2<f32>' }),
    body: `
    if (workgroup >= ${all}) { return; }
    var slope = vec2(0.0);
    for (var i = local; i < ${channels}; i += ${lanes}u) {
      let channel = workgroup * ${channels} + i;
      var sums = vec2(0.0);
      for (var part = 0u; part < ${parts}; part++) { sums += partials[channel * ${parts} + part]; }
      dbias[channel] = sums.x;
      dweight[channel] = sums.y;
      slope += sums * weight[workgroup % ${groups} * ${channels} + i];
    }
    ${cut.whole ? '' : `
    let sum = total(slope, local, local, 0u, 1u);
    if (local == 0u) { slopes[workgroup] = sum / ${count}; }`}`,
  })
}
