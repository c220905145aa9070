/** A trap for NaN, named after PyTorch's. */
import type { Device } from './device/device.ts'
import { refuseOthers } from './error.ts'
import { watched } from './watch.ts'

export interface AnomalyOptions {
  /** Whether infinities count too. Default false. */
  readonly infinities?: boolean
}

/**
 * What `fn` returns; while it runs, every run of the device ends with a DeviceError if an op in it makes a NaN of inputs that had none.
 * The error names the first: its step, the op and the path of its module, or the leaf that held one before. Ops are not fused
 * meanwhile, so runs are slower and take more memory; variables that the failed run moved are lost. WebGPU and reference devices.
 */
export async function detectAnomaly<T>(device: Device, fn: () => T | Promise<T>, { infinities = false, ...others }: AnomalyOptions = {}): Promise<T> {
  refuseOthers('detectAnomaly', others)
  return watched('detectAnomaly', device, { kind: 'anomalies', infinities }, fn)
}
