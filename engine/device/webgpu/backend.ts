/** The WebGPU device: plans become WGSL kernels, recorded in one encoder and submitted at once, in Node through Dawn and in browsers. */
import { awaitingPolls } from '#platform'
import type { WgslKernel, WgslTarget } from '../../../kernels/wgsl/core/kernel.ts'
import type { LoweredGraph } from '../../compile/lower.ts'
import { labelText, readsOf, writesOf } from '../../compile/plan.ts'
import type { Paths, Plan } from '../../compile/plan.ts'
import { schedule } from '../../compile/schedule.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import { DeviceError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import type { Fused } from '../../op.ts'
import { at, sizeOf } from '../../shape.ts'
import type { Backend, BackendCounts, Bindings, MemoryBlock, DeviceDetails, Executable, Homecoming, Peaks, Watch } from '../backend.ts'
import type { Call, KernelTable } from '../rules/table.ts'
import type { Adapter } from './adapter.ts'
import { Anomalies } from './anomalyTrap.ts'
import { Clocks } from './clocks.ts'
import { WebGpuExecutable } from './executable.ts'
import { usage } from './flags.ts'
import type { Owner, Ready } from './executable.ts'
import { webgpuKernels } from './kernels.ts'
import { align } from './alignment.ts'
import { planArenas } from './arenas.ts'
import { arenaCall } from './lists.ts'
import { placeBuffers } from './memory.ts'
import { measurePeaks } from './peaks.ts'
import { Pipelines } from './pipelines.ts'
import type { Progress } from './pipelines.ts'
import type { Pace } from './pace.ts'
import { BufferPool, GpuBlock, asGpu, outOfMemory, shortage } from './bufferPool.ts'
import { Staging } from './staging.ts'
import type { Watcher } from './watch.ts'
import { Workspace } from './workspace.ts'
import { bufferBytes, elementBytes, pack, unpack } from './transfer.ts'

/** Kernels count elements, and bytes in a buffer, in 32 bits. */
const memoryLimit = 2 ** 40

export interface WebGpuBackendOptions {
  readonly adapter: Adapter
  /** Called as the pipelines of a plan get ready. */
  readonly progress?: Progress | undefined
}

export class WebGpuBackend implements Backend {
  readonly kind = 'webgpu' as const
  readonly description: string
  readonly fingerprint: string
  readonly details: DeviceDetails
  readonly dtypes: ReadonlySet<DType>
  readonly memoryLimit: number = memoryLimit
  private readonly device: GPUDevice
  private readonly target: WgslTarget
  private readonly table: KernelTable<WgslKernel, WgslTarget>
  private readonly pool: BufferPool
  private readonly staging: Staging
  private readonly pipelines: Pipelines
  private readonly progress: Progress | undefined
  private readonly owner: Owner
  private readonly workspace: Workspace
  private watcher: Watcher | undefined
  private bindGroups = 0
  private constantBuffers = 0
  private lost: string | undefined
  /** Errors that no run waited for. */
  private uncaptured: string[] = []

  constructor({ adapter, progress }: WebGpuBackendOptions) {
    const { device, target, name, software, unchecked, limits } = adapter
    this.device = device
    this.description = `WebGPU, ${name}${software ? ' (software)' : ''}${unchecked ? ', unchecked' : ''}`
    this.fingerprint = `webgpu ${name} f16 ${target.f16 ? 'yes' : 'no'}`
    this.details = { adapter: { name, software, unchecked, features: [...device.features].sort(), limits } }
    this.dtypes = new Set<DType>(['f32', ...(target.f16 ? ['f16' as const] : []), 'bf16', 'i32', 'u32', 'u8', 'bool'])
    this.target = target
    this.table = webgpuKernels(target)
    this.pool = new BufferPool(device)
    this.workspace = new Workspace(this.pool)
    this.staging = new Staging(device)
    this.pipelines = new Pipelines(device)
    this.progress = progress
    this.owner = { device, workspace: this.workspace, settle: () => (this.pool.unsettled ? this.settle() : undefined), pool: this.pool, countBindGroup: () => this.bindGroups++, free: (executable) => this.free(executable) }
    device.addEventListener('uncapturederror', ({ error }) => this.uncaptured.push(error.message))
    void device.lost.then(({ reason, message }) => (this.lost = `${reason}: ${message}`))
  }

