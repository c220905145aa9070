/**
 * Pipelines by source: kernels of equal structure share theirs, whatever plan they are in. Layouts are explicit, because with
 * automatic ones Dawn compiles equal sources again and leaves out bindings that a variant does not read.
 */
import type { Binding, Dispatch } from '../../../kernels/wgsl/core/kernel.ts'
import { DeviceError } from '../../error.ts'
import { computeStage } from './flags.ts'

/** How many pipelines of those a plan needs are ready. */
export type Progress = (ready: number, all: number) => void

interface Layout {
  readonly group: GPUBindGroupLayout
  readonly pipeline: GPUPipelineLayout
}

export class Pipelines {
  private readonly device: GPUDevice
  private readonly layouts = new Map<string, Layout>()
  private readonly pipelines = new Map<string, Promise<GPUComputePipeline>>()

  constructor(device: GPUDevice) {
    this.device = device
  }

  /** Pipelines created; each has a shader module of its own. */
  get count(): number {
    return this.pipelines.size
  }

  groupLayout({ bindings, parameters }: Dispatch): GPUBindGroupLayout {
    return this.layout(bindings, parameters.length > 0).group
  }

  /** Rejects with DeviceError that says what `launch` is and what the compiler said. */
  async pipeline(dispatch: Dispatch, launch: string): Promise<GPUComputePipeline> {
    const layout = this.layout(dispatch.bindings, dispatch.parameters.length > 0)
    const known = this.pipelines.get(dispatch.source)
    if (known !== undefined) return known
    const made = this.compile(dispatch, layout.pipeline, launch)
    this.pipelines.set(dispatch.source, made)
    made.catch(() => this.pipelines.delete(dispatch.source))
    return made
  }

  private async compile({ source, label }: Dispatch, layout: GPUPipelineLayout, launch: string): Promise<GPUComputePipeline> {
    this.device.pushErrorScope('validation')
    const module = this.device.createShaderModule({ label, code: source })
    const [made, error] = await Promise.allSettled([this.device.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: 'main' } }), this.device.popErrorScope()])
    if (made.status === 'fulfilled') return made.value
    const { messages } = await module.getCompilationInfo()
    const said = messages.filter(({ type }) => type === 'error').map(({ lineNum, message }) => `line ${lineNum}: ${message}: ${source.split('\n')[lineNum - 1]?.trim() ?? ''}`)
    const scope = error.status === 'fulfilled' && error.value !== null ? [error.value.message] : []
    throw new DeviceError(`webgpu: ${launch}: the shader of ${label} does not compile: ${[...said, ...(said.length === 0 ? [...scope, String(made.reason)] : [])].join('; ')}`)
  }

  private layout(bindings: readonly Binding[], parameters: boolean): Layout {
    const key = `${bindings.map(({ access }) => (access === 'read' ? 'r' : 'w')).join('')}${parameters ? 'u' : ''}`
    const known = this.layouts.get(key)
    if (known !== undefined) return known
    const types: GPUBufferBindingType[] = [...bindings.map(({ access }) => (access === 'read' ? 'read-only-storage' as const : 'storage' as const)), ...(parameters ? ['uniform' as const] : [])]
    const group = this.device.createBindGroupLayout({ entries: types.map((type, binding) => ({ binding, visibility: computeStage, buffer: { type } })) })
    const layout = { group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) }
    this.layouts.set(key, layout)
    return layout
  }
}
