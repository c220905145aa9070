/** Where the time of runs goes: GPU times of every launch, against what the device can do at most (the roofline of Williams et al. 2009). */
import type { LaunchTime, Peaks } from './device/backend.ts'
import type { Device } from './device/device.ts'
import { ConfigError, DeviceError, refuseOthers } from './error.ts'
import { watched } from './watch.ts'

export interface ProfileOptions {
  /** What the device can do at most. What is left out is measured, by a kernel of multiply-adds in f32 and by a copy. */
  readonly peaks?: Partial<Peaks>
}

/** One launch of one run. */
export interface ProfileRow {
  /** From 0, in the order in which they ran. */
  readonly run: number
  /** Its number in the run's plan. */
  readonly step: number
  readonly op: string
  /** Of the module; empty for none. */
  readonly path: string
  /** When it began, in seconds since the first launch. */
  readonly start: number
  /** On the GPU. */
  readonly seconds: number
  readonly flops: number
  readonly bytes: number
  readonly flopsPerSecond: number
  readonly bytesPerSecond: number
  /** What it would take at the peaks, over what it took. */
  readonly roofline: number
}

/** Runs the async `fn` and times every launch of `device` meanwhile. Throws DeviceError where the device has no clock. */
export async function profile<T>(device: Device, fn: () => T | Promise<T>, { peaks = {}, ...others }: ProfileOptions = {}): Promise<Profile<T>> {
  const { flopsPerSecond: _, bytesPerSecond: __, ...otherPeaks } = peaks
  refuseOthers('profile', { ...others, ...otherPeaks })
  for (const [name, peak] of Object.entries(peaks)) if (!(peak > 0)) throw new ConfigError(`profile: the peak ${name} is ${peak}, but must be above 0`)
  const runs: (readonly LaunchTime[])[] = []
  const value = await watched('profile', device, { kind: 'times', report: (launches) => runs.push(launches) }, fn)
  return new Profile(value, runs, await peaksOf(device, peaks))
}

async function peaksOf({ backend, name }: Device, { flopsPerSecond, bytesPerSecond }: Partial<Peaks>): Promise<Peaks> {
  if (flopsPerSecond !== undefined && bytesPerSecond !== undefined) return { flopsPerSecond, bytesPerSecond }
  const measured = await backend.peaks?.()
  if (measured === undefined) throw new DeviceError(`profile: the peaks of the ${name} device cannot be measured; give both`)
  return { flopsPerSecond: flopsPerSecond ?? measured.flopsPerSecond, bytesPerSecond: bytesPerSecond ?? measured.bytesPerSecond }
}

interface Total {
  readonly name: string
  readonly launches: number
  readonly seconds: number
  readonly flops: number
  readonly bytes: number
}

export class Profile<T> {
  /** What the function returned. */
  readonly value: T
  readonly runs: number
  readonly rows: readonly ProfileRow[]
  readonly peaks: Peaks
  /** Of all launches together. */
  readonly seconds: number

  constructor(value: T, runs: readonly (readonly LaunchTime[])[], peaks: Peaks) {
    this.value = value
    this.runs = runs.length
    this.peaks = peaks
    const origin = Math.min(...runs.flat().map(({ start }) => start))
    this.rows = runs.flatMap((launches, run) => launches.map(({ step, op, path, start, seconds, flops, bytes }) => ({
      run, step, op, path, start: start - origin, seconds, flops, bytes, ...this.rates({ seconds, flops, bytes }),
    })))
    this.seconds = this.rows.reduce((sum, row) => sum + row.seconds, 0)
  }

  private rates({ seconds, flops, bytes }: Pick<ProfileRow, 'seconds' | 'flops' | 'bytes'>): Pick<ProfileRow, 'flopsPerSecond' | 'bytesPerSecond' | 'roofline'> {
    const per = (amount: number): number => (seconds > 0 ? amount / seconds : 0)
    const least = Math.max(flops / this.peaks.flopsPerSecond, bytes / this.peaks.bytesPerSecond)
    return { flopsPerSecond: per(flops), bytesPerSecond: per(bytes), roofline: per(least) }
  }

  /** The launches that took longest (the same step of the same module over all runs is a line), then totals of each op. */
  table({ lines = 40, ...others }: { readonly lines?: number } = {}): string {
    refuseOthers('table', others)
    const steps = this.totals(({ path, op, step }) => `${String(step).padStart(4)} ${path === '' ? op : `${path}/${op}`}`)
    const ops = this.totals(({ op }) => op)
    const { flopsPerSecond, bytesPerSecond } = this.peaks
    return [
      `${this.rows.length} launches in ${this.runs} runs, ${milliseconds(this.seconds)} ms; peaks ${(flopsPerSecond / 1e9).toFixed(0)} GFLOP/s, ${(bytesPerSecond / 1e9).toFixed(1)} GB/s`,
      '', header('step'), ...steps.slice(0, lines).map((total) => this.line(total)), ...(steps.length > lines ? [`${steps.length - lines} more`] : []),
      '', header('op'), ...ops.map((total) => this.line(total)),
    ].join('\n')
  }

  private totals(nameOf: (row: ProfileRow) => string): Total[] {
    const totals = new Map<string, Total>()
    for (const row of this.rows) {
      const name = nameOf(row)
      const { launches, seconds, flops, bytes } = totals.get(name) ?? { launches: 0, seconds: 0, flops: 0, bytes: 0 }
      totals.set(name, { name, launches: launches + 1, seconds: seconds + row.seconds, flops: flops + row.flops, bytes: bytes + row.bytes })
    }
    return [...totals.values()].sort((x, y) => y.seconds - x.seconds)
  }

  private line(total: Total): string {
    const { flopsPerSecond, bytesPerSecond, roofline } = this.rates(total)
    const share = this.seconds > 0 ? total.seconds / this.seconds : 0
    return columns([milliseconds(total.seconds), percent(share), String(total.launches), (flopsPerSecond / 1e9).toFixed(1), (bytesPerSecond / 1e9).toFixed(1), percent(roofline)], total.name)
  }

  /** Chrome's trace-event JSON, for chrome://tracing or ui.perfetto.dev: a row of runs, and one of their launches. */
  trace(): string {
    const micro = (seconds: number): number => seconds * 1e6
    const event = (name: string, thread: number, start: number, seconds: number, args: object): object => ({ ph: 'X', pid: 0, tid: thread, name, ts: micro(start), dur: micro(seconds), args })
    const names = ['runs', 'launches'].map((name, tid) => ({ ph: 'M', pid: 0, tid, name: 'thread_name', args: { name } }))
    const spans = Array.from({ length: this.runs }, (_, run) => {
      const rows = this.rows.filter((row) => row.run === run)
      const start = Math.min(...rows.map((row) => row.start))
      return rows.length === 0 ? [] : [event(`run ${run}`, 0, start, Math.max(...rows.map((row) => row.start + row.seconds)) - start, { launches: rows.length })]
    })
    const launches = this.rows.map(({ op, path, start, seconds, ...args }) => event(path === '' ? op : `${path}/${op}`, 1, start, seconds, { op, path, ...args }))
    return JSON.stringify({ displayTimeUnit: 'ms', traceEvents: [...names, ...spans.flat(), ...launches] })
  }
}

const milliseconds = (seconds: number): string => (1000 * seconds).toFixed(3)
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`
const columns = (numbers: readonly string[], name: string): string => `${numbers.map((text) => text.padStart(9)).join(' ')}  ${name}`
const header = (name: string): string => columns(['ms', 'share', 'launches', 'GFLOP/s', 'GB/s', 'roofline'], name)
