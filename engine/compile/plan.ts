/** A plan as data: buffers with lifetimes, and launches over them in order. What a device turns into kernels and addresses. */
import type { Expression } from '../../kernels/ir/expression.ts'
import { byteSize } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { formatShape } from '../shape.ts'
import type { BufferId, Load, Reduction } from './fragment.ts'
import type { LoweredGraph, Step } from './lower.ts'
import { sameView } from './view.ts'

/** Where a buffer's memory comes from: a leaf or a result of the run, or the workspace. */
export type Home =
  | { readonly kind: 'leaf'; readonly index: number }
  | { readonly kind: 'result'; readonly index: number }
  | { readonly kind: 'workspace' }

export interface PlanBuffer {
  readonly id: BufferId
  readonly dtype: DType
  readonly elements: number
  readonly bytes: number
  home: Home
}

/** What a launch is called, and the node it is of. A plan serves graphs whose modules have other paths; `path` is that in the graph it was compiled for. */
export interface Label extends Pick<Step, 'origin' | 'path'> {
  readonly name: string
}

/** The paths of the nodes of a captured graph, in its order. */
export type Paths = readonly string[]

export interface MapLaunch {
  readonly kind: 'map'
  readonly expression: Expression
  readonly loads: readonly Load[]
  readonly output: Load
  readonly label: Label
}

export interface ReduceLaunch {
  readonly kind: 'reduce'
  readonly reduction: Reduction
  readonly expression: Expression
  readonly loads: readonly Load[]
  readonly output: Load
  /** Set where the fold is cut into parts, to be folded by another launch: part p is written p·elements behind the output. */
  readonly parts?: number
  readonly label: Label
}

/** A hand-written kernel: what it computes is its op's meaning. */
export interface OpLaunch {
  readonly kind: 'op'
  readonly step: Step
  readonly inputs: readonly Load[]
  readonly outputs: readonly Load[]
  /** What becomes of each element of the one output as it is stored; the views of its loads have the output's shape. */
  readonly epilogue: { readonly expression: Expression; readonly loads: readonly Load[] } | undefined
  /** Whether an output may share an input's memory. */
  readonly inPlace: (output: number, input: number) => boolean
  /** Set where a launch before this one has laid an input out for the kernel. */
  readonly packed?: boolean
  readonly label: Label
}

/** Lays an input of a hand-written kernel out as the kernel reads it, once for all threads. */
export interface PackLaunch {
  readonly kind: 'pack'
  /** The kernel's launch as it were without this one. */
  readonly reader: OpLaunch
  readonly input: Load
  readonly output: Load
  readonly label: Label
}

export type Launch = MapLaunch | ReduceLaunch | OpLaunch | PackLaunch

export interface Plan {
  readonly graph: LoweredGraph
  readonly buffers: readonly PlanBuffer[]
  readonly launches: readonly Launch[]
}

export const labelOf = ({ op, origin, path }: Step, name: string = op.name): Label => ({ name, origin, path })

/** The module that a label names in a graph with these paths; without them, in the one that is being compiled. */
export function pathOf({ origin, path }: Pick<Step, 'origin' | 'path'>, paths: Paths = []): string {
  return paths[origin ?? -1] ?? path
}

export function labelText(label: Label, paths?: Paths): string {
  const path = pathOf(label, paths)
  return path === '' ? label.name : `${path}/${label.name}`
}

export const bytesOf = (dtype: DType, elements: number): number => elements * byteSize(dtype)

export const workspaceBuffer = (id: BufferId, dtype: DType, elements: number): PlanBuffer => ({ id, dtype, elements, bytes: bytesOf(dtype, elements), home: { kind: 'workspace' } })

/** Buffers a launch reads. */
export function readsOf(launch: Launch): readonly Load[] {
  switch (launch.kind) {
    case 'map':
      return launch.loads
    case 'reduce':
      return [...launch.loads, ...launch.reduction.loads]
    case 'op':
      return [...launch.inputs, ...(launch.epilogue?.loads ?? [])]
    case 'pack':
      return [launch.input]
    default:
      return launch satisfies never
  }
}

/** Buffers a launch writes. */
export function writesOf(launch: Launch): readonly Load[] {
  return launch.kind === 'op' ? launch.outputs : [launch.output]
}

/** Whether the launch, which writes the buffer, reads the leaf element by element if at all. */
export function readsInPlace(launch: Launch, buffer: BufferId, leaf: BufferId): boolean {
  if (launch.kind === 'reduce' || launch.kind === 'pack') return false
  if (launch.kind === 'map') return launch.loads.every((l) => l.buffer !== leaf || sameView(l.view, launch.output.view))
  const output = launch.outputs.findIndex((l) => l.buffer === buffer)
  if (launch.epilogue?.loads.some((l) => l.buffer === leaf) === true) return false
  return launch.inputs.every((l, input) => l.buffer !== leaf || launch.inPlace(output, input))
}

/** For each buffer, the launches that read it and those that write it, in order. */
export function accessesOf({ buffers, launches }: Pick<Plan, 'buffers' | 'launches'>): { readonly reads: readonly (readonly number[])[]; readonly writes: readonly (readonly number[])[] } {
  const [reads, writes] = [buffers.map((): number[] => []), buffers.map((): number[] => [])]
  launches.forEach((launch, i) => {
    for (const { buffer } of readsOf(launch)) reads[buffer]?.push(i)
    for (const { buffer } of writesOf(launch)) writes[buffer]?.push(i)
  })
  return { reads, writes }
}

function describeView({ view, dtype, buffer }: Load): string {
  const axes = view.shape.length === 0 ? '' : ` strides ${formatShape(view.strides)}`
  return `#${buffer} ${dtype}${formatShape(view.shape)}${axes}${view.mask === undefined ? '' : ' masked'}`
}

/** One line per launch. */
export function describeLaunch(launch: Launch, paths: Paths): string {
  const operands = readsOf(launch).map((l) => `#${l.buffer}`)
  return `${labelText(launch.label, paths)} (${[...new Set(operands)].join(' ')}) → ${writesOf(launch).map(describeView).join(', ')}`
}
