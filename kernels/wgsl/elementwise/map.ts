/**
 * Elementwise kernels. The domain's axes are sorted by the first output's strides and merged; an invocation has one element in
 * that order, or four that lie side by side where the outputs take vectors, so that what neighbours write is contiguous. Positions
 * come from the flat number by division. What is the same for the four elements is computed once. Where an input is contiguous along
 * another axis than the outputs, it goes through workgroup memory (`transpose.ts`).
 */
import type { MapDescriptor } from '../../ir/descriptor.ts'
import { axesOf, type Axis, footprint, indexedAxes, isBlank, mergeAxes, product, sortAxes } from '../../ir/domain.ts'
import type { Expression } from '../../ir/expression.ts'
import { checkAccess, hoist, unknownNodes } from '../../ir/nodes.ts'
import { emitExpressions, narrow } from '../core/emit.ts'
import { functionsOf } from '../core/functions.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../core/kernel.ts'
import { Addresses, bindOperands, type Bound, bytesOf, checkF16, indent, leafOf, loadLines, quadBuffers, splitPosition, type Use } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'
import { crossedAxis, type MapPlan, transposedDispatch } from './transpose.ts'

const groupSize = 256
const mostElements = 2 ** 31

/**
 * The kernel of an elementwise computation. Operand i lies in buffer `buffers[i]` (by default i); operands may share one, and an
 * output may be an input's own memory, position for position.
 */
