/**
 * The sum of squares over segments of memory, for the norm of all gradients. Workgroups walk along a segment in vectors and in
 * step, so that each leaves a partial sum; one workgroup adds these. The order depends on the segments' sizes alone.
 */
import type { Dispatch, WgslKernel } from './kernel.ts'
import { Shader } from './shader.ts'

const size = 256
/** Enough to fill a device; smaller segments have a workgroup for so many vectors. */
const mostGroups = 1024
const vectorsAGroup = 1024
/** What a dispatch can bind beside the partial sums. */
const mostSegments = 7

export interface SquaredNormDescriptor {
  /** Elements of each, in a buffer of its own of whole vectors. */
  readonly segments: readonly number[]
}

/** Stores the total of all invocations' vectors `sums`, added by halving. */
const total = (target: string): string => `
  parts[local] = dot(sums, vec4(1.0));
  for (var half = ${size / 2}u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (local < half) { parts[local] += parts[local + half]; }
  }
  if (local == 0u) { ${target} = parts[0]; }`
const code = `var<workgroup> parts: array<f32, ${size}>;`

interface Segment {
  readonly buffer: number
  readonly elements: number
  readonly groups: number
  /** Of its partial sums. */
  readonly first: number
}

/** Inputs: the segments; output: Σ x² over all, one number. */
export function squaredNormKernel({ segments }: SquaredNormDescriptor): WgslKernel {
  const [output, partials] = [segments.length, segments.length + 1]
  const elements = segments.reduce((a, b) => a + b, 0)
  let groups = 0
  const parts = segments.flatMap((count, buffer): Segment[] => {
    const part = { buffer, elements: count, groups: Math.min(mostGroups, Math.ceil(count / 4 / vectorsAGroup)), first: groups }
    groups += part.groups
    return count > 0 ? [part] : []
  })
  const dispatches = Array.from({ length: Math.ceil(parts.length / mostSegments) }, (_, i) => sumSquares(parts.slice(i * mostSegments, (i + 1) * mostSegments), partials))
  return { dispatches: [...dispatches, sumPartials(groups, partials, output)], temporaries: [4 * groups], flops: 2 * elements, bytes: 4 * elements }
}

function sumSquares(parts: readonly Segment[], partials: number): Dispatch {
  const shader = new Shader('sums of squares')
  parts.forEach(({ buffer }, k) => shader.storage(`x${k}`, buffer, 'read', 'vec4<f32>'))
  shader.storage('partials', partials, 'read_write')
  const first = parts[0]?.first ?? 0
  const groups = parts.reduce((sum, part) => sum + part.groups, 0)
  const offset = shader.parameter('first', first)
  const walks = parts.map((part, k) => {
    const n = { from: shader.parameter(`from${k}`, part.first - first), groups: shader.parameter(`groups${k}`, part.groups), elements: shader.parameter(`elements${k}`, part.elements) }
    return `
  if (workgroup >= ${n.from} && workgroup < ${n.from} + ${n.groups}) {
    for (var at = (workgroup - ${n.from}) * ${size}u + local; 4u * at < ${n.elements}; at += ${n.groups} * ${size}u) {
      let x = select(vec4<f32>(), x${k}[at], 4u * at + vec4(0u, 1u, 2u, 3u) < vec4(${n.elements}));
      sums += x * x;
    }
  }`
  })
  const body = `
  var sums = vec4<f32>();${walks.join('')}
${total(`partials[${offset} + workgroup]`)}`
  return shader.dispatch({ code, body, size, groups })
}

function sumPartials(groups: number, partials: number, output: number): Dispatch {
  const shader = new Shader('sum of squares').storage('partials', partials, 'read').storage('norm', output, 'read_write')
  const body = `
  var sums = vec4<f32>();
  for (var at = local; at < ${shader.parameter('groups', groups)}; at += ${size}u) { sums.x += partials[at]; }
${total('norm[0]')}`
  return shader.dispatch({ code, body, size, groups: 1 })
}
