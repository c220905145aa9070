/**
 * The trap for NaN: before a run all float leaves, and behind every launch all floats it wrote, are tested by their bits; a word
 * for each comes home with the run.
 */
import { anomalyKernel } from '../../../kernels/wgsl/core/nonfinite.ts'
import type { Dispatch } from '../../../kernels/wgsl/core/kernel.ts'
import type { Load } from '../../compile/fragment.ts'
import { pathOf, readsOf, writesOf } from '../../compile/plan.ts'
import { at } from '../../shape.ts'
import { anomalyIn } from '../anomalyReport.ts'
import type { Bindings } from '../backend.ts'
import { align } from './alignment.ts'
import type { WebGpuExecutable } from './executable.ts'
import { usage } from './flags.ts'
import type { Pipelines } from './pipelines.ts'
import type { Staging } from './staging.ts'
import type { Companion, Watcher } from './watch.ts'

/** A dispatch that tests a buffer. */
interface Check {
  /** Behind which it comes; -1: before all. */
  readonly launch: number
  readonly buffer: number
  readonly dispatch: Dispatch
  readonly pipeline: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
  readonly parameters: number
}

interface Checks {
  readonly byLaunch: ReadonlyMap<number, readonly Check[]>
  /** A word for each launch, then for each leaf. */
  readonly flags: GPUBuffer
  readonly uniforms: GPUBuffer | undefined
}

export interface AnomaliesOptions {
  readonly device: GPUDevice
  readonly pipelines: Pipelines
  readonly staging: Staging
  /** Makes a buffer of parts that begin at the offsets of bindings. */
  readonly constants: (kind: number, parts: readonly Uint8Array<ArrayBuffer>[]) => GPUBuffer | undefined
  readonly infinities: boolean
}

export class Anomalies implements Watcher {
  private readonly options: AnomaliesOptions
  private readonly checks = new Map<WebGpuExecutable, Promise<Checks>>()

  constructor(options: AnomaliesOptions) {
    this.options = options
  }

  async companion(executable: WebGpuExecutable, { nameOf, paths }: Bindings): Promise<Companion> {
    const { options: { device, staging, infinities }, checks } = this
    const { launches, graph } = executable.plan
    const known = checks.get(executable) ?? this.prepare(executable)
    checks.set(executable, known)
    const { byLaunch, flags, uniforms } = await known
    const bytes = flags.size
    const home = staging.take(bytes)
    let words = new Uint32Array()
    return {
      after: (launch, pass, find) => {
        for (const { dispatch, pipeline, layout, parameters, buffer } of byLaunch.get(launch) ?? []) {
          const resources = [find(buffer), { buffer: flags }, ...(uniforms === undefined ? [] : [{ buffer: uniforms, offset: parameters, size: dispatch.parameters.length }])]
          pass.setPipeline(pipeline)
          pass.setBindGroup(0, device.createBindGroup({ layout, entries: resources.map((resource, binding) => ({ binding, resource })) }))
          pass.dispatchWorkgroups(...dispatch.workgroups)
        }
      },
      copy: (encoder) => {
        encoder.copyBufferToBuffer(flags, 0, home, 0, bytes)
        encoder.clearBuffer(flags)
      },
      read: async () => {
        words = new Uint32Array(await staging.read(home, bytes))
      },
      end: () => {
        const found = anomalyIn({
          device: 'webgpu',
          infinities,
          steps: launches.map((launch, i) => ({ op: launch.label.name, path: pathOf(launch.label, paths), reads: readsOf(launch).map(({ buffer }) => buffer), found: words[i] === 1 })),
          leaves: new Map(graph.leaves.flatMap((_, i) => (words[launches.length + i] === 1 ? [[i, nameOf(i)] as const] : []))),
        })
        if (found !== undefined) throw found
      },
    }
  }

  private async prepare({ plan: { launches, buffers, graph } }: WebGpuExecutable): Promise<Checks> {
    const { device, pipelines, constants, infinities } = this.options
    const read = new Set(launches.flatMap(readsOf).map(({ buffer }) => buffer))
    const kernels = (launch: number, flag: number, { buffer, dtype, view }: Pick<Load, 'buffer' | 'dtype'> & { readonly view: Pick<Load['view'], 'shape' | 'strides' | 'offset'> }): Omit<Check, 'pipeline' | 'layout' | 'parameters'>[] => {
      if (dtype !== 'f32' && dtype !== 'bf16' && dtype !== 'f16') return []
      const { dispatches } = anomalyKernel({ shape: view.shape, operand: view, dtype: dtype === 'f16' ? 'f16' : 'f32', infinities, flag })
      return dispatches.map((dispatch) => ({ launch, buffer, dispatch }))
    }
    const wanted = [
      // Leaves are the first buffers.
      ...graph.leaves.flatMap((_, i) => {
        const { id, dtype, elements } = at(buffers, i)
        return read.has(id) ? kernels(-1, launches.length + i, { buffer: id, dtype, view: { shape: [elements], strides: [1], offset: 0 } }) : []
      }),
      ...launches.flatMap((launch, i) => writesOf(launch).flatMap((load) => kernels(i, i, load))),
    ]
    let end = 0
    const made = await Promise.all(wanted.map(async (check): Promise<Check> => {
      const parameters = end
      end += align(check.dispatch.parameters.length)
      return { ...check, parameters, layout: pipelines.groupLayout(check.dispatch), pipeline: await pipelines.pipeline(check.dispatch, 'the trap for NaN') }
    }))
    const flags = device.createBuffer({ size: 4 * Math.max(1, launches.length + graph.leaves.length), usage: usage.storage | usage.copySource | usage.copyTarget })
    return { byLaunch: Map.groupBy(made, ({ launch }) => launch), flags, uniforms: constants(usage.uniform, made.map(({ dispatch }) => dispatch.parameters)) }
  }

  close(): void {
    for (const checks of this.checks.values()) void destroy(checks)
  }
}

async function destroy(checks: Promise<Checks>): Promise<void> {
  const made = await checks.catch(() => undefined) // The run that asked for them has said why there are none.
  made?.flags.destroy()
  made?.uniforms?.destroy()
}
