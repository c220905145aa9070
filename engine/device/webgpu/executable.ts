/**
 * A plan on the GPU: its dispatches with their pipelines, where every buffer lies, and the bind groups of the last runs. A run
 * is one compute pass. Bind groups are made again only for dispatches whose buffers moved to a place they have not been at.
 */
import type { Dispatch, WgslKernel } from '../../../kernels/wgsl/core/kernel.ts'
import { describeLaunch, labelText } from '../../compile/plan.ts'
import type { Paths, Plan } from '../../compile/plan.ts'
import { DeviceError } from '../../error.ts'
import { at } from '../../shape.ts'
import type { Bindings, Executable } from '../backend.ts'
import type { Call } from '../rules/table.ts'
import type { Place, PlanMemory } from './memory.ts'
import type { Arena } from './arenas.ts'
import { Pace } from './pace.ts'
import { asGpu, classOf } from './bufferPool.ts'
import type { BufferPool, GpuBlock, Move } from './bufferPool.ts'
import { pack } from './transfer.ts'
import type { Companion } from './watch.ts'
import type { Workspace } from './workspace.ts'

/** One dispatch, ready but for its bind group. */
export interface Ready {
  readonly dispatch: Dispatch
  /** The number of its launch in the plan. */
  readonly step: number
  readonly pipeline: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
  /** For each binding, which of the plan's places it is: a buffer, or behind them a temporary. */
  readonly places: readonly number[]
  /** Where its uniform block lies in the plan's. */
  readonly parameters: number
  /** For people: the launch's number and its op. Its module is another in another run. */
  readonly label: string
}

/** What an executable is made of. */
export interface Compiled {
  readonly plan: Plan
  readonly calls: readonly Call<WgslKernel>[]
  readonly arenas: readonly Arena[]
  readonly ready: readonly Ready[]
  readonly memory: PlanMemory
  readonly uniforms: GPUBuffer | undefined
  readonly tables: GPUBuffer | undefined
  readonly owner: Owner
}

interface Group {
  readonly buffers: readonly GPUBuffer[]
  readonly offsets: readonly number[]
  readonly group: GPUBindGroup
}

/** What a dispatch writes of the results, and the leaves and results it binds besides. */
interface Apart {
  readonly written: number
  readonly others: readonly OwnPlace[]
}

type OwnPlace = Extract<Place, { readonly kind: 'leaf' | 'result' }>

/** Bind groups kept for each dispatch: results that a program keeps lie elsewhere each time. */
const mostGroups = 8

/** What an executable asks of its backend. */
export interface Owner {
  readonly device: GPUDevice
  readonly workspace: Workspace
  /** What rejects if memory that was asked for is not to be had; undefined if that is known already. */
  settle(): Promise<void> | undefined
  readonly pool: BufferPool
  countBindGroup(): void
  free(executable: WebGpuExecutable): void
}

export class WebGpuExecutable implements Executable {
  readonly plan: Plan
  readonly calls: readonly Call<WgslKernel>[]
  readonly memory: PlanMemory
  readonly peakBytes: number
  readonly launches: number
  /** The uniform blocks of all dispatches. */
  readonly uniforms: GPUBuffer | undefined
  /** Constants that kernels read. */
  readonly tables: GPUBuffer | undefined
  readonly pace: Pace = new Pace()
  private readonly arenas: readonly Arena[]
  private readonly apart: readonly Apart[]
  private readonly ready: readonly Ready[]
  private readonly owner: Owner
  private readonly upload: Uint8Array<ArrayBuffer>
  private readonly buffers: (GPUBuffer | undefined)[]
  private readonly offsets: number[]
  private readonly cached: Group[][]
  private groups: GPUBindGroup[] = []
  private slots: readonly GPUBuffer[] = []
  /** Numbers and host data of a run. */
  private hosted: GPUBuffer | undefined
  /** Room for the variables that move in the run to come. */
  private reserved: readonly Move[] = []
  /** The workspace that slots are of. */
  private age = -1

  constructor({ plan, calls, arenas, ready, memory, uniforms, tables, owner }: Compiled) {
    this.plan = plan
    this.calls = calls
    this.ready = ready
    this.memory = memory
    this.peakBytes = memory.peakBytes
    this.launches = ready.length
    this.uniforms = uniforms
    this.tables = tables
    this.arenas = arenas
    const writers = new Map(plan.graph.results.flatMap(({ overwrites }, index) => (overwrites === undefined ? [] : [[overwrites, index] as const])).toReversed())
    this.apart = ready.flatMap((r) => apartIn(r, writers, memory))
    this.owner = owner
    this.upload = new Uint8Array(memory.hostedBytes)
    this.buffers = new Array<GPUBuffer | undefined>(memory.places.length).fill(undefined)
    this.offsets = new Array<number>(memory.places.length).fill(0)
    this.cached = ready.map(() => [])
  }

