/**
 * The meta device: shapes and types without values. Tensors and models are made on it as on any other, with every dtype,
 * and take no memory however large they are; what would compute is refused.
 */
import { byteSize } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { DeviceError } from '../error.ts'
import type { Backend, MemoryBlock, Executable } from './backend.ts'
import { Device } from './device.ts'

const refusal = 'the meta device knows shapes and types but no values; build the model on await device("cpu") to compute'

class MetaBackend implements Backend {
  readonly kind = 'meta'
  readonly description = 'meta: shapes and types, no values'
  readonly fingerprint = 'meta'
  readonly refusal = refusal
  readonly dtypes: ReadonlySet<DType> = new Set(['f32', 'f16', 'bf16', 'f64', 'i32', 'u32', 'u8', 'bool'])
  readonly memoryLimit = 0

  byteSize(dtype: DType): number {
    return byteSize(dtype)
  }

  accepts(): boolean {
    return true
  }

  async compile(): Promise<Executable> {
    throw new DeviceError(refusal)
  }

  allocate(): MemoryBlock | undefined {
    return undefined
  }

  release(): void {}

  write(): void {
    throw new DeviceError(refusal)
  }

  async read(): Promise<never> {
    throw new DeviceError(refusal)
  }

  async run(): Promise<never> {
    throw new DeviceError(refusal)
  }

  async close(): Promise<void> {}
}

/**
 * A new meta device, at once: `withDefaultDevice(metaDevice(), () => new Model())` has the names and shapes of a model of
 * any size. Inputs for it must be made on the same one, `model.weight.device`. Computing throws DeviceError.
 */
export function metaDevice(): Device {
  return new Device(new MetaBackend())
}
