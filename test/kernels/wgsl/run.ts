/**
 * Runs generated WGSL kernels for tests, through Dawn in Node: with guard zones around every buffer, so that a stray write shows,
 * temporaries full of NaN, so that reading what was not written shows, and every index watched, so that no access relies on the driver's
 * checking bounds.
 */
import { type Dispatch, floor, type WgslKernel, type WgslTarget } from '../../../kernels/wgsl/core/kernel.ts'
import { dawn } from '../../webgpu/dawn.ts'
import type { Values } from '../launch-rows.ts'
import { straysOf, watchBytes, watchedSource, watchWords } from './watched.ts'

interface Gpu {
  readonly device: GPUDevice
  readonly target: WgslTarget
}

async function open(): Promise<Gpu | undefined> {
  const adapter = await dawn.requestAdapter()
  if (adapter === null) return undefined
  const f16 = adapter.features.has('shader-f16')
  const device = await adapter.requestDevice({ requiredFeatures: f16 ? ['shader-f16'] : [], requiredLimits: { maxStorageBuffersPerShaderStage: 9 } })
  return { device, target: { f16 } }
}

/** A device with the floor of limits, but for features and the buffer that watches; undefined if this machine has none. Tests then skip. */
export const gpu: Gpu | undefined = await open()
/** Without a device, kernels may still be generated. */
export const target: WgslTarget = gpu?.target ?? floor
if (gpu === undefined) console.warn('NO WEBGPU ADAPTER: tests of WGSL kernels are SKIPPED')

const guard = 256
const guardByte = 0xa5
const align = (bytes: number): number => Math.ceil(Math.max(bytes, 4) / 256) * 256

const pipelines = new Map<string, Promise<GPUComputePipeline>>()

/** With an explicit layout: an automatic one leaves out bindings that the code does not use. */
async function pipelineOf(device: GPUDevice, dispatch: Dispatch): Promise<GPUComputePipeline> {
  const { bindings, parameters } = dispatch
  const source = watchedSource(dispatch)
  const types = [...bindings.map(({ access }) => (access === 'read' ? 'read-only-storage' as const : 'storage' as const)), ...(parameters.length > 0 ? ['uniform' as const] : [])]
  const group = device.createBindGroupLayout({ entries: types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })) })
  const watching = device.createBindGroupLayout({ entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'storage' } }] })
  const layout = device.createPipelineLayout({ bindGroupLayouts: [group, watching] })
  const key = `${types.join()} ${source}`
  const known = pipelines.get(key) ?? compile(device, layout, source)
  pipelines.set(key, known)
  return known
}

async function compile(device: GPUDevice, layout: GPUPipelineLayout, source: string): Promise<GPUComputePipeline> {
  const module = device.createShaderModule({ code: source })
  const { messages } = await module.getCompilationInfo()
  const errors = messages.filter(({ type }) => type === 'error').map(({ lineNum, message }) => `line ${lineNum}: ${message}`)
  if (errors.length > 0) throw new Error(`${errors.join('; ')}\n${source}`)
  return device.createComputePipelineAsync({ layout, compute: { module, entryPoint: 'main' } })
}

/** Runs `kernel` over `buffers` (inputs, then outputs), which it updates in place. Elements of u8 and bool are given as words. */
export async function runWgsl(kernel: WgslKernel, buffers: readonly (Values | Uint16Array<ArrayBuffer>)[]): Promise<void> {
  if (gpu === undefined) throw new Error('no adapter')
  const { device } = gpu
  device.pushErrorScope('validation')
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
  const temporaries = kernel.temporaries ?? []
  const tables = kernel.tables ?? []
  const sizes = [...buffers.map((b) => b.byteLength), ...temporaries, ...tables.map((t) => t.byteLength)]
  const held = sizes.map((bytes, i) => {
    const buffer = device.createBuffer({ size: align(bytes) + 2 * guard, usage })
    const contents = new Uint8Array(align(bytes) + 2 * guard).fill(i < buffers.length ? guardByte : 0xff)
    const given = buffers[i] ?? tables[i - buffers.length - temporaries.length]
    if (given !== undefined) contents.set(new Uint8Array(given.buffer, given.byteOffset, given.byteLength), guard)
    device.queue.writeBuffer(buffer, 0, contents)
    return buffer
  })
  const uniforms: GPUBuffer[] = []
  const watched: GPUBuffer[] = []
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  for (const dispatch of kernel.dispatches) {
    const { bindings, parameters, workgroups } = dispatch
    const pipeline = await pipelineOf(device, dispatch)
    const entries: GPUBindGroupEntry[] = bindings.map(({ buffer }, binding) => {
      const [of, bytes] = [held[buffer], sizes[buffer]]
      if (of === undefined || bytes === undefined) throw new Error(`there is no buffer ${buffer}`)
      // With the zone behind it: past a binding's end, stray writes would be clamped.
      return { binding, resource: { buffer: of, offset: guard, size: align(bytes) + guard } }
    })
    if (parameters.length > 0) {
      const uniform = device.createBuffer({ size: parameters.length, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST })
      device.queue.writeBuffer(uniform, 0, parameters)
      uniforms.push(uniform)
      entries.push({ binding: bindings.length, resource: { buffer: uniform } })
    }
    pass.setPipeline(pipeline)
    const watch = device.createBuffer({ size: watchBytes, usage })
    device.queue.writeBuffer(watch, 0, watchWords(dispatch, bindings.map(({ buffer }) => sizes[buffer] ?? 0)))
    watched.push(watch)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.setBindGroup(1, device.createBindGroup({ layout: pipeline.getBindGroupLayout(1), entries: [{ binding: 0, resource: { buffer: watch } }] }))
    pass.dispatchWorkgroups(...workgroups)
  }
  pass.end()
  const total = [...held, ...watched].reduce((sum, b) => sum + b.size, 0)
  const staging = device.createBuffer({ size: total, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ })
  let to = 0
  for (const buffer of [...held, ...watched]) {
    encoder.copyBufferToBuffer(buffer, 0, staging, to, buffer.size)
    to += buffer.size
  }
  device.queue.submit([encoder.finish()])
  const error = await device.popErrorScope()
  if (error !== null) throw new Error(`${error.message}\n${kernel.dispatches.map((d) => d.source).join('\n\n')}`)
  await staging.mapAsync(GPUMapMode.READ)
  const all = new Uint8Array(staging.getMappedRange().slice(0))
  let at = 0
  held.forEach((buffer, i) => {
    const contents = all.subarray(at, at + buffer.size)
    at += buffer.size
    const given = buffers[i]
    if (given === undefined) return
    const [end, bytes] = [guard + given.byteLength, new Uint8Array(given.buffer, given.byteOffset, given.byteLength)]
    const stray = contents.findIndex((byte, k) => (k < guard || k >= end) && byte !== guardByte)
    if (stray >= 0) throw new Error(`buffer ${i}: wrote ${stray < guard ? stray - guard : `${stray - end} bytes past its end`}`)
    bytes.set(contents.subarray(guard, end))
  })
  kernel.dispatches.forEach((dispatch, i) => {
    const strays = straysOf(dispatch, new Uint32Array(all.buffer, at + i * watchBytes, watchBytes / 4))
    if (strays !== '') throw new Error(`${dispatch.label}: ${strays}`)
  })
  for (const buffer of [...held, ...uniforms, ...watched, staging]) buffer.destroy()
}