  prepare(bindings: Bindings): Promise<void> | undefined {
    const { owner: { workspace }, memory: { slotSizes, hostedBytes } } = this
    if (this.age !== workspace.age) {
      const buffers = workspace.take(hostedBytes === 0 ? slotSizes : [...slotSizes, classOf(hostedBytes)])
      this.slots = buffers.slice(0, slotSizes.length)
      this.hosted = buffers[slotSizes.length]
      this.age = workspace.age
    }
    this.dropMoves() // Of a run that was given up.
    this.reserved = this.moves(bindings)
    return this.owner.settle()?.catch((error: unknown) => {
      this.dropMoves()
      throw error
    })
  }

  /** Uploads what the host gives and records the plan, with what goes along. */
  record(encoder: GPUCommandEncoder, bindings: Bindings, { timestamps, after }: Pick<Companion, 'timestamps' | 'after'> = {}): void {
    for (const move of this.reserved) this.owner.pool.move(encoder, move)
    this.reserved = []
    const moved = this.place(bindings)
    if (moved || this.groups.length === 0) this.groups = this.ready.map((r, i) => this.group(r, at(this.cached, i)))
    let pass = timestamps === undefined ? encoder.beginComputePass() : undefined
    let pipeline: GPUComputePipeline | undefined
    if (pass !== undefined) after?.(-1, pass, this.find)
    this.ready.forEach((r, i) => {
      if (timestamps !== undefined) {
        pass = encoder.beginComputePass({ timestampWrites: timestamps(i) })
        pipeline = undefined
      }
      if (pass === undefined) return
      if (r.pipeline !== pipeline) pass.setPipeline(r.pipeline)
      pipeline = r.pipeline
      pass.setBindGroup(0, at(this.groups, i))
      pass.dispatchWorkgroups(...r.dispatch.workgroups)
      if (timestamps !== undefined) pass.end()
      else if (after !== undefined && r.step !== this.ready[i + 1]?.step) {
        after(r.step, pass, this.find)
        pipeline = undefined
      }
    })
    if (timestamps === undefined) pass?.end()
  }

  /** Where a buffer of the plan lies in this run. */
  private readonly find = (id: number): GPUBufferBinding => ({ buffer: this.buffers[id] ?? missing(`#${id}`), offset: at(this.offsets, id), size: wholeVectors(at(this.memory.places, id).bytes) })

  /** Where variables are to move: those that are updated together side by side, where after the first run they lie; others out of their way. */
  private moves({ leaves, results }: Bindings): Move[] {
    const { pool } = this.owner
    const moves: Move[] = []
    const taken = new Set<GPUBuffer>()
    for (const { members, offsets, bytes, workspace } of this.arenas) {
      if (workspace) continue
      const blocks = members.map((id) => {
        const place = id === undefined ? undefined : this.memory.places[id]
        return blockOf(place?.kind === 'leaf' ? leaves[place.index] : undefined)
      })
      const move = pool.reserve(blocks, offsets, bytes, taken)
      if (move !== undefined) moves.push(move)
      taken.add(move?.buffer ?? blocks[0]?.buffer ?? missing('an arena'))
    }
    const moving = new Map(moves.toReversed().flatMap(({ blocks, buffer }) => blocks.map((block) => [block, buffer] as const)))
    const bufferOf = (block: GpuBlock): GPUBuffer => moving.get(block) ?? block.buffer
    for (const { written, others } of this.apart) {
      const block = asGpu(at(results, written))
      if (block.shared === undefined) continue
      const buffer = bufferOf(block)
      const crowded = others.some((p) => {
        const other = blockOf(p.kind === 'leaf' ? leaves[p.index] : results[p.index])
        return other !== block && bufferOf(other) === buffer
      })
      const move = crowded ? pool.reserve([block], [0], block.bytes, new Set([block.buffer])) : undefined
      if (move === undefined) continue
      moves.push(move)
      if (!moving.has(block)) moving.set(block, move.buffer)
    }
    return moves
  }

  private dropMoves(): void {
    for (const { buffer } of this.reserved) this.owner.pool.give(buffer)
    this.reserved = []
  }

  /** Notes where the buffers of a run lie; says whether anything moved. */
  private place({ leaves, results }: Bindings): boolean {
    const { memory: { places }, hosted, plan: { buffers } } = this
    let moved = false
    const put = (id: number, buffer: GPUBuffer | undefined, offset: number): void => {
      if (this.buffers[id] === buffer && this.offsets[id] === offset) return
      this.buffers[id] = buffer
      this.offsets[id] = offset
      moved = true
    }
    places.forEach((p, id) => {
      switch (p.kind) {
        case 'slot':
          return put(id, this.slots[p.slot], p.offset)
        case 'arena':
          return put(id, this.buffers[p.member], at(this.offsets, p.member))
        case 'table':
          return put(id, this.tables, p.offset)
        case 'hosted': {
          const leaf = at(leaves, p.leaf)
          const part = this.upload.subarray(p.offset, p.offset + p.bytes)
          pack(typeof leaf === 'number' ? [leaf] : ArrayBuffer.isView(leaf) ? leaf : [], at(buffers, id).dtype, part)
          return put(id, hosted, p.offset)
        }
        case 'leaf':
        case 'result': {
          const block = blockOf(p.kind === 'leaf' ? leaves[p.index] : results[p.index])
          return put(id, block.buffer, block.offset)
        }
        case 'none':
          return undefined
        default:
          return p satisfies never
      }
    })
    if (hosted !== undefined) this.owner.device.queue.writeBuffer(hosted, 0, this.upload)
    return moved
  }

