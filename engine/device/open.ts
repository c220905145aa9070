/** Opening devices. */
import { DeviceError, refuseOthers } from '../error.ts'
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
  /**
   * CPU: whether each kernel of the level `wide` runs beside its 128-bit like, on drawn data, before a plan uses it; one that writes
   * other bits stays at 128 bits, and `device.info` names it. Default true.
   */
  readonly trials?: boolean
  /** WebGPU in Node: part of the name of the adapter to use, as `langevin devices` lists them. Default: the fastest. */
  readonly adapter?: string
  /**
   * WebGPU in Node: leave out the validation of commands and the bounds of accesses to memory, for kernels that are trusted. One
   * that is wrong then reads and writes what it should not, and what the device would have refused goes unsaid. Default false.
   */
  readonly unchecked?: boolean
  /** WebGPU: called as the pipelines of a plan get ready, so that a page can show that it warms up. */
  readonly progress?: (ready: number, all: number) => void
  /** Whether constructors use the device from here on. Default true. */
  readonly makeDefault?: boolean
}

type Options = Omit<DeviceOptions, 'makeDefault'>

/**
 * Opens a device and makes it the one constructors use. Without a kind: `webgpu` if a GPU answers (software that poses as one
 * is never taken), else `cpu`; options that only one of the two has choose that one. `device.info` says which it is, and why there
 * is no GPU. Throws DeviceError where the kind is not to be had.
 */
export async function device(kind?: DeviceKind, { makeDefault = true, ...options }: DeviceOptions = {}): Promise<Device> {
  const fitting = kindOf(options)
  const wanted = kind ?? fitting
  const opened = wanted === undefined ? await openBest(options) : wanted === 'meta' ? metaDevice() : new Device(await open(wanted, options))
  if (makeDefault) setDefaultDevice(opened)
  return opened
}

/** The one kind that has all the options, if there are any. ConfigError where no kind has them. */
function kindOf({ adapter, unchecked, threads, sharedMemory, instructions, experimental, trials, progress: _, ...others }: Options): 'webgpu' | 'cpu' | undefined {
  refuseOthers('device', others)
  if (adapter !== undefined || unchecked !== undefined) return 'webgpu'
  return [threads, sharedMemory, instructions, experimental, trials].some((option) => option !== undefined) ? 'cpu' : undefined
}

async function openBest(options: Options): Promise<Device> {
  const { openHardware } = await import('./webgpu/open.ts')
  const gpu = await openHardware(options).catch((error: unknown) => (error instanceof Error ? error.message : String(error)))
  return typeof gpu === 'string' ? new Device(await open('cpu', options), { noGpu: gpu.replace(/^device: /, '') }) : new Device(gpu)
}

async function open(kind: Exclude<DeviceKind, 'meta'>, options: Options): Promise<Backend> {
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
