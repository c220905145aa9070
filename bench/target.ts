/** The devices that can be measured: how each is opened, what there is to say of it, and its peaks. */
import { device as openDevice } from '../engine/index.ts'
import type { Device, DeviceInfo, InstructionLevel } from '../engine/index.ts'
import { instructionLevels } from '../engine/device/cpu/instructions.ts'
import { measurePeak } from './peak.ts'

/** What a machine gives at most. */
export interface Peak {
  /** Of what: so many threads, a GPU. */
  readonly of: string
  /** Multiplications and additions a second. */
  readonly flops: number
  /** Bytes a second. */
  readonly bandwidth: number
}

export interface Target {
  readonly open: () => Promise<Device>
  /** Name and value. */
  readonly facts: (info: DeviceInfo) => readonly (readonly [string, string])[]
  /** To be measured one after another, with no device open; subjects are held to the last. */
  readonly peaks: (info: DeviceInfo) => readonly (() => Promise<Peak>)[]
}

export interface CpuOptions {
  readonly threads: number
  /** Default: the best there is. */
  readonly level?: InstructionLevel | undefined
  /** Whether flags of V8 may be set. */
  readonly experimental: boolean
}

export function cpuTarget({ threads, level: wanted, experimental }: CpuOptions): Target {
  const instructions = (info: DeviceInfo): { readonly level: InstructionLevel; readonly why: string } => {
    const level = instructionLevels.find((known) => known === info.instructions?.level)
    if (info.instructions === undefined || level === undefined) throw new RangeError('a CPU device has instructions')
    return { level, why: info.instructions.why }
  }
  return {
    open: () => openDevice('cpu', { threads, experimental, ...(wanted !== undefined && { instructions: wanted }), makeDefault: false }),
    facts(info) {
      const { level, why } = instructions(info)
      return [['device', info.description], ['instructions', `${level}: ${why}`]]
    },
    peaks: (info) => [...new Set([1, threads])].map((count) => async () => ({
      of: `${count} thread${count === 1 ? '' : 's'}`,
      ...await measurePeak({ threads: count, level: instructions(info).level, experimental }),
    })),
  }
}

/** `adapter`: part of a GPU's name; default: the fastest. */
export function webgpuTarget(adapter?: string): Target {
  const open = (): Promise<Device> => openDevice('webgpu', { ...(adapter !== undefined && { adapter }), makeDefault: false })
  return {
    open,
    facts: ({ description, adapter: found }) => [['device', description], ['features', found?.features.join(', ') ?? 'unknown']],
    peaks: () => [async () => {
      await using device = await open()
      const peaks = await device.backend.peaks?.()
      if (peaks === undefined) throw new RangeError('a WebGPU device measures its peaks')
      return { of: 'f32', flops: peaks.flopsPerSecond, bandwidth: peaks.bytesPerSecond }
    }],
  }
}
