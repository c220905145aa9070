/** A device as users hold it: a queue of runs over a backend, the cache of plans, and the accounting of bytes. */
import { PlanCache } from '../compile/cache.ts'
import type { DType } from '../dtype.ts'
import { DTypeError, DeviceError } from '../error.ts'
import { finished } from '../finished.ts'
import { RandomGenerator } from '../random.ts'
import type { Storage } from '../storage.ts'
import { MovedVariables } from '../moved.ts'
import { dueAbove, provokeCollection } from './collection.ts'
import type { Backend, BackendCounts, MemoryBlock, DeviceDetails, DeviceKind, Watch } from './backend.ts'

/** Exact counts since the device was opened, or since `resetCounters`. */
export interface Counters {
  /** Runs submitted. */
  readonly submits: number
  readonly launches: number
  readonly plansCompiled: number
  readonly planHits: number
  /** WebGPU: buffers, bind groups and pipelines made, and copies of results to the host. */
  readonly made?: BackendCounts
}

export interface DeviceInfo extends DeviceDetails {
  readonly kind: DeviceKind
  readonly description: string
  readonly fingerprint: string
  /** Where no kind was asked for, and no GPU taken: why. */
  readonly noGpu?: string
}

const nothingMade: BackendCounts = { buffers: 0, bindGroups: 0, pipelines: 0, readbacks: 0 }

/** What a storage holds, without holding the storage. */
interface Held {
  readonly block: MemoryBlock
  readonly bytes: number
  readonly reference: WeakRef<Storage>
}

/** Devices opened so far. */
let opened = 0

export class Device {
  readonly backend: Backend
  readonly plans: PlanCache
  /** Variables that were assigned and not yet computed. */
  readonly moved: MovedVariables = new MovedVariables()
  /** What draws without a generator of their own take their numbers from, initial weights among them; seeded with 0. */
  readonly generator: RandomGenerator = new RandomGenerator(0)
  /** The module being run, such as `unet.down.1.attn`; new nodes carry it. */
  path = ''
  /** Whose code is running, the innermost module. */
  running: object | undefined
  /** The type in which f32 operands of products are multiplied: matmul, linear, convolutions, attention. Default: their own. */
  productType: 'f16' | 'bf16' | undefined
  /** What is looked for in its runs at the moment. */
  watch: Watch | undefined
  private nodes = 0
  private walks = 0
  private variables = 0
  private tail: Promise<unknown> = Promise.resolve()
  private readonly holders = new Set<WeakRef<Storage>>()
  private readonly references = new WeakMap<Storage, WeakRef<Storage>>()
  /** The net under tensors that were never disposed of: collected ones give their memory back. */
  private readonly collected = new FinalizationRegistry<Held>((held) => {
    this.cameBack++
    this.giveBack(held)
  })
  /** Storages that were collected; and bytes in use from which it is time to look for more. */
  private cameBack = 0
  private collectAbove: number = dueAbove(0)
  private used = 0
  private closing: Promise<void> | undefined
  private madeBefore: BackendCounts = nothingMade
  private readonly noGpu: string | undefined
  private readonly number: number = opened++
  private counts = { submits: 0, launches: 0, plansCompiled: 0, planHits: 0 }

  constructor(backend: Backend, { noGpu }: Pick<DeviceInfo, 'noGpu'> = {}) {
    this.backend = backend
    this.noGpu = noGpu
    this.plans = new PlanCache((plan) => {
      this.enqueue(async () => (await plan.executable).dispose?.()).catch(() => undefined) // One that did not compile has nothing to free.
    })
  }

  get name(): DeviceKind {
    return this.backend.kind
  }

  /** Its name in a message that names another device, too, which may be of its kind. */
  nameBeside({ name, number }: Device): string {
    return name !== this.name ? this.name : `${this.name} (${this.closing !== undefined ? 'closed' : this.number < number ? 'opened earlier' : 'opened later'})`
  }

  /** One line for people: what the device is. */
  get description(): string {
    return this.backend.description
  }

  /** Everything about the device that can change results. */
  get fingerprint(): string {
    return this.backend.fingerprint
  }

  /** What the device found on the machine and chose: threads, the level of vector instructions and why, the GPU or why there is none. */
  get info(): DeviceInfo {
    return { kind: this.name, description: this.description, fingerprint: this.fingerprint, ...this.backend.details, ...(this.noGpu === undefined ? {} : { noGpu: this.noGpu }) }
  }

  /** Bytes of device memory held by variables and realised tensors, exact. */
  get bytesHeld(): number {
    return this.used
  }

  get counters(): Counters {
    return { ...this.counts, plansCompiled: this.plans.compiled, planHits: this.plans.hits, ...this.made() }
  }

  /** A number for a walk over this device's graph, by which it knows the nodes it has met. */
  nextWalk(): number {
    return this.walks++
  }

  nextVariable(): number {
    return this.variables++
  }

  nextNodeId(): number {
    return this.nodes++
  }

  /** Starts the device's generator anew from `seed`. */
  manualSeed(seed: number | bigint): void {
    this.generator.restore(new RandomGenerator(seed).state())
  }

  supports(dtype: DType): boolean {
    return this.backend.dtypes.has(dtype)
  }

  /** Throws DeviceError once the device is closed. */
  assertOpen(op: string): void {
    if (this.closing !== undefined) throw new DeviceError(`${op}: the ${this.name} device is closed; open another with await device()`)
  }

