/** Times of dispatches by timestamp queries. Each is in a compute pass of its own, since clocks stand between passes only. */
import { pathOf } from '../../compile/plan.ts'
import type { Paths } from '../../compile/plan.ts'
import { at } from '../../shape.ts'
import type { Bindings, LaunchTime } from '../backend.ts'
import type { WebGpuExecutable } from './executable.ts'
import { usage } from './flags.ts'
import type { Staging } from './staging.ts'
import type { Companion, Watcher } from './watch.ts'

/** Dispatches of a query set: WebGPU allows 4096 queries in one, and a dispatch takes two, of 8 bytes each. */
const perSet = 2048
const pairBytes = 16

export class Clocks implements Watcher {
  private readonly device: GPUDevice
  private readonly staging: Staging
  private readonly report: (launches: readonly LaunchTime[]) => void
  private readonly sets: GPUQuerySet[] = []
  private resolved: GPUBuffer | undefined
  /** The first timestamp of all. */
  private origin: bigint | undefined

  constructor(device: GPUDevice, staging: Staging, report: (launches: readonly LaunchTime[]) => void) {
    this.device = device
    this.staging = staging
    this.report = report
  }

  companion(executable: WebGpuExecutable, { paths }: Bindings): Promise<Companion> {
    const { launches: dispatches } = executable
    const bytes = pairBytes * dispatches
    const staging = bytes === 0 ? undefined : this.staging.take(bytes)
    const resolved = this.reserve(dispatches)
    let stamps = new BigUint64Array()
    return Promise.resolve({
      timestamps: (dispatch) => ({ querySet: at(this.sets, Math.floor(dispatch / perSet)), beginningOfPassWriteIndex: 2 * (dispatch % perSet), endOfPassWriteIndex: 2 * (dispatch % perSet) + 1 }),
      copy: (encoder) => {
        if (staging === undefined) return
        for (let first = 0; first < dispatches; first += perSet) encoder.resolveQuerySet(at(this.sets, first / perSet), 0, 2 * Math.min(perSet, dispatches - first), resolved, first * pairBytes)
        encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes)
      },
      read: async () => {
        if (staging !== undefined) stamps = new BigUint64Array(await this.staging.read(staging, bytes))
      },
      end: () => this.report(this.timesOf(executable, paths, stamps)),
    })
  }

  /** Query sets for so many dispatches, and where their numbers go. */
  private reserve(dispatches: number): GPUBuffer {
    while (this.sets.length * perSet < dispatches) this.sets.push(this.device.createQuerySet({ type: 'timestamp', count: 2 * perSet }))
    const size = pairBytes * perSet * Math.max(1, this.sets.length)
    if (this.resolved === undefined || this.resolved.size < size) {
      this.resolved?.destroy()
      this.resolved = this.device.createBuffer({ size, usage: usage.queryResolve | usage.copySource })
    }
    return this.resolved
  }

  /** The times of a launch's dispatches together. Clocks may jump: nothing takes less than no time. */
  private timesOf({ steps, plan, calls }: WebGpuExecutable, paths: Paths, stamps: BigUint64Array): LaunchTime[] {
    const seconds = (stamp: bigint): number => Number(stamp - (this.origin ??= stamp)) / 1e9
    const times = new Map<number, { start: number; seconds: number }>()
    steps.forEach((step, i) => {
      const [start, end] = [seconds(stamps[2 * i] ?? 0n), seconds(stamps[2 * i + 1] ?? 0n)]
      const known = times.get(step)
      const took = Math.max(0, end - start)
      if (known === undefined) times.set(step, { start, seconds: took })
      else known.seconds += took
    })
    return [...times].map(([step, time]) => {
      const { flops, bytes } = at(calls, step).kernel
      const { label } = at(plan.launches, step)
      return { step, op: label.name, path: pathOf(label, paths), ...time, flops, bytes }
    })
  }

  close(): void {
    for (const set of this.sets) set.destroy()
    this.resolved?.destroy()
  }
}