  /** The bind group of a dispatch for where its buffers lie now. */
  private group({ layout, places, dispatch, parameters, label }: Ready, cached: Group[]): GPUBindGroup {
    const buffers = places.map((id) => this.buffers[id] ?? missing(label))
    const offsets = places.map((id) => at(this.offsets, id))
    const known = cached.findIndex((g) => g.buffers.every((b, i) => b === buffers[i]) && g.offsets.every((o, i) => o === offsets[i]))
    const [found] = known < 0 ? [] : cached.splice(known, 1)
    if (found !== undefined) {
      cached.push(found)
      return found.group
    }
    assertApart(dispatch, buffers, label)
    const entries: GPUBindGroupEntry[] = places.map((id, binding) => ({ binding, resource: this.find(id) }))
    if (this.uniforms !== undefined && dispatch.parameters.length > 0) entries.push({ binding: buffers.length, resource: { buffer: this.uniforms, offset: parameters, size: dispatch.parameters.length } })
    const group = this.owner.device.createBindGroup({ label, layout, entries })
    this.owner.countBindGroup()
    cached.push({ buffers, offsets, group })
    if (cached.length > mostGroups) cached.shift()
    return group
  }

  /** Lets go of bind groups: one that the device refused would be refused again, without the reason. */
  forget(): void {
    for (const groups of this.cached) groups.length = 0
    this.groups = []
  }

  /** For each dispatch, the number of its launch. */
  get steps(): number[] {
    return this.ready.map(({ step }) => step)
  }

  /**
   * Which launch the device refuses, after it refused a run: each one's bind group is made anew, and its buffers are used by a
   * command that does nothing.
   */
  async culprit(paths: Paths): Promise<string | undefined> {
    const { device } = this.owner
    for (const r of this.ready) {
      device.pushErrorScope('validation')
      this.group(r, [])
      const encoder = device.createCommandEncoder()
      for (const id of r.places) encoder.clearBuffer(this.buffers[id] ?? missing(r.label), 0, 0)
      device.queue.submit([encoder.finish()])
      if ((await device.popErrorScope()) !== null) return this.nameOf(r.step, paths)
    }
    return undefined
  }

  private nameOf(step: number, paths: Paths): string {
    return `step ${step} ${labelText(at(this.plan.launches, step).label, paths)}`
  }

  describe(paths: Paths): string {
    const lines = this.plan.launches.map((launch, i) => {
      const { flops, bytes, dispatches } = at(this.calls, i).kernel
      return `${String(i).padStart(4)} ${describeLaunch(launch, paths)}  [${dispatches.map((d) => d.label).join('; ')}: ${flops} flop, ${bytes} bytes]`
    })
    const flops = this.calls.reduce((n, c) => n + c.kernel.flops, 0)
    const bytes = this.calls.reduce((n, c) => n + c.kernel.bytes, 0)
    return [...lines, `${lines.length} launches, ${this.launches} dispatches, ${this.plan.buffers.length} buffers, ${flops} flop, ${bytes} bytes moved, workspace ${this.memory.workspaceBytes} bytes in ${this.memory.slotSizes.length} buffers, peak ${this.peakBytes} bytes`].join('\n')
  }

  dispose(): void {
    this.owner.free(this)
  }
}

/** `writers`: for each leaf that is overwritten, the result that does. */
function apartIn({ dispatch, places }: Ready, writers: ReadonlyMap<number, number>, memory: PlanMemory): Apart[] {
  const bound = places.map((id) => at(memory.places, id))
  return bound.flatMap((place, i) => {
    if ((place.kind !== 'leaf' && place.kind !== 'result') || dispatch.bindings[i]?.access !== 'read_write') return []
    const written = place.kind === 'result' ? place.index : writers.get(place.index)
    const others = bound.filter((p): p is OwnPlace => p !== place && (p.kind === 'leaf' || p.kind === 'result'))
    return written === undefined || others.length === 0 ? [] : [{ written, others }]
  })
}

/** Kernels read and write vectors of 16 bytes; every buffer has room for the last one. */
const wholeVectors = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16)

/** A dispatch may not bind a buffer twice if it writes it. */
function assertApart({ bindings }: Dispatch, buffers: readonly GPUBuffer[], label: string): void {
  bindings.forEach(({ access }, i) => {
    if (access === 'read_write' && buffers.some((b, k) => k !== i && b === buffers[i])) throw new DeviceError(`webgpu: ${label} reads and writes one buffer through different bindings`)
  })
}

function blockOf(bound: Bindings['leaves'][number] | undefined): GpuBlock {
  if (bound === undefined || typeof bound === 'number' || ArrayBuffer.isView(bound)) throw new RangeError('webgpu: a leaf in memory is bound to a block')
  return asGpu(bound)
}

function missing(label: string): never {
  throw new RangeError(`webgpu: a buffer of ${label} has no place`)
}
