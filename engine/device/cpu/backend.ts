/** The CPU device: plans become WebAssembly kernels over one linear memory, run by a pool of threads. */
import type { WasmKernel, WasmTarget } from '../../../kernels/wasm/core/kernel.ts'
import type { LoweredGraph } from '../../compile/lower.ts'
import { dependences } from '../../compile/dependence.ts'
import { align, planMemory } from '../../compile/memory.ts'
import type { MemoryPlan } from '../../compile/memory.ts'
import type { Paths, Plan } from '../../compile/plan.ts'
import { schedule } from '../../compile/schedule.ts'
import { byteSize } from '../../dtype.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import { DeviceError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import type { Fused } from '../../op.ts'
import { at } from '../../shape.ts'
import type { Backend, Bindings, MemoryBlock, DeviceDetails, Executable, Homecoming } from '../backend.ts'
import { Addresses } from './addresses.ts'
import type { PointerBlock } from './addresses.ts'
import { Allocator, asCpu } from './allocator.ts'
import type { CpuBlock } from './allocator.ts'
import { describePlan } from './describe.ts'
import { constantSource, scratchSource } from './executor.ts'
import type { LaunchCode } from './protocol.ts'
import type { Call, KernelTable } from '../rules/table.ts'
import { fingerprintOf, targetOf } from './instructions.ts'
import type { Instructions } from './instructions.ts'
import { cpuKernels } from './kernels.ts'
import { Modules } from './modules.ts'
import { packOperands } from './packing.ts'
import { controlBytes } from './protocol.ts'
import { copyIn, copyOut } from './transfer.ts'
import type { Threads } from './threads.ts'
import { splitReductions } from './split.ts'

export class CpuExecutable implements Executable {
  readonly id: number
  readonly plan: Plan
  readonly memory: MemoryPlan
  readonly calls: readonly Call<WasmKernel>[]
  /** For each launch, the last that it waits for, or -1. */
  readonly waits: readonly number[]
  /** Where the threads find the addresses of a run. */
  readonly addresses: Addresses
  readonly peakBytes: number
  readonly launches: number
  /** Bytes of scratch memory for each thread. */
  readonly scratchBytes: number
  private readonly owner: Owner

  constructor(id: number, plan: Plan, memory: MemoryPlan, calls: readonly Call<WasmKernel>[], waits: readonly number[], addresses: Addresses, owner: Owner) {
    this.id = id
    this.plan = plan
    this.memory = memory
    this.calls = calls
    this.waits = waits
    this.addresses = addresses
    this.peakBytes = memory.peakBytes
    this.launches = calls.filter(({ kernel }) => kernel.items > 0).length
    this.scratchBytes = align(calls.reduce((most, { kernel: { scratchBytes = 0 } }) => Math.max(most, scratchBytes), 0))
    this.owner = owner
  }

  prepare(): void {
    this.owner.reserve(this)
  }

  describe(paths: Paths): string {
    return describePlan(this.plan, this.calls, this.waits, this.memory, paths)
  }

  dispose(): void {
    this.owner.free(this)
  }
}

/** What an executable asks of its backend. */
interface Owner {
  reserve(executable: CpuExecutable): void
  free(executable: CpuExecutable): void
}

export interface CpuBackendOptions {
  readonly memory: WebAssembly.Memory
  readonly shared: boolean
  readonly maximumPages: number
  readonly threads: Threads
  readonly instructions: Instructions
  /** Whether V8's flags may be touched. */
  readonly experimental: boolean
  /** Whether 256-bit code is tried before it is used. */
  readonly trials: boolean
  /** Where the memory of blocks begins, for tests of large addresses. Default: behind what threads meet through. */
  readonly firstAddress?: number
  readonly description: string
}

/** Bytes at the end of the memory that nobody gets: pointers that have passed the end of a block there would begin at 0 again. */
const lastAddresses = 65_536

/** A chunk moves this many bytes or computes this many operations, or more: less takes about as long as two threads take to meet. */
const chunkBytes = 32_768
const chunkFlops = 65_536
/** More chunks let threads of unequal speed end together; each is a call of its own. */
const chunksPerThread = { usual: 4, divisible: 12 } as const
/** But all together they repeat no more than this share of the work. */
const repeatedShare = 1 / 16

