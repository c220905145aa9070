/** Finding a GPU: its features and limits as far as the kernels use them. */
import { openGpu } from '#platform'
import type { WgslTarget } from '../../../kernels/wgsl/kernel.ts'
import { DeviceError } from '../../error.ts'

export interface Adapter {
  readonly device: GPUDevice
  readonly target: WgslTarget
  readonly name: string
  /** Runs on the processor: the CPU device is faster. */
  readonly software: boolean
}

const wantedFeatures: readonly GPUFeatureName[] = ['shader-f16', 'subgroups', 'timestamp-query']
/** Taken as large as the adapter has them. */
const wantedLimits = ['maxStorageBufferBindingSize', 'maxBufferSize', 'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxStorageBuffersPerShaderStage'] as const

/** Throws DeviceError where there is no WebGPU or no adapter. */
export async function openAdapter(name?: string): Promise<Adapter> {
  const gpu = await openGpu(name)
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (adapter === null) throw new DeviceError(`device: WebGPU answers, but it has no adapter${name === undefined ? '' : ` called ${name}`}; update the graphics driver, or use device("cpu")`)
  const features = wantedFeatures.filter((feature) => adapter.features.has(feature))
  const limits = Object.fromEntries(wantedLimits.map((limit) => [limit, adapter.limits[limit]]))
  const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits: limits })
  const { info } = adapter
  return {
    device,
    name: [info.vendor, info.architecture, info.description === '' ? info.device : info.description].filter((part) => part !== '').join(' '),
    software: info.isFallbackAdapter || /llvmpipe|swiftshader/i.test(`${info.device} ${info.description} ${info.architecture}`),
    target: {
      f16: features.includes('shader-f16'), subgroups: features.includes('subgroups'),
      workgroupBytes: device.limits.maxComputeWorkgroupStorageSize, invocations: device.limits.maxComputeInvocationsPerWorkgroup,
    },
  }
}
