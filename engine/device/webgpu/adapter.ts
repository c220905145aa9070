/** Finding a GPU: its features and limits as far as the kernels use them. */
import { openGpu } from '#platform'
import type { WgslTarget } from '../../../kernels/wgsl/core/kernel.ts'
import { DeviceError } from '../../error.ts'
import type { GpuOptions } from '../../platform.ts'

interface Found {
  readonly adapter: GPUAdapter
  readonly name: string
  /** Runs on the processor: the CPU device is faster. */
  readonly software: boolean
  /** Neither commands nor accesses are checked. */
  readonly unchecked: boolean
}

export interface Adapter extends Omit<Found, 'adapter'> {
  readonly device: GPUDevice
  readonly target: WgslTarget
  /** Those that the kernels use. */
  readonly limits: Readonly<Record<string, number>>
}

const wantedFeatures: readonly GPUFeatureName[] = ['shader-f16', 'timestamp-query']
/** Taken as large as the adapter has them. */
const wantedLimits = ['maxStorageBufferBindingSize', 'maxBufferSize', 'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxStorageBuffersPerShaderStage'] as const

/** The adapter whose name has `name` in it; default: the fastest. Throws DeviceError where there is no WebGPU or no such adapter. */
export async function findAdapter(options: GpuOptions = {}): Promise<Found> {
  const gpu = await openGpu(options)
  const { adapter: name, unchecked = false } = options
  const adapter = await request(gpu).catch((error: unknown) => {
    throw new DeviceError(`device: WebGPU has no adapter${name === undefined ? '' : ` called ${name}`}; it has ${namesIn(error).join('; ') || `none (${String(error)})`}`)
  })
  if (adapter === null) throw new DeviceError(`device: WebGPU answers, but it has no adapter${name === undefined ? '' : ` called ${name}`}; update the graphics driver, or use the CPU device`)
  const { info } = adapter
  return {
    adapter,
    unchecked,
    name: [info.vendor, info.architecture, info.description === '' ? info.device : info.description].filter((part) => part !== '').join(' '),
    software: info.isFallbackAdapter || /llvmpipe|swiftshader|null-backend/i.test(`${info.device} ${info.description} ${info.architecture}`),
  }
}

/** Some implementations throw rather than reject. */
const request = async (gpu: GPU): Promise<GPUAdapter | null> => gpu.requestAdapter({ powerPreference: 'high-performance' })

/** Dawn lists its adapters only in the error that says that none has the name asked for. */
export async function adapterNames(): Promise<string[]> {
  const gpu = await openGpu({ adapter: 'no adapter is called that' })
  return request(gpu).then(() => [], namesIn)
}

function namesIn(error: unknown): string[] {
  return [...new Set([...String(error).matchAll(/, name: '(.*)'/g)].map(([, name = '']) => name))]
}

export async function openAdapter({ adapter, ...found }: Found): Promise<Adapter> {
  const features = wantedFeatures.filter((feature) => adapter.features.has(feature))
  const limits = Object.fromEntries(wantedLimits.map((limit) => [limit, adapter.limits[limit]]))
  const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits: limits })
  return {
    ...found,
    device,
    limits,
    target: { f16: features.includes('shader-f16') },
  }
}
