/** The adapter is what its vitest project promises, with the features and limits on which tests and kernels rely. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { limits } from '../../kernels/wgsl/core/kernel.ts'
import { dawn } from './dawn.ts'

const promised = {
  lavapipe: { vendor: 'mesa', description: /^llvmpipe: Mesa (?:2[5-9]|[3-9]\d)\./, features: ['shader-f16', 'timestamp-query'], bindingBytes: 128 * 1024 ** 2 },
  swiftshader: { vendor: 'google', description: /^SwiftShader driver/, features: ['timestamp-query'], bindingBytes: 1024 ** 3 },
}[inject('driver')]

let adapter: GPUAdapter
let device: GPUDevice
beforeAll(async () => {
  const found = await dawn.requestAdapter()
  if (found === null) throw new Error(`no adapter over ${process.env['VK_DRIVER_FILES']}`)
  adapter = found
  device = await adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize: promised.bindingBytes } })
})
afterAll(() => device.destroy())

test('the driver', () => {
  expect(adapter.info.vendor).toBe(promised.vendor)
  expect(adapter.info.description).toMatch(promised.description)
})

test('its features', () => {
  expect([...adapter.features]).toEqual(expect.arrayContaining(promised.features))
  // A driver without it is one of the two, so that kernels run without it too.
  expect(adapter.features.has('shader-f16')).toBe(promised.features.includes('shader-f16'))
})

test('its limits', () => {
  expect(adapter.limits.maxStorageBufferBindingSize).toBe(promised.bindingBytes)
  expect(device.limits.maxStorageBufferBindingSize).toBe(promised.bindingBytes)
  expect(device.limits.maxComputeWorkgroupStorageSize).toBeGreaterThanOrEqual(limits.workgroupBytes)
  expect(device.limits.maxComputeInvocationsPerWorkgroup).toBeGreaterThanOrEqual(limits.invocations)
})
