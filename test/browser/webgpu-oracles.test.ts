/**
 * PyTorch's numbers on the WebGPU device in a page, with WEBGPU=all: ops, and both training runs. Once: whether pages share memory
 * is nothing to a GPU.
 */
import { afterAll, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeOracles } from '../oracle-suite.ts'
import { testT1 } from '../training/t1-suite.ts'
import { testT2 } from '../training/t2-suite.ts'

if (inject('isolated') && inject('thorough')) {
  const gpu = await device('webgpu', { makeDefault: false })
  afterAll(async () => gpu.close())
  testT1(gpu)
  describeOracles(gpu)
  testT2(gpu)
} else test.skip('oracles on WebGPU: run with WEBGPU=all, on the isolated page')