export function mapKernel(d: MapDescriptor, target: WgslTarget, buffers: readonly number[] = range(d.inputs.length + d.outputs.length)): WgslKernel {
  const count = product(d.shape)
  if (count > mostElements) throw new RangeError(`map: ${count} elements, of which a kernel can compute ${mostElements}: cut the tensor`)
  const values = d.outputs.map((o) => o.value)
  const nodes = unknownNodes(values, new Map())
  const loads = nodes.filter((e) => e.op === 'load')
  for (const e of loads) checkAccess('map', d.inputs[e.value]?.dtype ?? 'f32', e.type)
  for (const o of d.outputs) checkAccess('map', o.operand.dtype, o.value.type)
  if (nodes.some((e) => e.op === 'accumulator')) throw new Error('map: a map has no accumulator')

  checkF16('map', target, [...d.inputs, ...d.outputs.map((o) => o.operand)].map((o) => o.dtype))

  const still = d.shape.map(() => 0)
  const access = [...d.inputs.map((o, i) => (loads.some((e) => e.value === i) && !isBlank(o, d.shape) ? 'read' : 'none')), ...d.outputs.map(() => 'write' as const)] as const
  // What is not accessed must not keep axes from merging.
  const operands = [...d.inputs, ...d.outputs.map((o) => o.operand)].map((o, i) => (access[i] === 'none' ? { dtype: o.dtype, strides: still, offset: 0 } : o))
  const axes = mergeAxes(sortAxes(axesOf(d.shape, 0, operands, indexedAxes(values)), d.inputs.length))
  const uses = operands.map((operand, i): Use => ({ operand, access: access[i] ?? 'none', quads: isQuads(axes, i, operand.offset) }))
  const quads = quadBuffers(uses, buffers)
  const wide = uses.every((use, i) => use.access !== 'write' || quads.has(buffers[i] ?? i))
  const plan: MapPlan = { values, inputs: d.inputs.length, axes, uses, buffers, count }
  const crossed = crossedAxis(plan)
  const operations = nodes.filter((e) => e.args.length > 0).length
  return {
    dispatches: count === 0 ? [] : [crossed === undefined ? dispatchOf(plan, wide ? quads : new Set()) : transposedDispatch(plan, crossed)],
    flops: count * operations,
    bytes: uses.reduce((sum, use, i) => sum + (use.access === 'none' ? 0 : footprint(axes, i, bytesOf(use.operand.dtype))), 0),
  }
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Whether operand `o` can be accessed by aligned vectors of four elements along the last axis. */
function isQuads(axes: readonly Axis[], o: number, offset: number): boolean {
  const last = axes.at(-1)
  return last !== undefined && last.size % 4 === 0 && last.strides[o] === 1 && last.ranges[o] === undefined
    && offset % 4 === 0 && axes.slice(0, -1).every((axis) => (axis.strides[o] ?? 0) % 4 === 0)
}

/** `quads`: buffers accessed by vectors, all that have outputs or none at all. */
function dispatchOf({ values, inputs, axes, uses, buffers, count }: MapPlan, quads: ReadonlySet<number>): Dispatch {
  const lanes = quads.size > 0 ? 4 : 1
  const shader = new Shader('map')
  const bound = bindOperands('map', shader, uses, buffers, quads)
  const items = count / lanes
  const limit = shader.parameter('items', items)
  const last = axes.length - 1
  const { lines: split, names } = splitPosition(shader, 'id', axes.map((axis, a) => (a === last ? { ...axis, size: axis.size / lanes } : axis)), 'p')
  const positions = names.map((name, a) => (a === last && lanes > 1 ? `(${lanes}u * ${name})` : name))
  const addresses = new Addresses(shader, 'p')
  const at = uses.map((use, o) => (bound[o] === undefined ? '' : `${addresses.offset(o, use.operand)} + ${addresses.along(o, axes, positions)}`))

  /** For each input, what each lane reads; one text where it is the same for all. */
  const loaded = uses.slice(0, inputs).map(() => [] as readonly string[])
  const loading: string[] = []
  const laneAxis = axes[last]
  const lanePosition = (lane: number): string => (lane === 0 ? positions[last] ?? '0u' : `(${positions[last]} + ${lane}u)`)
  const load = (o: number, { array, held, quads: inQuads }: Bound): readonly string[] => {
    if (inQuads) {
      loading.push(...loadLines(`x${o}`, `${array}[(${at[o]}) >> 2u]`, `vec4<${held}>`, addresses.exists(o, axes, positions)))
      return ['x', 'y', 'z', 'w'].map((component) => `x${o}.${component}`)
    }
    const stride = laneAxis?.strides[o] ?? 0
    const varies = lanes > 1 && (stride !== 0 || laneAxis?.ranges[o] !== undefined)
    if (!varies) {
      loading.push(...loadLines(`x${o}`, `${array}[${at[o]}]`, held, addresses.exists(o, axes, positions)))
      return [`x${o}`]
    }
    const step = stride === 1 ? '' : ` * ${addresses.stride(o, last, stride)}`
    return range(lanes).map((lane) => {
      const position = positions.with(last, lanePosition(lane))
      loading.push(...loadLines(`x${o}_${lane}`, `${array}[${at[o]} + ${lane}u${step}]`, held, addresses.exists(o, axes, position)))
      return `x${o}_${lane}`
    })
  }
  bound.slice(0, inputs).forEach((b, o) => {
    if (b !== undefined) loaded[o] = load(o, b)
  })

  const leaf = (lane: number) => (e: Expression): string =>
    leafOf('map', e, { uses, bound }, axes, positions.map((name, a) => (a === last ? lanePosition(lane) : name)), (o) => loaded[o]?.[lane] ?? loaded[o]?.[0])
  const varies = (e: Expression): boolean => (e.op === 'index' ? laneAxis?.index === e.value : (loaded[e.value] ?? []).length > 1)
  const [same = []] = lanes > 1 ? hoist(values, 1, (e) => (varies(e) ? 1 : 0)) : []
  const once = emitExpressions(same, leaf(0), new Map(), 'shared')
  const known = new Map(same.map((e, i) => [e, once.values[i] ?? '']))
  const perLane = range(lanes).map((lane) => emitExpressions(values, leaf(lane), known, lanes > 1 ? `${'abcd'[lane]}` : 'v'))
  const stores = values.map((value, i) => {
    const o = inputs + i
    const [use, b] = [uses[o], bound[o]]
    if (use === undefined || b === undefined) throw new Error(`map: output ${i} is not bound`)
    const elements = perLane.map((lane) => narrow(lane.values[i] ?? '', value.type, use.operand.dtype, b.held))
    return b.quads ? `${b.array}[(${at[o]}) >> 2u] = vec4(${elements.join(', ')});` : `${b.array}[${at[o]}] = ${elements.join()};`
  })
  const lines = [...split, ...addresses.lines, ...loading, ...once.lines, ...perLane.flatMap((lane) => lane.lines), ...stores]
  const body = `  if (id < ${limit}) {\n${indent(lines, 2)}\n  }`
  return shader.dispatch({ code: functionsOf(body), body, size: groupSize, groups: Math.ceil(items / groupSize) })
}
