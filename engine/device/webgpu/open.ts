/** Opening the WebGPU device. */
import { openAdapter } from './adapter.ts'
import { WebGpuBackend } from './backend.ts'

export interface WebGpuOptions {
  readonly adapter?: string
  readonly progress?: (ready: number, all: number) => void
}

export async function openWebGpu({ adapter, progress }: WebGpuOptions = {}): Promise<WebGpuBackend> {
  return new WebGpuBackend({ adapter: await openAdapter(adapter), progress })
}