  get counts(): BackendCounts {
    return { buffers: this.pool.created + this.staging.created + this.constantBuffers, bindGroups: this.bindGroups, pipelines: this.pipelines.count, readbacks: this.staging.readbacks }
  }

  byteSize(dtype: DType): number {
    return elementBytes(dtype)
  }

  accepts(op: Fused, inputs: readonly Spec[], attributes: object): boolean {
    return this.table.accepts(op, inputs, attributes)
  }

  async compile(graph: LoweredGraph): Promise<WebGpuExecutable> {
    this.assertHere()
    const plan = schedule(graph, this.table)
    this.assertBindable(plan)
    const same = sameBuffers(plan)
    const arenas = planArenas(plan, same, this.device.limits.maxStorageBufferBindingSize)
    const calls = plan.launches.map((launch) => (launch.kind === 'op' ? arenaCall(launch, arenas, plan.buffers.length, this.target) : undefined) ?? this.table.call(launch, same))
    const memory = placeBuffers(plan, calls, arenas)
    const ready = await this.makeReady(plan, calls, plan.buffers.length + arenas.arenas.length)
    this.device.pushErrorScope('out-of-memory')
    const tables = this.constants(usage.storage, calls.flatMap(({ kernel }) => kernel.tables ?? []))
    const uniforms = this.constants(usage.uniform, ready.map(({ dispatch }) => dispatch.parameters))
    const [scope] = await Promise.allSettled([this.device.popErrorScope()])
    this.assertHere()
    if (scope.status === 'fulfilled' && scope.value !== null) {
      for (const buffer of [tables, uniforms]) buffer?.destroy()
      this.pool.trim()
      throw outOfMemory([shortage((tables?.size ?? 0) + (uniforms?.size ?? 0), this.pool.bytes, scope.value)])
    }
    return new WebGpuExecutable({ plan, calls, arenas: arenas.arenas, ready, memory, uniforms, tables, owner: this.owner })
  }

  private async settle(): Promise<void> {
    try {
      await this.pool.settle()
    } catch (error) {
      this.workspace.release()
      this.pool.trim()
      throw error
    }
  }

  /** A tensor is bound whole, so it must not be larger than a binding. */
  private assertBindable({ buffers, launches }: Plan): void {
    const { maxStorageBufferBindingSize: most } = this.device.limits
    for (const { id, dtype, elements } of buffers) {
      const bytes = bufferBytes(dtype, elements)
      if (bytes <= most) continue
      const launch = launches.find((l) => [...readsOf(l), ...writesOf(l)].some((load) => load.buffer === id))
      throw new DeviceError(`webgpu: ${launch === undefined ? 'a leaf' : labelText(launch.label)} takes a tensor of ${elements} ${dtype}, ${bytes} bytes, but one binding of this adapter holds ${most}; use a smaller batch, or split the tensor`)
    }
  }

  private async makeReady(plan: Plan, calls: readonly Call<WgslKernel>[], places: number): Promise<Ready[]> {
    let parameters = 0
    let own = places // Of temporaries and tables, launch by launch.
    let done = 0
    const wanted = calls.flatMap(({ kernel, buffers }, i) => {
      const { label } = at(plan.launches, i)
      const first = own - buffers.length
      own += (kernel.temporaries?.length ?? 0) + (kernel.tables?.length ?? 0)
      return kernel.dispatches.filter(({ workgroups }) => workgroups.every((n) => n > 0)).map((dispatch) => {
        const offset = parameters
        parameters += align(dispatch.parameters.length)
        return { dispatch, step: i, label: `step ${i} ${label.name}`, launch: labelText(label), parameters: offset, layout: this.pipelines.groupLayout(dispatch), places: dispatch.bindings.map(({ buffer }) => buffers[buffer] ?? first + buffer) }
      })
    })
    return Promise.all(wanted.map(async ({ launch, ...r }) => {
      const pipeline = await this.pipelines.pipeline(r.dispatch, `step ${r.step} ${launch}`)
      this.progress?.(++done, wanted.length)
      return { ...r, pipeline }
    }))
  }

