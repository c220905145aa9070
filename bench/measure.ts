/**
 * Timing of subjects, by tinybench: in slices, so that two libraries can take turns on a machine whose speed drifts.
 * Every call is timed by itself, the host's part included.
 */
import { Bench } from 'tinybench'
import type { Device } from '../engine/index.ts'
import { call } from './subject.ts'
import type { Subject } from './subject.ts'

/** Times of calls, in milliseconds. */
export interface Times {
  readonly median: number
  /** A tenth of the calls were faster. */
  readonly p10: number
  readonly p90: number
  readonly least: number
  readonly calls: number
}

export interface Measurement {
  readonly name: string
  readonly flops: number
  readonly bytes: number
  readonly parameters?: number
  readonly ours: Times
  /** The other library's. */
  readonly peer?: Times
}

/** Another library that measures the case of a subject's name. */
export interface Peer {
  /** Milliseconds of each call in about `seconds`. */
  time(name: string, seconds: number): Promise<readonly number[]>
}

export interface MeasureOptions {
  /** A device for each subject, so that none inherits another's memory. */
  readonly open: () => Promise<Device>
  /** For each library, on each subject. */
  readonly seconds: number
  readonly peer?: Peer | undefined
}

/** Turns that the libraries take. */
const rounds = 5

/** Longer than threads spin after their work, so that those of one library are asleep while the other works. */
const pause = 30

export async function measure({ name, prepare }: Subject, { open, seconds, peer }: MeasureOptions): Promise<Measurement> {
  const [ours, theirs]: [number[], number[]] = [[], []]
  await using device = await open()
  const { record, ...work } = await prepare(device)
  const once = (): Promise<void> => call(record)
  await timed(once, seconds / rounds, { least: 3 }) // Compiles the plan and its kernels, and warms the host's code up.
  for (let round = 0; round < rounds; round++) {
    await rest()
    if (peer !== undefined) theirs.push(...(await peer.time(name, seconds / rounds)))
    if (peer !== undefined) await rest()
    await once() // Wakes the threads, and brings the data back into the caches.
    ours.push(...(await timed(once, seconds / rounds, { least: 1 })))
  }
  return { name, ...work, ours: timesOf(ours), ...(theirs.length > 0 && { peer: timesOf(theirs) }) }
}

const rest = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, pause))

/** Milliseconds of each call in about `seconds`, and of `least` calls at least. */
async function timed(once: () => Promise<void>, seconds: number, { least }: { readonly least: number }): Promise<readonly number[]> {
  const bench = new Bench({ time: 1000 * seconds, iterations: least, warmup: false, retainSamples: true, throws: true })
  bench.add('call', once, { async: true })
  const [task] = await bench.run()
  const result = task?.result
  return result !== undefined && 'latency' in result ? (result.latency.samples ?? []) : []
}

function timesOf(samples: readonly number[]): Times {
  const sorted = [...samples].sort((a, b) => a - b)
  const quantile = (share: number): number => {
    const place = share * (sorted.length - 1)
    const [low = NaN, high = low] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
    return low + (high - low) * (place - Math.floor(place))
  }
  return { median: quantile(0.5), p10: quantile(0.1), p90: quantile(0.9), least: quantile(0), calls: sorted.length }
}
