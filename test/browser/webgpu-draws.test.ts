/** A page's WebGPU device draws what all devices draw. Once: whether pages share memory is nothing to a GPU. */
import { afterAll, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeDraws, describeManyDraws } from '../draw-suite.ts'

if (inject('isolated')) {
  const gpu = await device('webgpu', { makeDefault: false })
  afterAll(async () => gpu.close())

  describeDraws('a page’s webgpu', gpu)
  describeManyDraws('a page’s webgpu', gpu)
} else test.skip('draws on WebGPU: on the isolated page')
