/**
 * Reductions of many elements to few outputs, which a thread would have to do alone, become two launches: one folds parts
 * of each output, the other the parts. Into how many parts depends on sizes alone, so that results do not depend on the
 * number of threads.
 */
import { accumulator, load } from '../../../kernels/ir/expression.ts'
import { reduceParts } from '../../../kernels/wasm/reduce/reduce.ts'
import { workspaceBuffer } from '../../compile/plan.ts'
import type { Plan, PlanBuffer, ReduceLaunch } from '../../compile/plan.ts'
import { bufferView, memoryOrder } from '../../compile/view.ts'
import { sizeOf } from '../../shape.ts'
import { describeReduction } from '../rules/generated.ts'

export function splitReductions(plan: Plan): Plan {
  const buffers = [...plan.buffers]
  const launches = plan.launches.flatMap((launch) => {
    const parts = launch.kind === 'reduce' ? reduceParts(describeReduction(launch).descriptor) : 1
    if (launch.kind !== 'reduce' || parts === 1) return [launch]
    const buffer = workspaceBuffer(buffers.length, launch.reduction.element.type, parts * sizeOf(launch.output.view.shape))
    buffers.push(buffer)
    return inParts(launch, parts, buffer)
  })
  return { ...plan, buffers, launches }
}

function inParts(launch: ReduceLaunch, parts: number, { id: buffer }: PlanBuffer): ReduceLaunch[] {
  const { reduction, output, label } = launch
  const { type } = reduction.element
  const part = bufferView(output.view.shape, memoryOrder(output.view))
  const shape = [parts, ...part.shape]
  const all = { ...part, shape, strides: [sizeOf(part.shape), ...part.strides] }
  return [
    { kind: 'reduce', reduction, expression: accumulator(type), loads: [], output: { id: 0, buffer, dtype: type, view: part }, parts, label: { ...label, name: `${label.name} in ${parts} parts` } },
    { ...launch, reduction: { kind: 'reduction', op: reduction.op, axes: [0], shape, element: load(0, type), loads: [{ id: 0, buffer, dtype: type, view: all }] } },
  ]
}
