/** Finding devices: adapters by name, the list of all, and what is taken where no kind is asked for. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'
import { DTypeError, cast, device, matmul, ones, tensor, withDefaultDevice } from '../../engine/index.ts'
import { adapterNames, findAdapter } from '../../engine/device/webgpu/adapter.ts'
import { langevin } from '../cli/langevin.ts'

const name = { lavapipe: /^llvmpipe \(LLVM/, swiftshader: /^SwiftShader/ }[inject('driver')]

test('adapters have names, and are found by a part of one', async () => {
  const [found = '', ...others] = await adapterNames()
  expect([others, found]).toEqual([[], expect.stringMatching(name)])
  await using gpu = await device('webgpu', { adapter: found.slice(0, 6), makeDefault: false })
  expect(gpu.info.adapter?.limits['maxStorageBuffersPerShaderStage']).toBeGreaterThanOrEqual(8)
})

test('an adapter that there is not', async () => {
  const [found] = await adapterNames()
  await expect(device(undefined, { adapter: 'Voodoo 2' })).rejects.toThrow(`device: WebGPU has no adapter called Voodoo 2; it has ${found}`)
})

test.each([false, true])('Dawn obeys unchecked: %s', async (unchecked) => {
  const { adapter } = await findAdapter({ unchecked })
  const gpu = await adapter.requestDevice()
  gpu.pushErrorScope('validation')
  gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.MAP_WRITE })
  expect(await gpu.popErrorScope() === null).toBe(unchecked)
  gpu.destroy()
})

test('an unchecked device says so, and computes', async () => {
  await using gpu = await device(undefined, { unchecked: true, makeDefault: false })
  expect(gpu.description).toMatch(/\(software\), unchecked$/)
  expect(gpu.info.adapter?.unchecked).toBe(true)
  const product = withDefaultDevice(gpu, () => matmul(ones([5, 7]), ones([7, 3])))
  expect(await product.array()).toEqual(Array.from({ length: 5 }, () => [7, 7, 7]))
})

test('software is never taken by itself', async () => {
  await using one = await device(undefined, { makeDefault: false })
  expect(one.info.kind).toBe('cpu')
  expect(one.info.noGpu).toMatch(/^there is no GPU: none of |, is software; the CPU device is faster$/)
})

test('a collection of garbage leaves Dawn alone', async () => {
  const program = `
    import { device, full, sum } from ${JSON.stringify(new URL('../../engine/index.ts', import.meta.url).href)}
    await device('webgpu')
    for (let i = 0; i < 3; i++) {
      globalThis.gc()
      await new Promise((resolve) => setTimeout(resolve, 20))
      console.log(await sum(full([4], i)).item())
    }
    process.exit()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--input-type=module', '--eval', program])
  expect(stdout.match(/^\d+$/gm)).toEqual(['0', '4', '8'])
})

test('f16 is there where the adapter has shader-f16', async () => {
  await using gpu = await device('webgpu', { makeDefault: false })
  const half = (): unknown => tensor([1], null, { dtype: 'f16', device: gpu })
  const has = gpu.info.adapter?.features.includes('shader-f16')
  expect(gpu.supports('f16')).toBe(has)
  if (has === true) return void half()
  expect(half).toThrow(DTypeError)
  expect(half).toThrow('tensor: device webgpu has no f16; use f32')
  expect(() => cast(ones([1], { device: gpu }), 'f16')).toThrow('cast: device webgpu has no f16; cast to f32, or use a device that has it')
  expect(() => gpu.withProductType('f16', () => 0)).toThrow('withProductType: device webgpu has no f16; it has f32, bf16, i32, u32, u8, bool')
})

test('langevin devices', async () => {
  const { stdout } = await langevin('devices')
  expect(stdout).toMatch(/^webgpu {3}WebGPU, .*\(software\)\n/)
  expect(stdout).toMatch(/^ {9}softmax: ok\n {9}random bits: ok\n\ncpu {6}CPU/m)
})
