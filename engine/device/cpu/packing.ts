/**
 * Operands that a kernel would lay out anew for every chunk of its items are laid out once, by launches of their own
 * before the kernel's, into the workspace. Whether that pays depends on sizes alone; results are the same bits.
 */
import type { WasmKernel, WasmTarget } from '../../../kernels/wasm/core/kernel.ts'
import type { Load } from '../../compile/fragment.ts'
import { labelOf, workspaceBuffer } from '../../compile/plan.ts'
import type { Launch, Plan } from '../../compile/plan.ts'
import { at } from '../../shape.ts'
import type { KernelTable } from '../rules/table.ts'

export function packOperands(plan: Plan, table: KernelTable<WasmKernel, WasmTarget>): Plan {
  const buffers = [...plan.buffers]
  const launches = plan.launches.flatMap((launch): Launch[] => {
    const packing = launch.kind === 'op' ? table.packing(launch) : undefined
    if (launch.kind !== 'op' || packing === undefined) return [launch]
    const input = at(launch.inputs, packing.input)
    const buffer = workspaceBuffer(buffers.length, input.dtype, packing.elements)
    buffers.push(buffer)
    const output: Load = { ...input, buffer: buffer.id, view: { ...packing.panels, shape: input.view.shape, mask: undefined } }
    return [
      { kind: 'pack', reader: launch, input, output, label: labelOf(launch.step, `${launch.step.op.name} panels`) },
      { ...launch, inputs: launch.inputs.with(packing.input, output), packed: true },
    ]
  })
  return { ...plan, buffers, launches }
}