function chunksOf({ items, bytes, flops, callFlops = 0, divisible = false }: WasmKernel, threads: number): number {
  const wanted = Math.ceil(Math.max(bytes / chunkBytes, flops / chunkFlops))
  const most = divisible ? chunksPerThread.divisible : chunksPerThread.usual
  const perThread = callFlops === 0 ? most : Math.max(1, Math.min(most, Math.floor((repeatedShare * flops) / (callFlops * threads))))
  return threads === 1 ? 1 : Math.max(1, Math.min(items, wanted, perThread * threads))
}

/** What a plan is taken to do in a millisecond before it has run: little, for an operation may be a power, or a step of a sort. */
const slowly = { flops: 3e5, bytes: 2e5 } as const

const expectedTime = (calls: readonly Call<WasmKernel>[]): number => calls.reduce((ms, { kernel: { flops, bytes } }) => ms + flops / slowly.flops + bytes / slowly.bytes, 0)

const nothing: CpuBlock = { address: 0, bytes: 0 }

const dtypes: ReadonlySet<DType> = new Set<DType>(['f32', 'bf16', 'i32', 'u32', 'u8', 'bool'])

export class CpuBackend implements Backend {
  readonly kind = 'cpu' as const
  readonly description: string
  readonly fingerprint: string
  readonly details: DeviceDetails
  readonly dtypes: ReadonlySet<DType> = dtypes
  readonly memoryLimit: number
  private readonly options: CpuBackendOptions
  private readonly table: KernelTable<WasmKernel, WasmTarget>
  private readonly allocator: Allocator
  private readonly modules: Modules
  /** Memory that all plans share, as much as the largest so far needs. Runs take turns. */
  private readonly shared: Record<'workspace' | 'scratch', CpuBlock> = { workspace: nothing, scratch: nothing }
  private plans = 0

  constructor(options: CpuBackendOptions) {
    this.options = options
    this.description = options.description
    this.table = cpuKernels(targetOf(options.instructions.level))
    this.fingerprint = fingerprintOf(options.instructions.level)
    const { shared, maximumPages, threads, instructions, experimental, trials } = options
    this.modules = new Modules({ memory: { shared, maximum: maximumPages }, threads, level: instructions.level, experimental, trials })
    this.details = { threads: threads.count, instructions: { ...instructions, failed: this.modules.failed } }
    this.memoryLimit = options.maximumPages * 65536 - lastAddresses
    this.allocator = new Allocator(options.memory, options.firstAddress ?? controlBytes(options.threads.count), this.memoryLimit)
  }

  byteSize(dtype: DType): number {
    return byteSize(dtype)
  }

  accepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean {
    return this.table.accepts(op, inputs, attributes)
  }

  async compile(graph: LoweredGraph): Promise<CpuExecutable> {
    const plan = packOperands(splitReductions(schedule(graph, this.table)), this.table)
    const memory = planMemory(plan)
    const waits = dependences(plan, memory)
    const calls = plan.launches.map((launch) => this.table.call(launch))
    await this.modules.compile(plan, calls)
    const pointers: PointerBlock[] = []
    const owned: CpuBlock[] = []
    const release = (): void => owned.forEach((block) => this.allocator.release(block))
    const id = this.plans++
    const free = (): void => {
      this.options.threads.dropPlan(id)
      release()
    }
    try {
      const launches = this.launchCodes(calls, waits, pointers, owned)
      const addresses = this.own(4 * (plan.buffers.length + this.options.threads.members), owned)
      const progress = this.own(8 * launches.length, owned)
      this.options.threads.addPlan(id, { launches, addresses: addresses.address, buffers: plan.buffers.length, progress: progress.address, expected: expectedTime(calls) })
      return new CpuExecutable(id, plan, memory, calls, waits, new Addresses(plan, memory, addresses, pointers), { reserve: (executable) => this.reserve(executable), free })
    } catch (error) {
      release()
      throw error
    }
  }

  /** Those with something to do; what one that has not was to wait for, the next one waits for, as those after it count on it. */
  private launchCodes(calls: readonly Call<WasmKernel>[], waits: readonly number[], pointers: PointerBlock[], owned: CpuBlock[]): LaunchCode[] {
    const launches: LaunchCode[] = []
    const places = [-1] // The last of `launches` that comes no later than each of the plan's.
    let after = -1
    calls.forEach((call, i) => {
      after = Math.max(after, at(places, at(waits, i) + 1))
      if (call.kernel.items > 0) {
        launches.push(this.launchCode(call, after, pointers, owned))
        after = -1
      }
      places.push(launches.length - 1)
    })
    return launches
  }

