/** A compiled plan as text, for people. */
import type { MemoryPlan } from '../../compile/memory.ts'
import { describeLaunch } from '../../compile/plan.ts'
import type { Paths, Plan } from '../../compile/plan.ts'
import type { WasmKernel } from '../../../kernels/wasm/core/kernel.ts'
import type { Call } from '../rules/table.ts'

export function describePlan({ launches, buffers }: Plan, calls: readonly Call<WasmKernel>[], waits: readonly number[], { workspaceBytes, peakBytes }: MemoryPlan, paths: Paths): string {
  const lines = launches.map((launch, i) => {
    const { flops, bytes, items } = calls[i]?.kernel ?? { flops: 0, bytes: 0, items: 0 }
    return `${String(i).padStart(4)} ${describeLaunch(launch, paths)}  [${items} items, ${flops} flop, ${bytes} bytes]`
  })
  const flops = calls.reduce((n, c) => n + c.kernel.flops, 0)
  const bytes = calls.reduce((n, c) => n + c.kernel.bytes, 0)
  const meetings = waits.filter((launch) => launch >= 0).length
  return [...lines, `${launches.length} launches, ${meetings} meetings of the threads, ${buffers.length} buffers, ${flops} flop, ${bytes} bytes moved, workspace ${workspaceBytes} bytes, peak ${peakBytes} bytes`].join('\n')
}
