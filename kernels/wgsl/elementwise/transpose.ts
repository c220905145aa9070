/**
 * Elementwise kernels of which some inputs are contiguous along another axis than the outputs, layout copies above all. A
 * workgroup has a tile of 32 × 32 positions of the two axes: it reads those inputs along theirs into workgroup memory, then
 * computes and writes along that of the outputs. Rows of the tile are 33 long, so that its columns lie in different banks.
 */
import type { Axis } from '../../ir/domain.ts'
import type { Expression } from '../../ir/expression.ts'
import { emitExpressions, narrow } from '../core/emit.ts'
import { functionsOf } from '../core/functions.ts'
import type { Dispatch } from '../core/kernel.ts'
import { Addresses, bindOperands, indent, leafOf, loadLines, splitPosition, type Use } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'

const groupSize = 256
const tile = 32
const rounds = (tile * tile) / groupSize
/** Shorter axes would leave most of a tile empty. */
const shortest = 16
/** Tiles in workgroup memory: 4 KiB each. */
const mostTiles = 3

export interface MapPlan {
  readonly values: readonly Expression[]
  readonly inputs: number
  /** Sorted by the strides of the first output, and merged. */
  readonly axes: readonly Axis[]
  readonly uses: readonly Use[]
  readonly buffers: readonly number[]
  readonly count: number
}

const isCrossed = ({ axes, uses, inputs }: MapPlan, o: number, axis: number): boolean =>
  o < inputs && uses[o]?.access === 'read' && axes[axis]?.strides[o] === 1 && (axes.at(-1)?.strides[o] ?? 0) !== 0 && axes.every((a) => a.ranges[o] === undefined)

/** The axis along which inputs are to be read into tiles; undefined if there is none. */
export function crossedAxis(plan: MapPlan): number | undefined {
  const { axes, uses, inputs } = plan
  const last = axes.length - 1
  const packed = uses.slice(inputs).every((_, i) => axes[last]?.strides[inputs + i] === 1)
  const found = axes.findIndex((axis, a) => a < last && axis.size >= shortest && uses.some((_, o) => isCrossed(plan, o, a)))
  return found < 0 || !packed || (axes[last]?.size ?? 0) < shortest ? undefined : found
}

export function transposedDispatch(plan: MapPlan, crossed: number): Dispatch {
  const { values, inputs, axes, uses, buffers } = plan
  const shader = new Shader('map transposed')
  const bound = bindOperands('map', shader, uses, buffers, new Set())
  const last = axes.length - 1
  const inTiles = uses.flatMap((_, o) => (isCrossed(plan, o, crossed) ? [o] : [])).slice(0, mostTiles)
  const tiles = axes.map((axis, a) => (a === crossed || a === last ? { ...axis, size: Math.ceil(axis.size / tile) } : axis))
  const groups = tiles.reduce((all, { size }) => all * size, 1)
  const total = shader.parameter('groups', groups)
  const { lines: split, names } = splitPosition(shader, 'workgroup', tiles, 't')
  const [lastSize, crossedSize] = [shader.parameter('lastSize', axes[last]?.size ?? 1), shader.parameter('crossedSize', axes[crossed]?.size ?? 1)]
  const at = (lastName: string, crossedName: string): string[] => names.map((name, a) => (a === last ? lastName : a === crossed ? crossedName : name))

  const place = (addresses: Addresses, o: number, use: Use, position: readonly string[]): string => `${bound[o]?.array}[${addresses.offset(o, use.operand)} + ${addresses.along(o, axes, position)}]`

  const from = new Addresses(shader, 'r')
  const rows = Array.from({ length: rounds }, (_, k) => `row + ${(k * tile) / rounds}u`)
  const places = rows.map((row, k) => `let last${k} = ${names[last]} * ${tile}u + ${row};`)
  // All loads before the first store, so that they are under way together.
  const reads = rows.flatMap((_, k) => uses.flatMap((use, o) => (inTiles.includes(o)
    ? loadLines(`x${o}_${k}`, place(from, o, use, at(`last${k}`, 'crossed')), bound[o]?.held ?? 'f32', `crossed < ${crossedSize} && last${k} < ${lastSize}`) : [])))
  const filling = rows.flatMap((row, k) => inTiles.map((o) => `tile${o}[(${row}) * ${tile + 1}u + lane] = x${o}_${k};`))

  const addresses = new Addresses(shader, 'p')
  const position = at('last', 'across')
  const loads = uses.slice(0, inputs).flatMap((use, o) => (bound[o] === undefined ? [] : inTiles.includes(o)
    ? [`let y${o} = tile${o}[lane * ${tile + 1}u + column];`]
    : loadLines(`y${o}`, place(addresses, o, use, position), bound[o].held, addresses.exists(o, axes, position))))
  const { lines, values: results } = emitExpressions(values, (e) => leafOf('map', e, { uses, bound }, axes, position, (o) => (bound[o] === undefined ? undefined : `y${o}`)))
  const stores = uses.slice(inputs).map((use, i) => `${place(addresses, inputs + i, use, position)} = ${narrow(results[i] ?? '', values[i]?.type ?? 'f32', use.operand.dtype, bound[inputs + i]?.held ?? 'f32')};`)
  const body = `
  if (workgroup < ${total}) {
    let lane = local % ${tile}u;
    let row = local / ${tile}u;
${indent(split, 2)}
    let crossed = ${names[crossed]} * ${tile}u + lane;
${indent([...places, ...from.lines, ...reads, ...filling], 2)}
    workgroupBarrier();
    let last = ${names[last]} * ${tile}u + lane;
    for (var column = row; column < ${tile}u; column += ${tile / rounds}u) {
      let across = ${names[crossed]} * ${tile}u + column;
      if (last < ${lastSize} && across < ${crossedSize}) {
${indent([...addresses.lines, ...loads, ...lines, ...stores], 4)}
      }
    }
  }`
  const memory = inTiles.map((o) => `var<workgroup> tile${o}: array<${bound[o]?.held}, ${tile * (tile + 1)}>;`).join('\n')
  return shader.dispatch({ code: `${memory}\n${functionsOf(body)}`, body, size: groupSize, groups })
}
