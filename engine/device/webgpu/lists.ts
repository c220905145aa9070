/**
 * The ops over lists of tensors. Where the tensors lie in arenas a list is one dispatch for each arena; otherwise each tensor has
 * a dispatch of its own.
 */
import { adamwKernel } from '../../../kernels/wgsl/optim/adamw.ts'
import { mapKernel } from '../../../kernels/wgsl/elementwise/map.ts'
import type { Operand } from '../../../kernels/ir/descriptor.ts'
import { load } from '../../../kernels/ir/expression.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../../../kernels/wgsl/core/kernel.ts'
import { squaredNormKernel } from '../../../kernels/wgsl/optim/squaredNorm.ts'
import { squaredNormChunk, updatedInput } from '../../ops/optimizer.ts'
import type { AdamWAttributes } from '../../ops/optimizer.ts'
import type { OpLaunch } from '../../compile/plan.ts'
import { at, sizeOf } from '../../shape.ts'
import type { Call } from '../rules/table.ts'
import { packed } from '../rules/layouts.ts'
import type { KernelRule } from '../rules/rule.ts'
import type { ArenaPlan } from './arenas.ts'

/** A kernel whose buffers have other numbers. */
function renumbered({ dispatches }: WgslKernel, numbers: readonly number[]): Dispatch[] {
  return dispatches.map((d) => ({ ...d, bindings: d.bindings.map(({ buffer, access }) => ({ buffer: at(numbers, buffer), access })) }))
}

function joined(kernels: readonly WgslKernel[], dispatches: readonly Dispatch[]): WgslKernel {
  return { dispatches, flops: kernels.reduce((sum, k) => sum + k.flops, 0), bytes: kernels.reduce((sum, k) => sum + k.bytes, 0) }
}

/** Tensor by tensor: results that are not in the memory of what they update begin as copies of it. */
export const adamw: KernelRule<WgslKernel, WgslTarget> = {
  accepts: () => true,
  layouts(step) {
    const { count } = step.attributes as AdamWAttributes
    return { ...packed(step), inPlace: (output, input) => input === updatedInput(output, count) }
  },
  kernel({ inputs, step, shared }, target) {
    const { count, ema } = step.attributes as AdamWAttributes
    const lists = ema ? 4 : 3
    const parts = Array.from({ length: count }, (_, i) => {
      const elements = sizeOf(at(inputs, 1 + i).shape)
      const outputs = Array.from({ length: lists }, (__, k) => k * count + i)
      const operand = { dtype: 'f32' as const, strides: [1], offset: 0 }
      const copy = mapKernel({ shape: [elements], inputs: [operand], outputs: [{ operand, value: load(0, 'f32') }] }, target)
      const copies = outputs.filter((o) => !shared(o, updatedInput(o, count))).flatMap((o) => renumbered(copy, [updatedInput(o, count), inputs.length + o]))
      const update = adamwKernel({ elements, ema })
      const [p = 0, ...rest] = outputs.map((o) => inputs.length + o)
      return { kernel: update, dispatches: [...copies, ...renumbered(update, [0, p, 1 + count + i, ...rest])] }
    })
    return joined(parts.map((p) => p.kernel), parts.flatMap((p) => p.dispatches))
  },
}

export const squaredNorm: KernelRule<WgslKernel, WgslTarget> = {
  accepts: () => true,
  layouts: packed,
  kernel: ({ inputs }) => squaredNormKernel({ chunk: squaredNormChunk, tensors: inputs.map((x, buffer) => ({ buffer, first: 0, elements: sizeOf(x.shape) })), output: inputs.length, operands: inputs.length + 1 }),
}

/** Arenas are numbered behind the plan's `buffers`. Undefined if the tensors of the launch lie elsewhere. */
type ArenaCall = (launch: OpLaunch, plan: ArenaPlan, buffers: number, target: WgslTarget) => Call<WgslKernel> | undefined

const adamwInArenas: ArenaCall = (launch, { segments }, buffers, target) => {
  const update = segments.get(launch)
  if (update === undefined) return undefined
  const { ema } = launch.step.attributes as AdamWAttributes
  const operands = [at(launch.inputs, 0).buffer, ...update.flatMap((segment) => segment.arenas.map((arena) => buffers + arena))]
  const lists = ema ? 5 : 4
  const operandOf = (arena: number): number => operands.indexOf(buffers + arena)
  const kernels = update.map(({ elements }) => adamwKernel({ elements, ema }))
  const copies = update.flatMap((segment) => segment.copies.flatMap(({ from, to, elements }) => {
    const shared = from.arena === to.arena
    const place = ({ first }: typeof from): Operand => ({ dtype: 'f32', strides: [1], offset: first })
    const copy = mapKernel({ shape: [elements], inputs: [place(from)], outputs: [{ operand: place(to), value: load(0, 'f32') }] }, target, [0, shared ? 0 : 1])
    return renumbered(copy, [operandOf(from.arena), operandOf(to.arena)])
  }))
  const steps = kernels.flatMap((kernel, s) => renumbered(kernel, [0, ...Array.from({ length: lists }, (_, k) => 1 + s * lists + k)]))
  return { kernel: joined(kernels, [...copies, ...steps]), buffers: operands }
}

const squaredNormInArenas: ArenaCall = (launch, { arenas }, buffers) => {
  const places = launch.inputs.map(({ buffer, view }) => {
    const arena = arenas.findIndex(({ workspace, members }) => workspace && members.includes(buffer))
    const { members = [], offsets = [] } = arenas[arena] ?? {}
    return { arena, first: (offsets[members.indexOf(buffer)] ?? 0) / 4, elements: sizeOf(view.shape) }
  })
  if (places.some(({ arena }) => arena < 0)) return undefined
  const used = [...new Set(places.map(({ arena }) => arena))]
  const tensors = places.map(({ arena, first, elements }) => ({ buffer: used.indexOf(arena), first, elements }))
  return { kernel: squaredNormKernel({ chunk: squaredNormChunk, tensors, output: used.length, operands: used.length + 1 }), buffers: [...used.map((arena) => buffers + arena), at(launch.outputs, 0).buffer] }
}

const arenaCalls: Readonly<Record<string, ArenaCall | undefined>> = { adamw: adamwInArenas, squaredNorm: squaredNormInArenas }

/** The call of a launch over arenas. */
export const arenaCall: ArenaCall = (launch, plan, buffers, target) => arenaCalls[launch.step.op.name]?.(launch, plan, buffers, target)
