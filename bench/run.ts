/** A whole benchmark, the same in Node and in a page: peaks first, then the subjects, each shown as soon as it is measured. */
import { ConfigError, device as openDevice } from '../engine/index.ts'
import type { Device, InstructionLevel } from '../engine/index.ts'
import { instructionLevels } from '../engine/device/cpu/instructions.ts'
import { measure } from './measure.ts'
import type { Measurement, Peer } from './measure.ts'
import { measurePeak } from './peak.ts'
import type { Peak } from './peak.ts'
import type { Subject } from './subject.ts'
import { header, line, peakLine, row, widthsFor } from './table.ts'

export interface Report {
  /** What there is to know about machine, software and device: name and value. */
  readonly facts: readonly (readonly [string, string])[]
  /** Of one thread, then of all. */
  readonly peaks: readonly Peak[]
  readonly measurements: readonly Measurement[]
}

export interface RunOptions {
  readonly subjects: readonly Subject[]
  readonly threads: number
  /** Default: the best there is. */
  readonly level?: InstructionLevel | undefined
  /** Whether flags of V8 may be set. */
  readonly experimental: boolean
  /** For each subject and library. */
  readonly seconds: number
  readonly peer?: Peer | undefined
  /** What to say of the machine and the software. */
  readonly facts: Report['facts']
  /** Takes a line of the report as it is. */
  readonly show: (text: string) => void
}

/** The subjects whose name contains `only`, or one of its parts between commas. Throws ConfigError where there are none. */
export function choose(subjects: readonly Subject[], only: string | undefined): readonly Subject[] {
  const chosen = subjects.filter(({ name }) => only === undefined || only.split(',').some((part) => name.includes(part)))
  if (chosen.length === 0) throw new ConfigError(`no subject's name contains "${only ?? ''}"; there are ${subjects.map(({ name }) => name).join(', ')}`)
  return chosen
}

export async function run({ subjects, threads, level, experimental, seconds, peer, facts, show }: RunOptions): Promise<Report> {
  const open = (): Promise<Device> => openDevice('cpu', { threads, experimental, ...(level !== undefined && { instructions: level }), makeDefault: false })
  const { description, instructions } = await details(open)
  const all = [...facts, ['device', description] as const, ['instructions', `${instructions.level}: ${instructions.why}`] as const]
  for (const [name, value] of all) show(`${name.padEnd(12)} ${value}`)
  const peaks: Peak[] = []
  for (const count of new Set([1, threads])) {
    const peak = await measurePeak({ threads: count, level: instructions.level, experimental })
    show(`${'peak'.padEnd(12)} ${peakLine(peak)}`)
    peaks.push(peak)
  }
  const [widths, limit] = [widthsFor(subjects.map(({ name }) => name)), peaks.at(-1)]
  if (limit === undefined) throw new RangeError('one peak')
  show(`\n${line(header(peer !== undefined), widths)}`)
  const measurements: Measurement[] = []
  for (const subject of subjects) {
    const measurement = await measure(subject, { open, seconds, peer })
    show(line(row(measurement, limit), widths))
    measurements.push(measurement)
  }
  return { facts: all, peaks, measurements }
}

async function details(open: () => Promise<Device>): Promise<{ readonly description: string; readonly instructions: { readonly level: InstructionLevel; readonly why: string } }> {
  await using device = await open()
  const { description, instructions } = device.info
  const level = instructionLevels.find((known) => known === instructions?.level)
  if (instructions === undefined || level === undefined) throw new RangeError('a CPU device has instructions')
  return { description, instructions: { level, why: instructions.why } }
}
