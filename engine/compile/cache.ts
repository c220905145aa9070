/** A bounded cache of compiled plans, keyed by the exact encoding of their graphs; the hash only finds the bucket. */
import type { Executable } from '../device/backend.ts'
import { Interner, Key } from './capture.ts'

export interface CachedPlan {
  readonly key: Float64Array
  readonly executable: Promise<Executable>
  lastUse: number
}

/** Plans kept per device; the least recently used goes first. */
export const planLimit: number = 64

export class PlanCache {
  readonly interner: Interner = new Interner()
  /** Where the next key is written. */
  readonly key: Key = new Key()
  /** Since the last reset: plans compiled, and captures that found theirs. */
  compiled = 0
  hits = 0
  private readonly buckets = new Map<number, CachedPlan[]>()
  private readonly retire: (plan: CachedPlan) => void
  private count = 0
  private clock = 0

  /** `retire` frees a plan that is no longer kept, once the runs that were queued with it are done. */
  constructor(retire: (plan: CachedPlan) => void) {
    this.retire = retire
  }

  get size(): number {
    return this.count
  }

  resetCounters(): void {
    this.compiled = 0
    this.hits = 0
  }

  /** The plan of `key`, compiled if there is none. `counted`: as a hit, if there is. */
  find(key: Key, compile: () => Promise<Executable>, counted = true): CachedPlan {
    const hash = hashOf(key)
    const bucket = this.buckets.get(hash) ?? []
    const known = bucket.find((plan) => sameKey(plan.key, key))
    this.clock++
    if (known !== undefined) {
      known.lastUse = this.clock
      if (counted) this.hits++
      return known
    }
    const plan = { key: key.values.slice(0, key.length), executable: compile(), lastUse: this.clock }
    plan.executable.catch(() => this.drop(plan)) // A plan that failed to compile is not kept; its runs report the error.
    this.buckets.set(hash, [...bucket, plan])
    this.count++
    this.compiled++
    if (this.count > planLimit) this.evict()
    return plan
  }

  private evict(): void {
    const oldest = [...this.buckets.values()].flat().reduce((x, y) => (x.lastUse < y.lastUse ? x : y))
    this.drop(oldest)
    this.retire(oldest)
  }

  private drop(plan: CachedPlan): void {
    for (const [hash, bucket] of this.buckets) {
      if (!bucket.includes(plan)) continue
      this.count--
      if (bucket.length === 1) this.buckets.delete(hash)
      else this.buckets.set(hash, bucket.filter((p) => p !== plan))
    }
  }
}

/** FNV-1a over the numbers' integer parts. */
function hashOf({ values, length }: Key): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ ((values[i] ?? 0) | 0), 0x01000193)
  return hash
}

function sameKey(x: Float64Array, { values, length }: Key): boolean {
  if (x.length !== length) return false
  for (let i = 0; i < length; i++) if (!Object.is(x[i], values[i])) return false
  return true
}
