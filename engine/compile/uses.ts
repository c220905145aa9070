/**
 * Which values need memory of their own. A value is computed inside the kernel that reads it if all its readers end in
 * one kernel; operands of hand-written kernels are stored, and so are their results, except that a product takes its
 * readers into its own kernel (`pendingProduct.ts`). Decided by dataflow alone, from the last step backwards.
 */
import type { DType } from '../dtype.ts'
import type { Elementwise, Role } from '../op.ts'
import { at } from '../shape.ts'
import type { KernelOperands } from './kernelOperands.ts'
import type { LoweredGraph, Step, Value } from './lower.ts'

type StepRole = Role | { readonly kind: 'elementwise'; readonly op: Elementwise } | { readonly kind: 'kernel' }

/** What the compiler makes of a step. */
export function roleOf({ op, attributes, inputs }: Step): StepRole {
  if (op.kind === 'elementwise') return { kind: 'elementwise', op }
  return (op.kind === 'primitive' ? op.role?.(attributes, inputs.map((v) => v.spec)) : undefined) ?? { kind: 'kernel' }
}

/** A kernel that a value's readers end in. */
type Sink = string

export function storedValues({ steps, results }: LoweredGraph): Set<number> {
  const stored = new Set<number>(results.map((r) => r.value.id))
  const sinks = new Map<number, Set<Sink>>()
  const sinkOf = (v: Value): Sink => {
    const own = sinks.get(v.id)
    const [only] = own ?? []
    return stored.has(v.id) || only === undefined || own?.size !== 1 ? `value ${v.id}` : only
  }
  const flow = (v: Value, sink: Sink): void => {
    const known = sinks.get(v.id)
    if (known === undefined) sinks.set(v.id, new Set([sink]))
    else known.add(sink)
  }
  steps.toReversed().forEach((step, back) => {
    for (const v of step.outputs) if ((sinks.get(v.id)?.size ?? 0) > 1 || roundsWhenStored(v.spec.dtype)) stored.add(v.id)
    const [output] = step.outputs
    const { kind } = roleOf(step)
    step.inputs.forEach((v, i) => {
      if (kind === 'kernel') stored.add(v.id)
      else if (kind === 'elementwise' && output !== undefined) flow(v, sinkOf(output))
      else flow(v, `${kind} ${back}.${i}`)
    })
  })
  return stored
}

/** These types change the value when they are stored, so they always are. f16 is rounded in registers (`halfRounding.ts`). */
const roundsWhenStored = (dtype: DType): boolean => dtype === 'bf16' || dtype === 'u8'

/** Computing a value again takes a rounding too, and reading it moves fewer bytes than what it is made of. */
export const isNarrow = (dtype: DType): boolean => dtype === 'f16' || roundsWhenStored(dtype)

/**
 * Values that a kernel may write as f16: they are that, or f32 of which nothing but f16 is wanted. All their readers cast them to
 * f16, move them to where that is done, or take them as f16 for results that are such values themselves.
 */
export function narrowedValues({ steps, results }: LoweredGraph, halves: KernelOperands['halves']): Set<number> {
  const narrowed = new Set<number>()
  const others = new Set<number>(results.map((r) => r.value.id))
  const used = new Set([...others, ...steps.flatMap((step) => step.inputs.map(({ id }) => id))])
  const isNarrowed = ({ id, spec }: Value): boolean => spec.dtype === 'f16' || !used.has(id) || (spec.dtype === 'f32' && narrowed.has(id) && !others.has(id))
  for (const step of steps.toReversed()) {
    const [output] = step.outputs
    const role = roleOf(step)
    const narrows = (role.kind === 'movement' || (role.kind === 'elementwise' && role.op.converts === true)) && output !== undefined && isNarrowed(output)
    const taken = halves(step)
    const inHalves = taken !== undefined && taken.outputs.length > 0 && taken.outputs.every((i) => isNarrowed(at(step.outputs, i)))
    step.inputs.forEach(({ id }, i) => {
      if (narrows) narrowed.add(id)
      else if (!(inHalves && taken.inputs.includes(i))) others.add(id)
    })
  }
  return new Set(steps.flatMap((step) => step.outputs).filter(isNarrowed).map(({ id }) => id))
}

/** Values that are read by elementwise ops alone, if at all, of which nothing but results comes. */
export function finalValues({ steps, results }: LoweredGraph): Set<number> {
  const final = new Set<number>(results.map((r) => r.value.id))
  const others = new Set<number>()
  for (const step of steps.toReversed()) {
    const ends = roleOf(step).kind === 'elementwise' && step.outputs.every((v) => final.has(v.id))
    for (const { id } of step.inputs) {
      if (!ends) others.add(id)
      if (others.has(id)) final.delete(id)
      else final.add(id)
    }
  }
  return final
}
