/**
 * The op table on the WebGPU device in a page, with WEBGPU=all: it takes many minutes. Once: whether pages share memory is
 * nothing to a GPU.
 */
import { afterAll, expect, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeOps } from '../op-suite.ts'

if (inject('isolated') && inject('thorough')) {
  const gpu = await device('webgpu', { makeDefault: false })
  afterAll(async () => gpu.close())

  test('the adapter is the one of the page', () => {
    expect(gpu.info.adapter?.name).toMatch(/swiftshader/i)
  })

  describeOps(gpu, { values: 2, kernels: 1, gradients: 1 })
} else test.skip('the op table on WebGPU: run with WEBGPU=all, on the isolated page')