  /** Runs `action` after everything queued before it, whether that failed or not. */
  enqueue<T>(action: () => Promise<T>): Promise<T> {
    const result = this.tail.then(action, action)
    this.tail = result.catch(() => undefined)
    return result
  }

  /** Runs `fn` with `part` appended to the path of the nodes it makes. Throws ConfigError where `fn` would run on later, as do all of its kind. */
  scope<T>(part: string, fn: () => T): T {
    return this.withPath(this.path === '' ? part : `${this.path}.${part}`, fn)
  }

  /** Runs `fn` with `path` as the path of the nodes it makes. */
  withPath<T>(path: string, fn: () => T): T {
    const outer = this.path
    this.path = path
    try {
      return finished('scope', fn())
    } finally {
      this.path = outer
    }
  }

  /** Runs `fn` with `type` as the type of products. Throws DTypeError where the device lacks it. */
  withProductType<T>(type: 'f16' | 'bf16' | undefined, fn: () => T): T {
    if (type !== undefined && !this.supports(type)) throw new DTypeError(`withProductType: device ${this.name} has no ${type}; it has ${[...this.backend.dtypes].join(', ')}`)
    const outer = this.productType
    this.productType = type
    try {
      return finished('withProductType', fn())
    } finally {
      this.productType = outer
    }
  }

  countRun(launches: number): void {
    this.counts.submits++
    this.counts.launches += launches
  }

  private made(): { readonly made?: BackendCounts } {
    const { counts } = this.backend
    const { buffers, bindGroups, pipelines, readbacks } = this.madeBefore
    return counts === undefined ? {} : { made: { buffers: counts.buffers - buffers, bindGroups: counts.bindGroups - bindGroups, pipelines: counts.pipelines - pipelines, readbacks: counts.readbacks - readbacks } }
  }

  resetCounters(): void {
    this.counts = { submits: 0, launches: 0, plansCompiled: 0, planHits: 0 }
    this.madeBefore = this.backend.counts ?? nothingMade
    this.plans.resetCounters()
  }

  /** Gives `storage` its memory. Where much is in use, and at the limit, what nobody holds is collected first; then fails naming the largest holders. */
  async hold(storage: Storage): Promise<void> {
    if (storage.block !== undefined) return
    if (this.used + storage.bytes > this.collectAbove) await this.collect(storage.bytes)
    const block = this.backend.allocate(storage.bytes) ?? (await this.allocateAfterCollection(storage.bytes))
    if (block === undefined) throw new DeviceError(this.outOfMemory(storage))
    storage.block = block
    this.used += storage.bytes
    const reference = new WeakRef(storage)
    this.references.set(storage, reference)
    this.holders.add(reference)
    this.collected.register(storage, { block, bytes: storage.bytes, reference }, storage)
  }

  release(storage: Storage): void {
    const { block } = storage
    if (block === undefined) return
    storage.block = undefined
    this.collected.unregister(storage)
    const reference = this.references.get(storage)
    if (reference !== undefined) this.giveBack({ block, bytes: storage.bytes, reference })
  }

  private giveBack({ block, bytes, reference }: Held): void {
    this.used -= bytes
    this.holders.delete(reference)
    if (this.closing === undefined) this.backend.release(block)
  }

  /** Gets back the memory of tensors that nobody holds any more, before as many bytes as are `wanted` are taken. */
  async collect(wanted: number = 0): Promise<void> {
    const before = this.cameBack
    await provokeCollection(() => this.cameBack !== before)
    this.collectAbove = dueAbove(this.used + wanted)
  }

  private async allocateAfterCollection(bytes: number): Promise<MemoryBlock | undefined> {
    await this.collect()
    return this.backend.allocate(bytes)
  }

  private outOfMemory(wanted: Storage): string {
    const largest = [...this.holders]
      .flatMap((r) => r.deref() ?? [])
      .sort((a, b) => b.bytes - a.bytes)
      .slice(0, 3)
      .map((s) => `${s.label} [${s.spec.shape.join(',')}] ${s.bytes} bytes`)
    return `out of memory on ${this.name}: ${wanted.label} needs ${wanted.bytes} bytes, ${this.used} of ${this.backend.memoryLimit} are held (largest: ${largest.join('; ') || 'none'}); dispose of tensors you keep, or use a smaller batch`
  }

  /** Waits for everything queued. Failures are reported to whoever queued them. */
  async idle(): Promise<void> {
    await this.tail
  }

  /** Finishes what is queued, then frees everything. Using the device afterwards is an error. */
  async close(): Promise<void> {
    this.closing ??= this.end()
    await this.closing
  }

  private async end(): Promise<void> {
    await this.tail
    if (defaults.device === this) defaults.device = undefined
    await this.backend.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The one piece of mutable module state: the device that constructors use. */
const defaults: { device: Device | undefined } = { device: undefined }

/** The device constructors use; an error before `await device()`. */
export function getDefaultDevice(op: string): Device {
  if (defaults.device === undefined) throw new DeviceError(`${op}: there is no default device yet; call "await device()" first, or pass { device }`)
  return defaults.device
}

export function setDefaultDevice(device: Device | undefined): void {
  defaults.device = device
}

/** Runs `fn` with `device` as the one constructors use. */
export function withDefaultDevice<T>(device: Device, fn: () => T): T {
  const outer = defaults.device
  defaults.device = device
  try {
    return finished('withDefaultDevice', fn())
  } finally {
    defaults.device = outer
  }
}
