/** Opening the WebGPU device. */
import { gpuMissing } from '#platform'
import { DeviceError } from '../../error.ts'
import type { GpuOptions } from '../../platform.ts'
import { findAdapter, openAdapter } from './adapter.ts'
import { WebGpuBackend } from './backend.ts'

export interface WebGpuOptions extends GpuOptions {
  readonly progress?: (ready: number, all: number) => void
}

export async function openWebGpu({ progress, ...wanted }: WebGpuOptions = {}): Promise<WebGpuBackend> {
  return new WebGpuBackend({ adapter: await openAdapter(await findAdapter(wanted)), progress })
}

/** Throws an error that says why if no GPU answers, or only the processor in disguise. */
export async function openHardware({ progress }: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const missing = gpuMissing()
  if (missing !== undefined) throw new DeviceError(`device: there is no GPU: ${missing}`)
  const found = await findAdapter()
  if (found.software) throw new DeviceError(`device: the only adapter, ${found.name}, is software; the CPU device is faster`)
  return new WebGpuBackend({ adapter: await openAdapter(found), progress })
}
