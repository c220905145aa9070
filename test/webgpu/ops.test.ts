/** The op table on the WebGPU device: values, kernels, gradients and plans. */
import { afterAll, expect, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeOps } from '../op-suite.ts'

const gpu = await device('webgpu', { makeDefault: false })
afterAll(async () => gpu.close())

test('the device says that its adapter is software', () => {
  expect(gpu.info.adapter?.software).toBe(true)
})

describeOps(gpu, inject('thorough') ? { values: 12, kernels: 6, gradients: 8 } : { values: 2, kernels: 1, gradients: 1 })
