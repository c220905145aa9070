import type { WgslKernel } from '../../../kernels/wgsl/core/kernel.ts'
import type { Values } from '../launch-rows.ts'
import { runWgsl } from './run.ts'

/** Runs a kernel for which the buffers `which` are of type f16. */
export async function inHalves(kernel: WgslKernel, buffers: readonly Values[], which: readonly number[]): Promise<void> {
  const rounded = buffers.map((values, i) => (which.includes(i) ? Float16Array.from(values) : values))
  await runWgsl(kernel, rounded.map((values) => (values instanceof Float16Array ? new Uint16Array(values.buffer) : values)))
  rounded.forEach((values, i) => buffers[i]?.set(values))
}
