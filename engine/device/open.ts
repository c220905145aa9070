/** Opening devices. */
import { DeviceError } from '../error.ts'
import { Device, setDefaultDevice } from './device.ts'
import type { Backend, DeviceKind } from './backend.ts'
import type { InstructionLevel } from './cpu/instructions.ts'
import { metaDevice } from './meta.ts'

export interface DeviceOptions {
  /** CPU threads; default: as many as the machine has cores. */
  readonly threads?: number
  /** CPU: use memory shared with workers. Default: where the platform has it. */
  readonly sharedMemory?: boolean
  /**
   * CPU: the level of vector instructions. Default: the best there is, by a self-test. `wide` is relaxed SIMD that V8's
   * experimental revectorizer joins into 256-bit instructions; its results are those of `relaxed`, bit for bit.
   */
  readonly instructions?: InstructionLevel
  /** CPU: whether flags of V8 may be set while kernels are compiled. Default true; with false, `wide` is never chosen. */
  readonly experimental?: boolean
  /** WebGPU in Node: part of the name of the adapter to use, as `langevin devices` lists them. Default: the fastest. */
  readonly adapter?: string
  /** WebGPU: called as the pipelines of a plan get ready, so that a page can show that it warms up. */
  readonly progress?: (ready: number, all: number) => void
  /** Whether constructors use the device from here on. Default true. */
  readonly makeDefault?: boolean
}

/**
 * Opens a device and makes it the one constructors use: `kind`, or the best that answers. `device.description` says which.
 * Throws DeviceError where the kind is not to be had.
 */
export async function device(kind?: DeviceKind, { makeDefault = true, ...options }: DeviceOptions = {}): Promise<Device> {
  const opened = kind === 'meta' ? metaDevice() : new Device(await open(kind ?? 'cpu', options))
  if (makeDefault) setDefaultDevice(opened)
  return opened
}

async function open(kind: Exclude<DeviceKind, 'meta'>, options: Omit<DeviceOptions, 'makeDefault'>): Promise<Backend> {
  switch (kind) {
    case 'cpu': {
      const { openCpu } = await import('./cpu/open.ts')
      return openCpu(options)
    }
    case 'reference': {
      const { ReferenceBackend } = await import('./reference/backend.ts')
      return new ReferenceBackend()
    }
    case 'webgpu': {
      const { openWebGpu } = await import('./webgpu/open.ts')
      return openWebGpu(options)
    }
    default:
      throw new DeviceError(`device: there is no device "${String(kind satisfies never)}"; use "webgpu", "cpu", "reference" or "meta"`)
  }
}