  /** A buffer that never changes, with `parts` one behind another, each at the offset of a binding. */
  private constants(kind: number, parts: readonly (Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer>)[]): GPUBuffer | undefined {
    const size = parts.reduce((end, part) => end + align(part.byteLength), 0)
    if (size === 0) return undefined
    const block = new Uint8Array(size)
    let offset = 0
    for (const part of parts) {
      block.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), offset)
      offset += align(part.byteLength)
    }
    const buffer = this.device.createBuffer({ size, usage: kind | usage.copyTarget })
    this.constantBuffers++
    this.device.queue.writeBuffer(buffer, 0, block)
    return buffer
  }

  private free({ uniforms, tables }: WebGpuExecutable): void {
    uniforms?.destroy()
    tables?.destroy()
  }

  allocate(bytes: number): MemoryBlock | undefined {
    this.assertHere()
    return new GpuBlock(this.pool.take(bytes), bytes)
  }

  release(block: MemoryBlock): void {
    this.pool.release(asGpu(block))
  }

  write(block: MemoryBlock, data: TypedArray | Uint16Array<ArrayBuffer>, { dtype }: Spec): void {
    const { buffer, offset } = asGpu(block)
    const words = new Uint8Array(bufferBytes(dtype, data.length))
    pack(data, dtype, words)
    this.device.queue.writeBuffer(buffer, offset, words)
  }

  async read(block: MemoryBlock, spec: Spec): Promise<TypedArray> {
    const [values] = await this.submit((encoder) => this.copyHome(encoder, [{ block: asGpu(block), spec }]))
    return values ?? unpack(new ArrayBuffer(0), spec)
  }

  async run(executable: Executable, bindings: Bindings, home: readonly Homecoming[]): Promise<readonly TypedArray[]> {
    if (!(executable instanceof WebGpuExecutable)) throw new DeviceError('webgpu: this plan was compiled for another device')
    await executable.prepare(bindings)
    const companion = this.watcher === undefined ? undefined : await this.watcher.companion(executable, bindings)
    try {
      const values = await this.submit((encoder) => {
        executable.record(encoder, bindings, companion)
        const read = this.copyHome(encoder, home.map(({ result, spec }) => ({ block: asGpu(at(bindings.results, result)), spec })))
        if (companion === undefined) return read
        companion.copy(encoder)
        return async () => (await Promise.all([read?.() ?? [], companion.read()]))[0]
      }, { executable, paths: bindings.paths })
      companion?.end()
      return values
    } catch (error) {
      executable.forget()
      throw error
    }
  }

  /** Records the copy of some blocks into one staging buffer; what is returned reads them, once submitted. */
  private copyHome(encoder: GPUCommandEncoder, wanted: readonly { readonly block: GpuBlock; readonly spec: Spec }[]): (() => Promise<TypedArray[]>) | undefined {
    if (wanted.length === 0) return undefined
    let total = 0
    const parts = wanted.map(({ block: { buffer, offset }, spec }) => {
      const part = { from: total, bytes: bufferBytes(spec.dtype, sizeOf(spec.shape)), buffer, offset, spec }
      total += Math.ceil(part.bytes / 8) * 8 // Mapped ranges begin at multiples of 8.
      return part
    })
    if (total === 0) return async () => Promise.resolve(parts.map(({ spec }) => unpack(new ArrayBuffer(0), spec)))
    const staging = this.staging.take(total)
    for (const { buffer, offset, from, bytes } of parts) if (bytes > 0) encoder.copyBufferToBuffer(buffer, offset, staging, from, bytes)
    return async () => {
      const all = await this.staging.read(staging, total)
      return parts.map(({ from, bytes, spec }) => unpack(all.slice(from, from + bytes), spec))
    }
  }

  /**
   * Submits what `record` records and waits until all is done. Rejects with DeviceError if the device refused any of it: then
   * nothing of it was executed, and the executable finds out which part it was.
   */
  private async submit(record: (encoder: GPUCommandEncoder) => (() => Promise<TypedArray[]>) | undefined, of?: { readonly executable: WebGpuExecutable; readonly paths: Paths }): Promise<TypedArray[]> {
    this.assertHere()
    const { device } = this
    const filters = ['validation', 'out-of-memory', 'internal'] as const
    for (const filter of filters) device.pushErrorScope(filter)
    // Both are listened to from here on: a promise that is rejected before anyone does ends the process.
    const begun = Promise.allSettled([this.begin(record, of?.executable.pace)])
    const scopes = await Promise.allSettled(filters.map(async () => device.popErrorScope()))
    const [values] = await begun
    this.assertHere()
    const said = [...scopes.flatMap((scope) => (scope.status === 'fulfilled' && scope.value !== null ? [scope.value.message] : [])), ...this.uncaptured.splice(0)]
    if (said.length > 0) throw new DeviceError(`webgpu: the device refused ${(await of?.executable.culprit(of.paths)) ?? 'a run'}: ${said.join('; ')}`)
    if (values.status === 'rejected') throw values.reason
    return values.value
  }

  /** Records and submits at once; the results come later. */
  private async begin(record: (encoder: GPUCommandEncoder) => (() => Promise<TypedArray[]>) | undefined, pace?: Pace): Promise<TypedArray[]> {
    const encoder = this.device.createCommandEncoder()
    const read = record(encoder)
    this.device.queue.submit([encoder.finish()])
    const submitted = performance.now()
    const sleep = awaitingPolls ? (pace?.sleep ?? 0) : 0
    if (sleep > 0) await new Promise((resolve) => setTimeout(resolve, sleep))
    const values = read === undefined ? this.device.queue.onSubmittedWorkDone().then(() => []) : read()
    return values.finally(() => pace?.note(performance.now() - submitted))
  }

  watch(watch: Watch | undefined): void {
    this.watcher?.close()
    this.watcher = watch && this.watcherFor(watch)
  }

  private watcherFor(watch: Watch): Watcher {
    const { device, pipelines, staging } = this
    if (watch.kind === 'anomalies') return new Anomalies({ device, pipelines, staging, constants: (kind, parts) => this.constants(kind, parts), infinities: watch.infinities })
    if (!device.features.has('timestamp-query')) throw new DeviceError(`webgpu: the adapter ${this.details.adapter?.name} has no timestamp-query, without which launches cannot be timed`)
    return new Clocks(device, staging, watch.report)
  }

  peaks(): Promise<Peaks> {
    const { device, pipelines, staging } = this
    return measurePeaks({ device, pipelines, staging, software: this.details.adapter?.software === true })
  }

  private assertHere(): void {
    if (this.lost !== undefined) throw new DeviceError(`webgpu: the device was lost (${this.lost}); open another with await device('webgpu')`)
  }

  close(): Promise<void> {
    this.device.destroy()
    return Promise.resolve()
  }
}

/** For each buffer, the first that is the same memory: a result that takes over the memory of the leaf it overwrites. */
function sameBuffers({ buffers, graph }: Plan): readonly number[] {
  const leafBuffers = new Map(buffers.flatMap(({ id, home }) => (home.kind === 'leaf' ? [[home.index, id] as const] : [])))
  return buffers.map(({ id, home }) => {
    const overwrites = home.kind === 'result' ? graph.results[home.index]?.overwrites : undefined
    return overwrites === undefined ? id : (leafBuffers.get(overwrites) ?? id)
  })
}
