/** A WebGPU device without a GPU: it schedules graphs and writes their kernels, and computes nothing. */
import { schedule } from '../engine/compile/schedule.ts'
import { labelText } from '../engine/compile/plan.ts'
import type { LoweredGraph } from '../engine/compile/lower.ts'
import type { Backend, Executable } from '../engine/device/backend.ts'
import { Device } from '../engine/device/device.ts'
import { metaDevice } from '../engine/device/meta.ts'
import { webgpuKernels } from '../engine/device/webgpu/kernels.ts'
import { explain, withDefaultDevice } from '../engine/index.ts'
import type { Tensor } from '../engine/index.ts'
import { floor } from '../kernels/wgsl/core/kernel.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../kernels/wgsl/core/kernel.ts'

/** A launch of a plan: what it is called, and its kernel. */
export interface Planned {
  readonly label: string
  readonly kernel: WgslKernel
}

/** The launches that the WebGPU device has for what `build` makes, on an adapter such as `target`. */
export async function launchesOf(build: () => Tensor | readonly Tensor[], target: WgslTarget = floor): Promise<Planned[]> {
  const planned: Planned[] = []
  const table = webgpuKernels(target)
  const compile = async (graph: LoweredGraph): Promise<Executable> => {
    const { launches } = schedule(graph, table)
    planned.push(...launches.map((launch) => ({ label: labelText(launch.label), kernel: table.call(launch).kernel })))
    return { peakBytes: 0, launches: launches.length, describe: () => '' }
  }
  const backend: Backend = Object.assign(Object.create(metaDevice().backend) as Backend, { kind: 'webgpu', refusal: undefined, compile, accepts: table.accepts.bind(table) })
  const device = new Device(backend)
  const made = withDefaultDevice(device, build)
  await explain(...('node' in made ? [made] : made))
  return planned
}

export const dispatchesOf = (launches: readonly Planned[]): Dispatch[] => launches.flatMap(({ kernel }) => [...kernel.dispatches])
