/** A whole benchmark, the same in Node and in a page: peaks first, then the subjects, each shown as soon as it is measured. */
import { ConfigError } from '../engine/index.ts'
import type { DeviceInfo } from '../engine/index.ts'
import { measure } from './measure.ts'
import type { Measurement, Peer } from './measure.ts'
import type { Subject } from './subject.ts'
import { header, line, peakLine, row, widthsFor } from './table.ts'
import type { Peak, Target } from './target.ts'

export interface Report {
  /** What there is to know about machine, software and device: name and value. */
  readonly facts: readonly (readonly [string, string])[]
  /** Shares are of the last. */
  readonly peaks: readonly Peak[]
  readonly measurements: readonly Measurement[]
}

export interface RunOptions {
  readonly subjects: readonly Subject[]
  readonly target: Target
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

export async function run({ subjects, target, seconds, peer, facts, show }: RunOptions): Promise<Report> {
  const info = await describe(target)
  const all = [...facts, ...target.facts(info)]
  for (const [name, value] of all) show(`${name.padEnd(12)} ${value}`)
  const peaks: Peak[] = []
  for (const measurePeak of target.peaks(info)) {
    const peak = await measurePeak()
    show(`${'peak'.padEnd(12)} ${peakLine(peak)}`)
    peaks.push(peak)
  }
  const [widths, limit] = [widthsFor(subjects.map(({ name }) => name)), peaks.at(-1)]
  if (limit === undefined) throw new RangeError('one peak')
  show(`\n${line(header(peer !== undefined), widths)}`)
  const measurements: Measurement[] = []
  for (const subject of subjects) {
    const measurement = await measure(subject, { open: target.open, seconds, peer })
    show(line(row(measurement, limit), widths))
    measurements.push(measurement)
  }
  return { facts: all, peaks, measurements }
}

async function describe(target: Target): Promise<DeviceInfo> {
  await using device = await target.open()
  return device.info
}
