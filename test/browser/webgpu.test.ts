/** A page's adapter answers, and computes. */
import { expect, test } from 'vitest'

test('a shader runs', async () => {
  const adapter = await navigator.gpu.requestAdapter()
  if (adapter === null) throw new Error('the page has no WebGPU adapter')
  expect(adapter.info.architecture).toBe('swiftshader')
  const device = await adapter.requestDevice()
  try {
    const bytes = 256
    const code = '@group(0) @binding(0) var<storage, read_write> y: array<u32>;\n@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = id.x * id.x; }'
    const y = device.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
    const host = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module: device.createShaderModule({ code }) } })
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: y } }] }))
    pass.dispatchWorkgroups(1)
    pass.end()
    encoder.copyBufferToBuffer(y, 0, host, 0, bytes)
    device.queue.submit([encoder.finish()])
    await host.mapAsync(GPUMapMode.READ)
    expect([...new Uint32Array(host.getMappedRange())]).toEqual(Array.from({ length: 64 }, (_, i) => i * i))
  } finally {
    device.destroy()
  }
})