  /** A call's arguments as constants and buffer numbers; tables and pointer blocks get memory of their own. */
  private launchCode({ kernel, buffers }: Call<WasmKernel>, after: number, pointers: PointerBlock[], owned: CpuBlock[]): LaunchCode {
    const constants: number[] = []
    const sources: number[] = []
    const push = (constant: number, source: number): void => {
      constants.push(constant)
      sources.push(source)
    }
    for (const arg of kernel.args) {
      if (typeof arg === 'number') push(arg, constantSource)
      else if (arg === 'scratch') push(0, scratchSource)
      else if ('pointers' in arg) {
        const block = this.own(arg.pointers.length * 4, owned)
        pointers.push({ block, buffers: arg.pointers.map((p) => at(buffers, p)) })
        push(block.address, constantSource)
      } else push(arg.byteOffset, at(buffers, arg.buffer))
    }
    if (kernel.table !== undefined) {
      const block = this.own(kernel.table.byteLength, owned)
      new Int32Array(this.options.memory.buffer, block.address, kernel.table.length).set(kernel.table)
      push(block.address, constantSource)
    }
    return { kernel: this.modules.numberOf(kernel), items: kernel.items, chunks: chunksOf(kernel, this.options.threads.count), after, constants, sources }
  }

  /** Kernels this device has compiled. */
  get kernelCount(): number {
    return this.modules.size
  }

  /** Bytes of the linear memory; it never shrinks. */
  get memoryBytes(): number {
    return this.options.memory.buffer.byteLength
  }

  private own(bytes: number, owned: CpuBlock[]): CpuBlock {
    const block = this.allocator.allocate(bytes) ?? this.outOfMemory('the tables of a plan', bytes)
    owned.push(block)
    return block
  }

  allocate(bytes: number): MemoryBlock | undefined {
    return this.allocator.allocate(bytes)
  }

  release(block: MemoryBlock): void {
    this.allocator.release(asCpu(block))
  }

  write(block: MemoryBlock, data: TypedArray | Uint16Array<ArrayBuffer>, { dtype }: Spec): void {
    copyIn(this.options.memory, asCpu(block).address, data, dtype)
  }

  async read(block: MemoryBlock, spec: Spec): Promise<TypedArray> {
    return copyOut(this.options.memory, asCpu(block).address, spec)
  }

  async run(executable: Executable, bindings: Bindings, home: readonly Homecoming[]): Promise<readonly TypedArray[]> {
    if (!(executable instanceof CpuExecutable)) throw new DeviceError('cpu: this plan was compiled for another device')
    this.reserve(executable)
    const { memory, threads } = this.options
    const { workspace, scratch } = this.shared
    executable.addresses.write(memory, bindings, workspace.address, Array.from({ length: threads.members }, (_, t) => scratch.address + t * executable.scratchBytes))
    await threads.run(executable.id)
    return home.map(({ result, spec }) => copyOut(memory, asCpu(at(bindings.results, result)).address, spec))
  }

  /** Makes the memory that runs share large enough. Nothing runs while this changes. */
  private reserve({ memory, scratchBytes }: CpuExecutable): void {
    this.enlarge('workspace', memory.workspaceBytes, 'intermediate values')
    this.enlarge('scratch', scratchBytes * this.options.threads.members, 'scratch memory')
  }

  private enlarge(name: 'workspace' | 'scratch', bytes: number, what: string): void {
    const block = this.shared[name]
    if (block.bytes >= bytes) return
    if (block.bytes > 0) this.allocator.release(block)
    this.shared[name] = nothing // Also if there is no larger one: the old one may be handed to others.
    this.shared[name] = this.allocator.allocate(bytes) ?? this.outOfMemory(what, bytes)
  }

  private outOfMemory(what: string, bytes: number): never {
    throw new DeviceError(`out of memory on cpu: ${what} need ${bytes} bytes, but one WebAssembly memory holds ${this.memoryLimit} bytes in all; use a smaller batch, or recompute`)
  }

  async close(): Promise<void> {
    await this.options.threads.close()
  }
}
