/** The op table on the WebGPU device in a page: one op of each kind of kernel, all with WEBGPU=all. */
import { afterAll, expect, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeOps } from '../op-suite.ts'

const spread = ['expOp', 'concatOp', 'sumOp', 'cumsumOp', 'argsortOp', 'gatherOp', 'scatterAddOp', 'matmulOp', 'convOp', 'softmaxOp', 'layerNormOp', 'groupNormOp', 'attentionOp', 'adamwOp', 'squaredNormOp']

const gpu = await device('webgpu', { makeDefault: false })
afterAll(async () => gpu.close())

test('the adapter is the one of the page', () => {
  expect(gpu.info.adapter?.name).toMatch(/swiftshader/i)
})

describeOps(gpu, inject('thorough') ? { values: 2, kernels: 1, gradients: 1 } : { values: 1, kernels: 1, gradients: 1, only: spread })
