/** Devices as the command line opens and lists them: `--device`, `--adapter`, `--threads`, and `langevin devices`. */
import { RandomGenerator, device as openDevice, matmul, randint, softmax } from '../engine/index.ts'
import type { Device, DeviceInfo } from '../engine/index.ts'
import { adapterNames } from '../engine/device/webgpu/adapter.ts'
import { checkAgainstReference } from '../testing/compare.ts'
import type { TensorFunction } from '../testing/gradients.ts'
import type { Input } from '../testing/samples.ts'
import type { DeviceArguments } from './arguments.ts'
import type { Output, Progress } from './progress.ts'

export function openFor({ device: kind, adapter, threads }: DeviceArguments, progress?: (ready: number, all: number) => void): Promise<Device> {
  return openDevice(kind, { ...(adapter !== undefined && { adapter }), ...(threads !== undefined && { threads }), ...(progress && { progress }) })
}

/** For a command that computes for long: kernels that compile show, and a device that is not what one would want is said. */
export async function openShown(options: DeviceArguments, progress: Progress): Promise<Device> {
  const device = await openFor(options, (ready, all) => progress.compiled(ready, all))
  if (device.info.adapter?.software === true) progress.line(`warning: ${device.info.adapter.name} is software; the CPU device is several times faster (--device cpu)`)
  return device
}

const input = (...shape: number[]): Input => ({ shape, dtype: 'f32', seed: 1 })

/** What a device must get right, in few kernels: one that adds many terms, one with functions, one with integers. */
const checks: readonly { readonly name: string; readonly fn: TensorFunction; readonly inputs: readonly Input[] }[] = [
  { name: 'matmul', fn: (x, y) => matmul(x, y), inputs: [input(65, 130), input(130, 33)] },
  { name: 'softmax', fn: (x) => softmax(x, -1), inputs: [input(33, 131)] },
  { name: 'random bits', fn: () => randint([1000], { high: 2 ** 24, generator: new RandomGenerator(7) }), inputs: [] },
]

/** Prints all devices and what they get wrong; returns the exit code. */
export async function listDevices(output: Output): Promise<number> {
  let failures = 0
  const names = await adapterNames().catch(() => [])
  const wanted: DeviceArguments[] = [
    ...(names.length === 0 ? [undefined] : names).map((adapter) => ({ device: 'webgpu' as const, adapter, threads: undefined })),
    { device: 'cpu', adapter: undefined, threads: undefined },
  ]
  for (const [i, one] of wanted.entries()) {
    const { text, failed } = await describe(one, i === 0 && names.length > 1)
    output.write(`${i === 0 ? '' : '\n'}${text}\n`)
    failures += failed
  }
  return failures === 0 ? 0 : 1
}

async function describe(wanted: DeviceArguments, several: boolean): Promise<{ readonly text: string; readonly failed: number }> {
  const opened = await openFor(wanted).catch((error: unknown) => (error instanceof Error ? error.message : String(error)))
  if (typeof opened === 'string') return { text: row(wanted.device ?? '', opened), failed: 0 }
  await using device = opened
  const results: string[] = []
  let failed = 0
  for (const { name, fn, inputs } of checks) {
    const problem = await checkAgainstReference(fn, inputs, { device }).then(() => undefined, (error: unknown) => (error instanceof Error ? error.message : String(error)))
    results.push(row('', `${name}: ${problem ?? 'ok'}`))
    if (problem !== undefined) failed++
  }
  const option = wanted.adapter === undefined ? [] : [`--adapter "${wanted.adapter}"${several ? ' (the first)' : ''}`]
  return { text: [row(device.name, device.description), ...[...option, ...factsOf(device.info)].map((fact) => row('', fact)), ...results].join('\n'), failed }
}

const row = (name: string, text: string): string => `${name.padEnd(8)} ${text}`

export const describeInstructions = ({ level, why, failed }: NonNullable<DeviceInfo['instructions']>): string => `${level}: ${why}${failed.length === 0 ? '' : `; ${failed.length} kernels failed their trial and run at 128 bits`}`

function factsOf({ adapter, instructions }: DeviceInfo): string[] {
  if (instructions !== undefined) return [`instructions ${describeInstructions(instructions)}`]
  if (adapter === undefined) return []
  const limits = Object.entries(adapter.limits).map(([name, limit]) => `${name} ${limit}`)
  return [...(adapter.software ? ['software: the CPU device is faster'] : []), `features ${adapter.features.join(', ') || 'none'}`, `limits ${limits.join(', ')}`]
}
