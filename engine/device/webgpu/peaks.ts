/** The most that a GPU can do, measured: multiply-adds a second in f32, and bytes a second through memory. */
import { copyProbe, multiplyAddProbe } from '../../../kernels/wgsl/core/probes.ts'
import type { WgslKernel } from '../../../kernels/wgsl/core/kernel.ts'
import type { Peaks } from '../backend.ts'
import { usage } from './flags.ts'
import type { Pipelines } from './pipelines.ts'
import type { Staging } from './staging.ts'

interface Probing {
  readonly device: GPUDevice
  readonly pipelines: Pipelines
  readonly staging: Staging
  readonly software: boolean
}

const repeats = 3
/** Long enough for the clock and short enough for any watchdog. */
const seconds = 0.004

export async function measurePeaks(probing: Probing): Promise<Peaks> {
  const { software, device: { limits } } = probing
  // Enough for every thread of a large GPU; one processor would take seconds.
  const groups = software ? 64 : 2048
  const once = await timeOf(probing, multiplyAddProbe(groups, 1), [groups * 1024])
  const rounds = Math.max(1, Math.min(4096, Math.round(seconds / once)))
  const arithmetic = multiplyAddProbe(groups, rounds)
  const copied = Math.min(software ? 2 ** 24 : 2 ** 28, limits.maxStorageBufferBindingSize) // Larger than caches are.
  const copy = copyProbe(Math.floor(copied / 16) * 4)
  return {
    flopsPerSecond: arithmetic.flops / (await timeOf(probing, arithmetic, [groups * 1024])),
    bytesPerSecond: copy.bytes / (await timeOf(probing, copy, [copied, copied])),
  }
}

/** The shortest of a few times, in seconds; the first is not counted. */
async function timeOf({ device, pipelines, staging }: Probing, { dispatches }: WgslKernel, sizes: readonly number[]): Promise<number> {
  const [dispatch] = dispatches
  if (dispatch === undefined) throw new RangeError('a probe is one dispatch')
  const pipeline = await pipelines.pipeline(dispatch, 'a probe')
  const pairs = 1 + repeats
  const clock = device.createQuerySet({ type: 'timestamp', count: 2 * pairs })
  const buffers = [
    ...sizes.map((size) => device.createBuffer({ size, usage: usage.storage })),
    device.createBuffer({ size: dispatch.parameters.length, usage: usage.uniform | usage.copyTarget }),
    device.createBuffer({ size: 16 * pairs, usage: usage.queryResolve | usage.copySource }),
  ]
  try {
    const [uniforms, resolved] = buffers.slice(-2)
    if (uniforms === undefined || resolved === undefined) throw new RangeError('two buffers')
    device.queue.writeBuffer(uniforms, 0, dispatch.parameters)
    const group = device.createBindGroup({ layout: pipelines.groupLayout(dispatch), entries: buffers.slice(0, -1).map((buffer, binding) => ({ binding, resource: { buffer } })) })
    const encoder = device.createCommandEncoder()
    for (let i = 0; i < pairs; i++) {
      const pass = encoder.beginComputePass({ timestampWrites: { querySet: clock, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 } })
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(...dispatch.workgroups)
      pass.end()
    }
    encoder.resolveQuerySet(clock, 0, 2 * pairs, resolved, 0)
    const home = staging.take(resolved.size)
    encoder.copyBufferToBuffer(resolved, 0, home, 0, resolved.size)
    device.queue.submit([encoder.finish()])
    const stamps = new BigUint64Array(await staging.read(home, 16 * pairs))
    const times = Array.from({ length: repeats }, (_, i) => Number((stamps[2 * i + 3] ?? 0n) - (stamps[2 * i + 2] ?? 0n)) / 1e9)
    return Math.max(1e-9, Math.min(...times.filter((time) => time > 0)))
  } finally {
    for (const buffer of buffers) buffer.destroy()
    clock.destroy()
  }
}
